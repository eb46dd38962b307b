"""Broken variants of a script of somebody's own: request → candidate → proof by trace → variant."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import MldebugError, NoSiteError, UsageError
from ..executors.base import Executor, Settled
from ..executors.local import Local
from ..factory import (
    ATTEMPTS,
    Exhausted,
    Known,
    Proof,
    check_numbers,
    exhausted,
    opaque_id,
    outcome,
)
from ..grader.alert import ending_text
from ..grader.by_trace.case import final_loss
from ..grader.by_trace.job import LONGEST_TIMEOUT, Baseline, OwnJob, Tracer
from ..grader.by_trace.prove import TraceProof, prove
from ..grader.runner import Pool
from ..grader.runner.request import Device
from ..mutators.analysis import Script, analyse
from ..mutators.base import canonical_bugs, mutator
from ..mutators.compose import Injection, NoCompositionError, compose, edits_of
from ..mutators.survey import sites_of, survey
from ..mutators.workspace import Workspace, splice
from ..seeds import DRAWS, Draw
from .folder import OwnSource, copy_to, with_files_of

TIMEOUT = 60.0
"""Seconds of one run, unless the user says otherwise."""


class SetupFailedError(MldebugError):
    """The user's own command that prepares data did not end well."""


@dataclass(frozen=True)
class OwnRequest:
    """One variant of one script, asked for. bugs are canonical and sorted."""

    bugs: tuple[str, ...]
    seed: int
    index: int
    arguments: tuple[str, ...] = ()
    timeout: float = TIMEOUT
    setup: str | None = None

    @classmethod
    def of(
        cls,
        bugs: str | Iterable[str],
        seed: int,
        index: int = 0,
        *,
        arguments: Iterable[str] = (),
        timeout: float = TIMEOUT,
        setup: str | None = None,
    ) -> OwnRequest:
        """A checked request.

        Raises:
            UsageError: an unknown class, a bad number, a time that is none.
        """
        check_numbers(seed, index)
        if not 0 < timeout <= LONGEST_TIMEOUT:
            raise UsageError(f"--timeout must lie between 0 and {LONGEST_TIMEOUT:g} seconds, got {timeout:g}")
        names = canonical_bugs(bugs if isinstance(bugs, str) else list(bugs))
        return cls(names, seed, index, tuple(arguments), float(timeout), setup)


@dataclass(frozen=True)
class OwnVariant:
    """A broken version of somebody's script; `factory.Variant` is its counterpart for jobs of the library.

    files, reference: path → text of all sources, broken and as they were given. source: what was given.
    repeatable: whether two runs of the original did the same, to the bit; None if nothing was run.
    """

    id: str
    bugs: tuple[str, ...]
    seed: int
    index: int
    attempt: int
    request: OwnRequest
    source: OwnSource
    job: OwnJob
    files: Mapping[str, str] = field(repr=False)
    injections: tuple[Injection, ...] = field(repr=False)
    alert: str | None = None
    proof: TraceProof | None = None
    discarded: tuple[str, ...] = ()
    repeatable: bool | None = None
    final_loss: float | None = None
    """The original's training loss at its end."""
    runs: int = 0
    seconds: float = 0.0
    proved_before: bool = False

    @property
    def reference(self) -> Mapping[str, str]:
        return self.source.sources

    @property
    def entrypoint(self) -> str:
        return self.source.entrypoint

    @property
    def verified(self) -> bool:
        return self.proved_before or (self.proof is not None and self.proof.ok)


