"""One episode after another: `reset` gives an alert, `step` buys evidence or hands in a fix."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Self

from ..errors import UsageError
from ..grader.grade import Fix as Submission
from ..grader.ladder import EFFICIENCY_CAP, Attempt, Score, episode_score
from ..grader.verdict import Verdict
from ..mutators.base import bug_classes, canonical_bugs
from ..task_folder import BUDGET
from .curriculum import Scheduler
from .models import Action, ActionRefused, Fix, Observation, read_action
from .patches import apply_patch
from .services import Services
from .tasks import Assignment, Prepared, Source
from .tools.base import toolbox
from .workbench import Workbench

BRIEFING = (
    "{alert}\n\n"
    "You are on call for this training job ({entrypoint}). Find out what is wrong and hand in a repaired "
    "job. You have {budget} steps: each use of a tool and each fix costs one. "
    "Tools: {tools}. A fix names the classes of bug it repairs: {classes}."
)


class DebugEnv:
    """An environment for debugging agents. One client at a time; several may share `services`.

    Args:
        services: what runs, grades and prepares tasks; by default its own, ended by `close()`.
        tasks: shorthand for `Services(tasks)`: variants, rows or folders that were prepared ahead.
        budget: steps of an episode. tools: names of those an agent has; all by default.
        scheduler: chooses what an episode is about where `reset` is not told, and is told how it ended.
        efficiency_cap: the most that solving early is paid (see `grader.ladder.efficiency`).

    Attributes:
        score: of the last episode that ended; None before. verdicts: on its fixes, in order. Both are for the
        trainer: verdicts hold the truth.
    """

    def __init__(
        self,
        services: Services | None = None,
        *,
        tasks: Collection[Source | Prepared] | None = None,
        budget: int = BUDGET,
        tools: Collection[str] | None = None,
        scheduler: Scheduler | None = None,
        efficiency_cap: float = EFFICIENCY_CAP,
    ) -> None:
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
            raise UsageError(f"budget must be an integer from 1 on, got {budget!r}")
        if services is not None and tasks is not None:
            raise UsageError("give services or tasks, not both: services hold the tasks")
        self._owns_services = services is None
        self._services = services or Services(tasks)
        self._toolbox = toolbox(None if tools is None else tuple(tools))
        self._budget = budget
        self._scheduler = scheduler
        self._cap = efficiency_cap
        self._lock = threading.Lock()
        self._workbench: Workbench | None = None
        self._assignment: Assignment | None = None
        self._alert = ""
        self._step = 0
        self._done = True
        self._closed = False
        self.score: Score | None = None
        self.verdicts: list[Verdict] = []

    def reset(
        self,
        seed: int | None = None,
        bugs: str | Collection[str] | None = None,
        task: Source | Prepared | None = None,
        *,
        script: str | None = None,
    ) -> Observation:
        """Begin an episode. The same seed and bugs give the same episode.

        Args:
            seed: chooses the task; by default the scheduler's, or any.
            bugs: classes to be injected; by default the seed (or the scheduler) draws them.
            task: this one instead: a verified variant, a row, or a task folder.
            script: a job of the library.

        Raises:
            UsageError: unknown names, a bad number, a task that was never proved, or the environment is
                closed.
        """
        with self._lock:
            if self._closed:
                raise UsageError("the environment is closed; make a new one")
            self._done, self._workbench, self._assignment = True, None, None
            if task is not None:
                prepared = task if isinstance(task, Prepared) else Prepared.of(task)
            else:
                assignment = self._assign(seed, bugs, script)
                prepared = self._services.task(assignment)
                self._assignment = assignment
            known = prepared.task
            self._workbench = Workbench(
                known, self._services, dict(known.broken.files), self._services.data(known)
            )
            self._toolbox.attend(self._workbench)
            self._alert = prepared.alert
            self._step, self._attempts = 0, list[Attempt]()
            self.score, self.verdicts = None, []
            self._done = False
            return self._observe(self.briefing())

    def _assign(self, seed: int | None, bugs: str | Collection[str] | None, script: str | None) -> Assignment:
        if seed is None and bugs is None and script is None and self._scheduler is not None:
            return self._scheduler.next()
        if seed is None:
            seed = int.from_bytes(os.urandom(4), "big")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UsageError(f"seed must be an integer from 0 on, got {seed!r}")
        names = None if bugs is None else canonical_bugs(bugs if isinstance(bugs, str) else list(bugs))
        return Assignment(seed, names, script)

    def briefing(self) -> str:
        """What `reset` says."""
        assert self._workbench is not None
        return BRIEFING.format(
            alert=self._alert,
            entrypoint=self._workbench.entrypoint,
            budget=self._budget,
            tools=", ".join(self._toolbox.names),
            classes=", ".join(bug_classes()),
        )

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Name, description and parameters of each tool, as function calling wants them."""
        return self._toolbox.schemas()

    @property
    def done(self) -> bool:
        return self._done

    def step(self, action: Action | Mapping[str, Any]) -> Observation:
        """Use a tool or hand in a fix. Whatever comes costs a step, a refused action too.

        Raises:
            UsageError: there is no episode: `reset` was not called, it is over, or the environment is closed.
        """
        with self._lock:
            if self._closed:
                raise UsageError("the environment is closed; make a new one")
            if self._done or self._workbench is None:
                raise UsageError("no episode is going on; call reset()")
            self._step += 1
            refused, solved = False, False
            try:
                text, solved = self._act(self._workbench, read_action(action))
            except ActionRefused as error:
                text, refused = str(error), True
            except BaseException:
                self._step -= 1  # the machinery failed, not the agent: it may try again
                raise
            if solved or self._step >= self._budget:
                self._finish()
            return self._observe(text, refused)

    def _act(self, workbench: Workbench, action: Action) -> tuple[str, bool]:
        if isinstance(action, Fix):
            return self._fix(workbench, action)
        if action.tool == "submit" and "submit" in self._toolbox.names:
            return self._fix(workbench, read_submit(action.arguments))
        return self._toolbox.use(workbench, action.tool, action.arguments), False

    def _fix(self, workbench: Workbench, fix: Fix) -> tuple[str, bool]:
        """Apply a fix to the working copy and grade that."""
        workbench.change(self._changes(workbench, fix))
        submission = Submission(dict(workbench.files), fix.bugs, fix.diagnosis)
        verdict = self._services.grader.grade(workbench.task, submission, step=self._step, cap=self._cap)
        self.verdicts.append(verdict)
        share = verdict.judgement.share if verdict.judgement else 0.0
        self._attempts.append(Attempt(self._step, verdict.rung, share))
        if verdict.solved:
            return "The repaired job runs, finishes, and does what it should. The incident is closed.", True
        return f"The repaired job was run: {verdict.feedback}", False

    @staticmethod
    def _changes(workbench: Workbench, fix: Fix) -> Mapping[str, str]:
        if fix.patch is not None:
            return apply_patch(workbench.visible_files(), fix.patch)
        if fix.script is not None:
            return {workbench.entrypoint: fix.script}
        return fix.files or {}

    def _finish(self) -> None:
        self._done = True
        self.score = episode_score(self._attempts, self._cap)
        if self._scheduler is not None and self._assignment is not None:
            self._scheduler.report(self._assignment, self.score.score)

    def _observe(self, text: str, refused: bool = False) -> Observation:
        assert self._workbench is not None
        found = Observation(
            text=text,
            alert=self._alert,
            task=self._workbench.task.id,
            entrypoint=self._workbench.entrypoint,
            step=self._step,
            budget=self._budget,
            tools=self._toolbox.names,
            refused=refused,
        )
        if self._done:
            assert self.score is not None
            return replace(found, done=True, reward=self.score.score)
        return found

    def close(self) -> None:
        """End the environment; another `step` or `reset` is refused."""
        self._closed = self._done = True
        self._workbench = None
        if self._owns_services:
            self._services.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def read_submit(arguments: Mapping[str, Any]) -> Fix:
    """The fix that `submit` stands for: the working copy as it is."""
    if unknown := sorted(set(arguments) - {"bugs", "diagnosis"}):
        raise ActionRefused(f"submit has no parameter {unknown[0][:60]!a}; it takes: bugs, diagnosis")
    found = read_action({"type": "fix", **arguments})
    assert isinstance(found, Fix)
    return found
