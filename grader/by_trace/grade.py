"""Grading a submission to a task of somebody's own script: the runs, and what happens when they fail."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...errors import RunnerError
from ...mutators.workspace import Workspace
from ..evidence import Run
from ..predictions import Problem
from ..ruling import NO_START, Ruling
from ..runner.request import RunRequest, RunResult
from .job import Baseline, Tracer
from .ruling import rule_by_trace
from .task import OwnTask

MORE_TIME = 2.0
"""Times the limit that the task was made with: a machine that grades may be slower or busier than the one
that proved it, and an honest fix may take a little longer than the original."""
KEPT_TASKS = 32
"""Tasks whose original's and broken job's runs are kept."""


@dataclass(frozen=True)
class Known:
    """What belongs to a task and is run once."""

    original: Baseline
    broken: Run


class TraceGrader:
    """Judges submissions by the trace of one run each. Usable from several threads."""

    def __init__(self, run: Callable[[RunRequest], RunResult]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Known] = OrderedDict()

    def rule(self, task: OwnTask, workspace: Workspace) -> tuple[Ruling, list[RunResult], bool]:
        """The ruling, the runs made for it, and whether none met a limit or failed.

        Raises:
            UnusableScriptError: the original does not run here.
            RunnerError: the machinery failed (a submission that breaks it gets a ruling).
        """
        known = self._known(task)
        tracer = self._tracer(task)
        try:
            run = tracer.observe(workspace)
        except RunnerError as error:
            tracer.observe(task.reference)  # raises if the machine itself is at fault
            text = "a run could not be completed: it took its runner down"
            problem = Problem("runner", f"a run could not be completed: {error}")
            ruling = Ruling(NO_START, dict.fromkeys(task.bugs), "in_process", text, (problem,))
            return ruling, [], False
        ruling = rule_by_trace(
            task.bugs, run, known.broken, known.original, same_sources=workspace == task.broken
        )
        return ruling, [run.result], run.result.outcome not in ("timeout", "memory")

    def _tracer(self, task: OwnTask) -> Tracer:
        return Tracer(self._run, replace(task.job, timeout=MORE_TIME * task.job.timeout))

    def _known(self, task: OwnTask) -> Known:
        key = task.key(task.broken)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                tracer = self._tracer(task)
                original = Baseline(tracer, task.reference)
                original.check()
                found = self._kept[key] = Known(original, tracer.observe(task.broken))
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_TASKS:
                self._kept.popitem(last=False)
            return found
