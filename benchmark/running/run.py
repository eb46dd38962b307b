"""Episodes beside each other, in any order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ...env.services import Services
from ...env.tasks import Prepared
from ...executors.base import Executor
from ...grader.judge import OfflineJudge
from ...grader.runner import Pool
from ...output.progress import Progress
from ..agents.base import AgentFailed
from .episode import Played, play
from .folder import RunFolder
from .plan import Episode, Plan, Rules

GIVE_UP_AFTER = 5
"""Episodes in a row that failed for want of something outside (an endpoint that is down)."""


@dataclass
class Outcome:
    """results: of the episodes that are there, in the order of the plan. failed: what was not played, and
    why."""

    results: list[dict[str, Any]]
    failed: list[tuple[Episode, str]] = field(default_factory=list)
    missing: int = 0


def run(
    plan: Plan,
    folder: RunFolder,
    progress: Progress,
    *,
    executor: Executor,
    shuffle: int | None = None,
) -> Outcome:
    """Play what is not there yet, and write the results if all is there then.

    Raises:
        RunnerError: the machinery failed; what was played until then is kept.
    """
    found: dict[str, dict[str, Any]] = {}
    waiting: list[Episode] = []
    for episode in plan.in_order_of(shuffle):
        result = folder.result(episode)
        if result is None:
            waiting.append(episode)
        else:
            found[episode.file] = result
            progress.keep()
    failed: list[tuple[Episode, str]] = []
    if waiting:
        cues = (Cue(one, plan.header(one), plan.tasks.row(one.entry)) for one in waiting)
        with closing(executor.as_they_end(Staging(plan.seed, plan.rules), cues)) as ended:
            in_a_row = 0
            for cue, got in ended:
                episode = cue.episode
                if isinstance(got, Played):
                    folder.keep(episode, got)
                    found[episode.file] = dict(got.result)
                    in_a_row = 0
                elif isinstance(got, AgentFailed):
                    failed.append((episode, str(got)))
                    in_a_row += 1
                    progress.say(f"{episode.playing.name} on {episode.entry.id} was not played: {got}")
                    if in_a_row >= GIVE_UP_AFTER:
                        progress.say(f"{in_a_row} episodes in a row could not be played: giving up")
                        break
                else:
                    raise got
                progress.advance()
    order = plan.episodes()
    outcome = Outcome([found[one.file] for one in order if one.file in found], failed)
    outcome.missing = len(order) - len(outcome.results)
    if not outcome.missing:
        folder.finish(outcome.results)
    return outcome


def services_for(rules: Rules, pool: Pool) -> Services:
    """What the episodes of a run share. Diagnoses are judged offline: an endpoint may answer otherwise
    tomorrow."""
    return Services(pool=pool, judge=OfflineJudge(), strict_seed_scoring=rules.strict_seed_scoring)


@dataclass(frozen=True)
class Cue:
    """An episode to be played, with all that is read for it. row: of its task."""

    episode: Episode
    header: Mapping[str, Any]
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Staging:
    """How episodes are played (see `executors.base.Recipe`)."""

    seed: int
    rules: Rules

    def begin(self, pool: Pool) -> Callable[[Cue], Played]:
        services = services_for(self.rules, pool)

        def playing(cue: Cue) -> Played:
            prepared = Prepared.of(cue.row)
            return play(services, prepared, cue.episode, cue.header, self.seed, self.rules)

        return playing
