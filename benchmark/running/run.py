"""Episodes beside each other, in any order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...env.services import Services
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
    jobs: int = 1,
    shuffle: int | None = None,
    require: str | None = None,
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
        alone = any(one.kind.needs_terminal(one.settings) for one in plan.agents)
        with Pool(1 if alone else jobs, require=require) as pool:
            services = services_for(plan.rules, pool)
            in_a_row = 0
            for episode, got in _beside(waiting, 1 if alone else jobs, _playing(plan, services)):
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


def _playing(plan: Plan, services: Services) -> Callable[[Episode], Played]:
    def playing(episode: Episode) -> Played:
        prepared = plan.tasks.prepared(episode.entry)
        return play(services, prepared, episode, plan.header(episode), plan.seed, plan.rules)

    return playing


def _beside(
    episodes: Sequence[Episode], jobs: int, playing: Callable[[Episode], Played]
) -> Iterable[tuple[Episode, Played | BaseException]]:
    """Each episode with what came of it, as they end.

    The threads are daemons: one that waits for an endpoint does not hold up an interrupted command.
    """
    waiting: queue.SimpleQueue[Episode] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Episode, Played | BaseException]] = queue.SimpleQueue()
    over = threading.Event()
    for one in episodes:
        waiting.put(one)

    def work() -> None:
        while not over.is_set():
            try:
                one = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                ended.put((one, playing(one)))
            except BaseException as error:
                ended.put((one, error))

    threads = [threading.Thread(target=work, name=f"episode-{n}", daemon=True) for n in range(jobs)]
    try:
        for thread in threads:
            thread.start()
        for _ in episodes:
            yield ended.get()
    finally:
        over.set()