class OwnScript:
    """A script, analysed once, from which variants are drawn."""

    def __init__(self, source: OwnSource) -> None:
        self.source = source
        self.script: Script = analyse(source.mutable)

    def __reduce__(self) -> tuple[Any, ...]:
        """Analysed again where it is unpickled: the source is small, its trees are not."""
        return OwnScript, (self.source,)

    def check_hosts(self, bugs: tuple[str, ...]) -> None:
        """Raises NoSiteError, with the reasons, unless the script has sites for every class."""
        ways = {bug: mutator(bug).manifestations for bug in bugs}
        if all(any(sites_of(self.script, way)[0] for way in ways[bug]) for bug in bugs):
            return
        found = survey(self.script)
        reasons = found.reasons()
        told = "; ".join(f"{bug}: {reasons[bug]}" for bug in bugs if bug in reasons)
        able = f"it has sites for {', '.join(found.classes)}" if found.found else "it has no site at all"
        raise NoSiteError(f"{self.source.name} has no site for {told} ({able}; `mldebug sites` shows them)")

    def job(self, request: OwnRequest) -> OwnJob:
        device: Device = "cuda" if self.source.asks_for_gpu else "cpu"
        return OwnJob(self.source.data, device, request.arguments, request.timeout)

    def draft(self, request: OwnRequest, attempt: int) -> OwnVariant:
        """The candidate of one attempt; nothing runs.

        Raises:
            NoCompositionError: the sites for these classes overlap whatever is chosen.
        """
        draw = Draw(
            "own script",
            DRAWS,
            request.bugs,
            request.seed,
            request.index,
            attempt,
            self.source.sources_sha256(),
        )
        injections = compose(self.script, request.bugs, draw.child("injection"))
        broken = splice(self.source.workspace, edits_of(injections))
        return OwnVariant(
            id=opaque_id(broken, self.source.data_sha256()),
            bugs=request.bugs,
            seed=request.seed,
            index=request.index,
            attempt=attempt,
            request=request,
            source=self.source,
            job=self.job(request),
            files=dict(broken.sources),
            injections=injections,
        )

    def unverified(self, request: OwnRequest) -> OwnVariant:
        """The first candidate that can be composed; nothing executed it."""
        reasons: list[str] = []
        for attempt in range(ATTEMPTS):
            try:
                return replace(self.draft(request, attempt), discarded=tuple(reasons))
            except NoCompositionError as error:
                reasons.append(f"overlap: {error}")
        raise exhausted(request, reasons)

    def recall(self, request: OwnRequest, known: Proof) -> OwnVariant | None:
        """The variant that an earlier proof of this request ended with, or None where it is of another."""
        if not 0 <= known.attempt < ATTEMPTS:
            return None
        try:
            made = self.draft(request, known.attempt)
        except NoCompositionError:
            return None
        if made.id != known.id:
            return None
        return replace(made, alert=known.alert, discarded=known.discarded, proved_before=True)

    def same(self, request: OwnRequest, seen: Mapping[str, int]) -> OwnVariant | None:
        """The first candidate of a request, if it is a task that another one gave: a script has few sites."""
        with contextlib.suppress(NoCompositionError):
            made = self.draft(request, 0)
            if made.id in seen:
                return replace(made, proved_before=True)
        return None

    def verified(self, request: OwnRequest, run: Any, original: Baseline) -> OwnVariant:
        """A variant whose every bug showed its own class's sign in the trace, and no other's.

        Raises:
            NoValidVariantError: every candidate was discarded; it holds the reasons, counted.
        """
        reasons: list[str] = []
        for attempt in range(ATTEMPTS):
            try:
                made = self.draft(request, attempt)
            except NoCompositionError as error:
                reasons.append(f"overlap: {error}")
                continue
            tracer = Tracer(run, made.job)
            proof = prove(tracer, original, *self._workspaces(made))
            if proof.ok:
                assert proof.broken is not None
                return replace(
                    made,
                    alert=ending_text(proof.broken, {"training loss": final_loss(proof.broken)}),
                    proof=proof,
                    discarded=tuple(reasons),
                    repeatable=original.repeatable,
                    final_loss=final_loss(original.first),
                    runs=tracer.runs,
                    seconds=tracer.seconds,
                )
            ways = ", ".join(f"{one.bug_class}/{one.manifestation}" for one in made.injections)
            reasons.append(f"{proof.discarded} [{ways}]")
        last = reasons[-1].split(": ", 1)[-1]
        raise exhausted(request, reasons, f"the last one: {last}; try another seed")

    def _workspaces(self, made: OwnVariant) -> tuple[Workspace, dict[str, Workspace]]:
        whole = self.source.workspace
        broken = Workspace.of(made.files, made.entrypoint)
        if len(made.injections) == 1:
            return broken, {made.bugs[0]: broken}
        return broken, {one.bug_class: splice(whole, one.edits) for one in made.injections}


