"""The caller's side of one zygote: started, spoken to, and ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from typing import Any, BinaryIO

from ...errors import RunnerError, UsageError
from ..sandbox.guarantees import GUARANTEES, TIERS, highest_tier, unmet, why_not_strict
from . import results
from .artifacts import collect
from .folder import RunFolder, checked_path, new_base, remove_tree
from .packing import packed
from .processes import end_marked
from .protocol import FAILED, LONGEST_FAILURE, ProtocolError, receive, send
from .request import MOST_PATIENCE, RunRequest, RunResult

START_SECONDS = 180.0
"""Importing torch takes 2-4 s; a cold disk on a busy machine has been seen to take a minute."""
GRACE_SECONDS = 30.0
"""Beyond its wall limit, before a run is given up together with its zygote."""
STOP_SECONDS = 15.0
"""For a zygote to end its run and itself; it needs milliseconds."""
LARGEST_RECORD = 16 << 20
"""Bytes of a trace record; a full one with 20,000 losses has about half a MiB."""
PASSED_ON = ("ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "MLDEBUG_DEVICE")


class ZygoteLost(Exception):
    """The zygote died or misbehaved; the run may be tried again on a fresh one."""


class Worker:
    """One zygote and its folder. Used by one thread at a time; only `interrupt` may come from another.

    tier: the strongest to try. Where it is refused, the next weaker one is, and each result says so.
    refused: tier → why, of stronger tiers that are known not to be had here; what is found is added.
    required: guarantees and tiers without which nothing is run. ready: whether it can run something.
    """

    def __init__(
        self,
        tier: str | None = None,
        refused: dict[str, str] | None = None,
        required: frozenset[str] = frozenset(),
        only_try: bool = False,
    ) -> None:
        self.runs = 0
        self.interrupted = False
        self.tier = tier or highest_tier()
        self.lacking: dict[str, str] = {}
        self._refused = {} if refused is None else refused
        self._required = required
        self._only_try = only_try
        self.ready = False
        while self.tier in self._refused and self.tier != TIERS[-1]:
            self.tier = TIERS[TIERS.index(self.tier) + 1]
        self._begin()

    def _begin(self) -> None:
        self._base = new_base()
        self._log: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
        self._socket, theirs = socket.socketpair()
        try:
            self._process = self._start(theirs.fileno())
        except OSError as error:
            self._socket.close()
            self._log.close()
            remove_tree(self._base)
            raise RunnerError(f"cannot start {sys.executable!r}: {error}") from error
        finally:
            theirs.close()

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "TMPDIR": str(self._base),
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        }
        if os.environ.get("MLDEBUG_DEVICE") == "cuda" and "CUDA_VISIBLE_DEVICES" in os.environ:
            environment["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
        command = [
            sys.executable,
            "-P",
            "-m",
            "mldebug.grader.runner.zygote",
            str(descriptor),
            str(self._base),
            self.tier,
            *(["--try"] if self._only_try else []),
        ]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=[descriptor],
            env=environment,
            cwd="/",
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        """Wait until the zygote has imported everything.

        Raises:
            ZygoteLost: it ended, or did not get ready in START_SECONDS.
            RunnerError: something required cannot be had here.
        """
        while not self.ready:
            if self.interrupted:
                raise ZygoteLost("its pool was closed")
            hello, _descriptors = self._receive(START_SECONDS)
            if "refused" in hello and self.tier != TIERS[-1]:
                self._refused[self.tier] = str(hello["refused"])
                self._end()
                self.tier = TIERS[TIERS.index(self.tier) + 1]
                self._begin()
                continue
            if "lacking" not in hello:
                raise ZygoteLost(f"the zygote did not get ready: {hello.get('refused', 'it said nonsense')}")
            self.lacking = self._stronger_tiers() | hello["lacking"]
            if problem := unmet(self._required, self.tier, self.lacking):
                raise RunnerError(problem)
            if not self._only_try and "ready" not in self._receive(START_SECONDS)[0]:
                raise ZygoteLost("the zygote did not say that it was ready")
            self.ready = True

    def _stronger_tiers(self) -> dict[str, str]:
        above = TIERS[: TIERS.index(self.tier)]
        return {name: self._refused.get(name) or why_not_strict() or "not tried" for name in above}

    @property
    def guarantees(self) -> tuple[str, ...]:
        """Those that hold for every run of it, found out by trying."""
        return tuple(sorted(set(GUARANTEES) - set(self.lacking)))

    def run(self, request: RunRequest) -> RunResult:
        """Carry out one run.

        Raises:
            UsageError: the request itself is wrong.
            ZygoteLost: the zygote died or misbehaved.
            RunnerError: the child's own code failed after the script had ended; the zygote is unharmed.
        """
        self.wait_ready()
        if self.tier == "strict":
            return self._run_in_memory(request)
        try:
            folder = RunFolder(self._base)
        except OSError as error:
            raise ZygoteLost(f"no folder for a run: {error}") from None
        try:
            self._write(folder, request)
            answer, descriptors = self._order(request, str(folder.path), [])
            return self._result(request, answer, descriptors, folder.workspace_fd, str(folder.path))
        finally:
            folder.remove()

    def _run_in_memory(self, request: RunRequest) -> RunResult:
        """A run whose folder is made by the zygote, where the caller's disk cannot be seen."""
        try:
            files = packed(request.files)
        except OSError as error:
            raise ZygoteLost(f"the files of a run cannot be passed on: {error}") from None
        try:
            answer, descriptors = self._order(request, "", [files])
        finally:
            os.close(files)
        workspace = descriptors.pop()
        try:
            return self._result(request, answer, descriptors, workspace, "")
        finally:
            os.close(workspace)

    def _result(
        self,
        request: RunRequest,
        answer: dict[str, Any],
        descriptors: list[int],
        workspace_fd: int,
        folder: str,
    ) -> RunResult:
        try:
            stdout, stderr, record = (
                results.content(descriptor, largest)
                for descriptor, largest in zip(
                    descriptors, (request.limits.output_bytes,) * 2 + (LARGEST_RECORD,), strict=True
                )
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if record.startswith(FAILED):
            report = results.plain(record[len(FAILED) : len(FAILED) + LONGEST_FAILURE], folder)
            raise RunnerError(f"the runner failed after the script had ended: {report}")
        artifacts, problems = collect(workspace_fd, request.collect, request.limits.file_bytes)
        self.runs += 1
        outcome, exit_code, number = results.outcome(answer)
        if answer["reason"] == "processes":
            stderr += f"\nKilled: more than {request.limits.processes} processes at once\n".encode()
        return RunResult(
            outcome=outcome,
            exit_code=exit_code,
            signal=number,
            stdout=results.plain(stdout, folder),
            stderr=results.plain(stderr, folder),
            artifacts=artifacts,
            problems=problems,
            trace=results.record(record) if request.trace else None,
            wall_seconds=answer["wall_seconds"],
            cpu_seconds=answer["cpu_seconds"],
            peak_mib=answer["peak_bytes"] / (1 << 20),
            dropped_bytes=answer["dropped_bytes"],
            guarantees=self.guarantees,
            tier=self.tier,
            lacking=self.lacking,
        )

    @staticmethod
    def _write(folder: RunFolder, request: RunRequest) -> None:
        try:
            folder.write(request.files)
        except OSError as error:
            raise ZygoteLost(f"the files of a run cannot be written: {error}") from None

    def _order(self, request: RunRequest, folder: str, files: list[int]) -> tuple[dict[str, Any], list[int]]:
        order = {
            "folder": folder,
            "entrypoint": request.entrypoint,
            "arguments": request.arguments,
            "device": request.device,
            "trace": request.trace,
            "probe": request.probe,
            "inputs": request.inputs,
            "limits": asdict(request.limits),
        }
        try:
            send(self._socket, order, files)
        except OSError as error:
            raise ZygoteLost(f"the zygote is gone: {error.strerror}") from None
        except ProtocolError as error:
            raise UsageError(f"the arguments of a run are too long: {error}") from None
        answer, descriptors = self._receive(MOST_PATIENCE * request.limits.wall_seconds + GRACE_SECONDS)
        if "failed" in answer:
            raise ZygoteLost(str(answer["failed"]))
        if "unusable" in answer:
            raise UsageError(str(answer["unusable"]))
        if len(descriptors) != 3 + len(files):
            for descriptor in descriptors:
                os.close(descriptor)
            raise ZygoteLost("the zygote answered without its results")
        return answer, descriptors

    def _receive(self, seconds: float) -> tuple[dict[str, Any], list[int]]:
        self._socket.settimeout(seconds)
        try:
            return receive(self._socket)
        except TimeoutError:
            raise ZygoteLost(f"the zygote did not answer within {seconds:.0f} s") from None
        except (ProtocolError, OSError) as error:
            raise ZygoteLost(f"the zygote is gone: {error}{self._last_words()}") from None

    def _last_words(self) -> str:
        self._log.seek(0)
        text = self._log.read()[-2000:].decode(errors="replace").strip()
        return f"; it said last:\n{text}" if text else ""

    def interrupt(self) -> None:
        """Make a run of another thread fail at once; the zygote ends its tree and itself."""
        self.interrupted = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End the zygote, whatever it is doing, and remove its folder."""
        self.interrupt()
        self._end()

    def _end(self) -> None:
        self._socket.close()
        if not self.ready:  # it would hear of it only when all is imported
            self._process.kill()
        try:
            clean = self._process.wait(STOP_SECONDS) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            clean = False
        if not clean:
            end_marked(str(self._base))
        remove_tree(self._base)
        self._log.close()

    def abandon(self) -> None:
        """After a fork of the caller: let go of what belongs to the parent, without ending it."""
        self._socket.close()
        self._log.close()
        self._process.returncode = 0


def check(request: RunRequest) -> None:
    """Raise UsageError unless the request can be carried out."""
    for name in (*request.files, *request.collect):
        checked_path(name)
    if request.entrypoint not in request.files:
        raise UsageError(f"the entry point {request.entrypoint!r} is not among the files of the workspace")
    if request.device not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {request.device!r}; choose cpu or cuda")
    if any("\0" in argument for argument in request.arguments):
        raise UsageError("an argument of the entry point holds a NUL character")
