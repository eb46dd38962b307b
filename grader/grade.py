"""Grading: a task and a submission go in, a verdict comes out."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ..errors import RunnerError
from ..mutators.base import canonical_bugs, mutator
from ..mutators.workspace import Workspace, unified_patch
from .by_trace.grade import TraceGrader
from .by_trace.task import OwnTask
from .evidence import Observer
from .examination import Examination
from .judge import Judge, Judgement, Question, default_judge
from .ladder import EFFICIENCY_CAP, claim_of, rung_of, score
from .oracles.base import Repair
from .predictions import Problem
from .ruling import NO_START, SOLVED, Ruling, rule
from .runner.request import Limits, RunRequest, RunResult
from .submission import merged, workspace_of
from .task import Task
from .verdict import Verdict

KEPT_EXAMINATIONS = 128
"""References and broken jobs whose runs are kept: about 1 MiB each."""

LIMITS = Limits(wall_seconds=30.0, cpu_seconds=20)
"""Of a submission's run: jobs of the library take 0.5 s at most, here or on a machine ten times slower."""


@dataclass(frozen=True)
class Fix:
    """files: path → text; what it leaves out is taken from the task. bugs: the classes it claims to have
    fixed, by any of their names. diagnosis: what was wrong, in words."""

    files: Mapping[str, str]
    bugs: Collection[str]
    diagnosis: str = ""


@dataclass(frozen=True)
class Ruled:
    """What was found of a submission, the runs it took, and what the sandbox guaranteed for all of them.

    stable: no run met a limit or failed, which a busy machine may have brought about.
    """

    ruling: Ruling
    runs: int = 0
    guarantees: tuple[str, ...] = ()
    stable: bool = True


