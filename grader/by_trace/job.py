"""Running a script of somebody's own under the trace, and what its original does."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ...errors import MldebugError
from ...mutators.workspace import Workspace
from ..evidence import Run
from ..record import well_formed
from ..runner.request import Device, Limits, Probe, RunRequest, RunResult

MEMORY_MIB = 4096
"""Of a run; a script nobody here wrote may hold more than the library's jobs do."""
LONGEST_TIMEOUT = 3600.0


@dataclass(frozen=True)
class OwnJob:
    """What is the same in every run of one script. data: path → content. timeout: seconds of one run."""

    data: Mapping[str, bytes] = field(repr=False)
    device: Device
    arguments: tuple[str, ...]
    timeout: float

    @property
    def limits(self) -> Limits:
        return Limits(
            wall_seconds=self.timeout, cpu_seconds=math.ceil(self.timeout) + 1, memory_mib=MEMORY_MIB
        )


class Tracer:
    """Runs workspaces of one job under the trace. `run` is a pool's."""

    def __init__(self, run: Callable[[RunRequest], RunResult], job: OwnJob) -> None:
        self._run = run
        self.job = job
        self.runs = 0
        self.seconds = 0.0

    def observe(self, workspace: Workspace, probe: Probe = "") -> Run:
        request = RunRequest(
            {name: text.encode() for name, text in workspace} | dict(self.job.data),
            workspace.entrypoint,
            arguments=self.job.arguments,
            device=self.job.device,
            collect=(),
            limits=self.job.limits,
            probe=probe,
            inputs=True,
        )
        self.runs += 1
        result = self._run(request)
        self.seconds += result.wall_seconds
        return Run(replace(result, trace=well_formed(result.trace, inputs=True)))


class UnusableScriptError(MldebugError):
    """The original cannot be compared with: it does not finish, or trains nothing."""


class Baseline:
    """The original's runs, each made when it is first asked for, and once."""

    def __init__(self, tracer: Tracer, workspace: Workspace) -> None:
        self._tracer = tracer
        self.workspace = workspace
        self._lock = threading.RLock()

    @cached_property
    def first(self) -> Run:
        return self._tracer.observe(self.workspace)

    @cached_property
    def again(self) -> Run:
        return self._tracer.observe(self.workspace)

    @cached_property
    def _reseeded(self) -> Run:
        return self._tracer.observe(self.workspace, "reseeded")

    @property
    def others(self) -> tuple[Run, ...]:
        """The original once more, and with other seeds: what it does without any change. Those that
        finished."""
        with self._lock:
            return tuple(run for run in (self.again, self._reseeded) if run.finished)

    @property
    def repeatable(self) -> bool:
        """Whether two runs of it differentiate the same losses, to the bit."""
        with self._lock:
            return self.first.trace.get("losses_digest") == self.again.trace.get("losses_digest")

    def check(self) -> None:
        """Make both runs.

        Raises:
            UnusableScriptError: one did not finish, or no loss was differentiated; the message says what a
                person can do.
        """
        with self._lock:
            both = self.first, self.again
        for run in both:
            if problem := _problem(run, self._tracer.job):
                raise UnusableScriptError(f"{self.workspace.entrypoint} itself {problem}")


def _problem(run: Run, job: OwnJob) -> str | None:
    result = run.result
    if result.outcome == "timeout":
        return (
            f"does not finish within {job.timeout:g} s; give `mldebug gen` a larger --timeout, or "
            "arguments behind `--` that make it shorter"
        )
    if result.outcome == "memory":
        return f"needs more than {MEMORY_MIB} MiB of memory; make it smaller"
    if not run.finished:
        last = result.stderr.strip().splitlines()[-1:] or [f"exit code {result.exit_code}"]
        return (
            f"fails ({last[0][:300]}); it has to run from its own folder, without network and without other "
            f"files (--setup prepares data){_hint(result.stderr)}"
        )
    if result.trace is None:
        return "ends its process before the trace can be read (os._exit, say); let it return"
    if not run.trace["backward_calls"] and not run.trace["gradient_calls"]:
        return "differentiates no loss, so there is nothing to compare with"
    return None


def _hint(stderr: str) -> str:
    if "ModuleNotFoundError" in stderr:
        return "; a package other than torch and numpy is shown to it with MLDEBUG_SHOW=name"
    return ""