@dataclass(frozen=True)
class OwnProving:
    """What becomes of a request, and whether two runs of the original did the same (see
    `executors.base.Recipe`). first: see `own_outcomes`."""

    script: OwnScript
    first: OwnRequest
    verify: bool = True

    def begin(self, pool: Pool) -> Callable[[OwnRequest], tuple[bool, OwnVariant | Exhausted]]:
        original = Baseline(Tracer(pool.run, self.script.job(self.first)), self.script.source.workspace)

        def prove_one(request: OwnRequest) -> tuple[bool, OwnVariant | Exhausted]:
            if not self.verify:
                return True, outcome(lambda: self.script.unverified(request), request)
            original.check()
            return original.repeatable, outcome(
                lambda: self.script.verified(request, pool.run, original), request
            )

        return prove_one


def own_outcomes(
    script: OwnScript,
    requests: Iterable[OwnRequest],
    first: OwnRequest,
    *,
    jobs: int = 1,
    verify: bool = True,
    known: Known | None = None,
    seen: Mapping[str, int] | None = None,
    require: str | None = None,
    executor: Executor | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Generator[OwnVariant | Exhausted]:
    """What comes of requests, which differ from `first` in their index only, in their order.

    known, executor: see `factory.outcomes`. warn: is told, in a sentence, what may make the proofs weaker.
    seen: ids of tasks that earlier requests gave, which may grow meanwhile; they are not executed again.

    Raises:
        UnusableScriptError: the script itself does not run.
    """
    where = executor or Local(jobs, require=require)
    pairs = ((request, known(request.index) if known else None) for request in requests)
    if not verify and not where.remote:
        for request, _before in pairs:
            yield outcome(partial(script.unverified, request), request)
        return

    def wanted() -> Iterator[OwnRequest | Settled[tuple[bool, OwnVariant | Exhausted]]]:
        for request, before in pairs:
            made = verify and (
                (before and script.recall(request, before)) or script.same(request, seen or {})
            )
            yield Settled((True, made)) if made else request

    warned = False
    with closing(where.in_order(OwnProving(script, first, verify), wanted())) as results:
        for repeatable, one in results:
            if not repeatable and not warned:
                warned = True
                warn(
                    f"two runs of {script.source.name} differ; seed everything. Classes that its own "
                    "noise hides are discarded"
                )
            yield one


def prepared(source: OwnSource, command: str) -> OwnSource:
    """The script with the data that a command of the user's leaves in a copy of its folder.

    The command runs as the user, outside of the sandbox: it is the user's own. Its output goes to stderr.

    Raises:
        SetupFailedError: it ends with another exit code than 0.
        UsageError: what it leaves cannot be used (see `folder.read_own`).
    """
    with tempfile.TemporaryDirectory(prefix="mldebug-setup-") as place:
        folder = Path(place) / "job"
        folder.mkdir()
        copy_to(source, folder)
        code = _run_command(command, folder)
        if code:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise SetupFailedError(f"--setup {command!r} ended with {how}; it runs in a copy of the folder")
        return with_files_of(source, folder)


def _run_command(command: str, folder: Path) -> int:
    with subprocess.Popen(
        command,
        shell=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if _has_descriptor() else subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            return process.wait()
        finally:  # interrupted, or ended with children of its own still there
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True