class Grader:
    """Judges submissions with one way to run workspaces (a pool's `run`). Usable from several threads.

    judge: reads diagnoses; by default the one that the environment names (see `judge.default_judge`).
    strict_seed_scoring: pay a silent bug that was left as it was 0.60, as the first seed did.
    keep_rulings: of how many submissions what was found is kept, so that the same one again (a group of
    completions often agrees) costs no run. By default none: every verdict is found anew.
    """

    def __init__(
        self,
        run: Callable[[RunRequest], RunResult],
        *,
        judge: Judge | None = None,
        strict_seed_scoring: bool = False,
        limits: Limits = LIMITS,
        keep_rulings: int = 0,
    ) -> None:
        self._run = run
        self._judge = judge or default_judge()
        self._strict = strict_seed_scoring
        self._limits = limits
        self._lock = threading.Lock()
        self._by_trace = TraceGrader(run)
        self._kept: OrderedDict[str, Examination] = OrderedDict()
        self._keep_rulings = keep_rulings
        self._rulings: OrderedDict[str, Ruled] = OrderedDict()

    def grade(
        self, task: Task | OwnTask, fix: Fix, *, step: int | None = None, cap: float = EFFICIENCY_CAP
    ) -> Verdict:
        """The verdict on one submission. The same submission gets the same verdict, whatever it claims and
        whatever was graded before; a wrong claim costs as many runs as a right one.

        Raises:
            UsageError: step or cap make no sense.
            RunnerError: the machinery failed (a submission that breaks it gets a verdict).
            UnusableScriptError: a script of somebody's own does not run here, so nothing can be compared.
        """
        started = time.monotonic()
        claim = claim_of(named(fix.bugs), task.bugs)
        ruled = self._rule(task, fix.files)
        ruling = ruled.ruling
        rung = rung_of(ruling, claim, strict_seed_scoring=self._strict)
        judgement = None
        if rung == SOLVED and isinstance(fix.diagnosis, str) and fix.diagnosis.strip():
            judgement = self._assess(task, fix.diagnosis)
        paid = score(rung, share=judgement.share if judgement else 0.0, step=step, cap=cap)
        return Verdict(
            score=paid.score,
            rung=rung,
            solved=paid.solved,
            claim=claim,
            root_cause_fixed=ruling.fixed,
            trust=ruling.trust,
            feedback=ruling.feedback,
            problems=ruling.problems,
            untouched=ruling.untouched,
            efficiency=paid.efficiency,
            bonus=paid.bonus,
            judgement=judgement,
            runs=ruled.runs,
            seconds=time.monotonic() - started,
            guarantees=ruled.guarantees,
            facts=ruling.facts,
        )

    def _rule(self, task: Task | OwnTask, files: Mapping[str, str]) -> Ruled:
        if isinstance(task, OwnTask):
            workspace = merged(task.broken, files, task.job.data.keys())
        else:
            workspace = workspace_of(task, files)
        if isinstance(workspace, Problem):
            nothing = dict.fromkeys(task.bugs)
            return Ruled(Ruling(NO_START, nothing, "artifact", workspace.text, (workspace,)))
        key = task.key(workspace)
        with self._lock:
            known = self._rulings.get(key)
        if known is not None:
            return replace(known, runs=0)
        if isinstance(task, OwnTask):
            ruling, runs, stable = self._by_trace.rule(task, workspace)
            found = Ruled(ruling, len(runs), _common([one.guarantees for one in runs]), stable)
        else:
            found = self._rule_anew(task, workspace)
        if not found.stable:
            return found
        with self._lock:
            self._rulings[key] = found
            while len(self._rulings) > self._keep_rulings:
                self._rulings.popitem(last=False)
        return found

    def _rule_anew(self, task: Task, workspace: Workspace) -> Ruled:
        reference, broken = (self._kept_examination(task, one) for one in (task.reference, task.broken))
        _ = reference.hidden, broken.hidden  # first: if these cannot be run, no submission is to blame
        examination = self._known(task, workspace) or self._examination(task, workspace)
        before, stable = len(examination.made), True
        repair = Repair(task.spec, examination, reference)
        try:
            ruling = rule(task, repair, broken)
        except RunnerError as error:
            _ = self._examination(task, task.reference).hidden  # raises if the machine itself is at fault
            problem = Problem("runner", f"a run could not be completed: {error}")
            text = "a run could not be completed: it took its runner down"
            ruling = Ruling(NO_START, dict.fromkeys(task.bugs), "artifact", text, (problem,))
            stable = False
        stable = stable and all(one.result.outcome not in ("timeout", "memory") for one in examination.made)
        guarantees = _common([run.result.guarantees for run in examination.made])
        return Ruled(ruling, len(examination.made) - before, guarantees, stable)

    def _examination(self, task: Task, workspace: Workspace) -> Examination:
        observer = Observer(self._run, task.spec, task.device, self._limits)
        return Examination(observer, workspace, task.visible_seed, task.hidden_seed)

    def _known(self, task: Task, workspace: Workspace) -> Examination | None:
        with self._lock:
            return self._kept.get(task.key(workspace))

    def _kept_examination(self, task: Task, workspace: Workspace) -> Examination:
        """Runs of a reference or of a broken job, kept by content."""
        key = task.key(workspace)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = self._examination(task, workspace)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_EXAMINATIONS:
                self._kept.popitem(last=False)
            return found

    def _assess(self, task: Task | OwnTask, diagnosis: str) -> Judgement:
        return self._judge.assess(
            Question(
                bugs=task.bugs,
                explanations={bug: mutator(bug).explanation() for bug in task.bugs},
                causes=task.causes,
                places=task.places,
                patch=unified_patch(task.broken.files, task.reference.files),
                diagnosis=diagnosis,
            )
        )

    def grade_many(self, pairs: Iterable[tuple[Task | OwnTask, Fix]], *, jobs: int = 1) -> Iterator[Verdict]:
        """Verdicts in the order of the pairs, `jobs` at a time; only a few pairs are taken ahead."""
        if jobs == 1:
            yield from (self.grade(task, fix) for task, fix in pairs)
            return
        with ThreadPoolExecutor(jobs, thread_name_prefix="mldebug-grade") as threads:
            waiting: list[Future[Verdict]] = []
            try:
                for task, fix in pairs:
                    waiting.append(threads.submit(self.grade, task, fix))
                    if len(waiting) >= 4 * jobs:
                        yield waiting.pop(0).result()
                while waiting:
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()


def named(bugs: Any) -> frozenset[str]:
    """Claimed classes as canonical names; what names no class stays as it is, so that it is wrong."""
    claimed: set[str] = set()
    if isinstance(bugs, str):
        bugs = [part.strip() for part in bugs.split(",")]
    for bug in bugs if isinstance(bugs, Iterable) else ():
        try:
            claimed.update(canonical_bugs([bug]))
        except Exception:  # whatever an agent sends as a class name is no class
            claimed.add(f"?{bug!r}"[:80])
    return frozenset(claimed) or frozenset({"?"})


def _common(guarantees: list[tuple[str, ...]]) -> tuple[str, ...]:
    if not guarantees:
        return ()
    return tuple(name for name in guarantees[0] if all(name in others for others in guarantees))


__all__ = ["Fix", "Grader", "named"]
