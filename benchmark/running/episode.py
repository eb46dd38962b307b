"""One episode, from the briefing to the lines of its trajectory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...env.debug_env import DebugEnv
from ...env.models import Observation
from ...env.services import Services
from ...env.tasks import Prepared
from ...errors import MldebugError
from ...grader.ladder import Score
from ...grader.verdict import Verdict
from ...mutators.base import bug_classes
from ...seeds import Draw
from ..agents.base import Agent, AgentFailed, Brief, Solution, Turn
from .plan import Episode, Rules, line
from .report import use_of


@dataclass(frozen=True)
class Played:
    """An episode that was played.

    lines: of its trajectory: what it follows from, the first observation, one line for each step, the result.
    times: what is not the same in every run, for people.
    """

    lines: tuple[str, ...]
    result: Mapping[str, Any]
    times: Mapping[str, Any]

    @property
    def text(self) -> str:
        return "".join(self.lines)


def play(
    services: Services,
    prepared: Prepared,
    episode: Episode,
    header: Mapping[str, Any],
    seed: int,
    rules: Rules,
) -> Played:
    """Let an agent play one episode.

    Raises:
        AgentFailed: what it needs failed, or it raised something itself.
    """
    kind = episode.playing.kind
    known = prepared.task

    def sent(tools: list[dict[str, Any]]) -> Agent:
        solution = Solution(known.bugs, dict(known.reference.files)) if kind.is_told else None
        draw = Draw("agent", kind.name, known.id, seed)
        return kind(Brief(tuple(tools), tuple(bug_classes()), draw, episode.playing.settings, solution))

    return _play(services, prepared, sent, header, rules, kind.tools)


def _play(
    services: Services,
    prepared: Prepared,
    sent: Callable[[list[dict[str, Any]]], Agent],
    header: Mapping[str, Any],
    rules: Rules,
    tools: tuple[str, ...] | None,
) -> Played:
    began = time.perf_counter()
    env = DebugEnv(services, budget=rules.budget, efficiency_cap=rules.cap, tools=tools)
    lines = [line(header)]
    tally: Counter[str] = Counter()
    refused, thinking = 0, 0.0
    try:
        seen = env.reset(task=prepared)
        player = sent(env.tools)
        lines.append(line({"observation": seen.record()}))
        while not seen.done:
            started = time.perf_counter()
            turn = _turn(player, seen)
            thinking += time.perf_counter() - started
            seen = env.step(turn.action)
            refused += seen.refused
            tally[use_of(turn.action)] += 1
            lines.append(line({"action": turn.action, "note": turn.note, "observation": seen.record()}))
        player.heard(seen)
        assert env.score is not None
        result = _result(header, prepared, env.score, env.verdicts, seen, tally, refused)
        result["usage"] = None if player.usage is None else player.usage.record()
        lines.append(line({"result": result}))
        times = {
            "agent": header["agent"],
            "task": header["task"],
            "seconds": round(time.perf_counter() - began, 3),
            "agent_seconds": round(thinking, 3),
            "grading_seconds": round(sum(one.seconds for one in env.verdicts), 3),
            "grading_runs": sum(one.runs for one in env.verdicts),
        }
        return Played(tuple(lines), result, times)
    finally:
        env.close()


def _turn(player: Agent, seen: Observation) -> Turn:
    try:
        return player.act(seen)
    except MldebugError:
        raise
    except Exception as error:
        raise AgentFailed(
            f"{player.name} raised {type(error).__name__} at step {seen.step + 1} of task {seen.task}: "
            f"{error}"
        ) from error


def _result(
    header: Mapping[str, Any],
    prepared: Prepared,
    score: Score,
    verdicts: list[Verdict],
    seen: Observation,
    tally: Mapping[str, int],
    refused: int,
) -> dict[str, Any]:
    """What a run says of an episode: nothing that depends on what ran before it or beside it."""
    known = prepared.task
    best = max(verdicts, key=lambda one: one.rung, default=None)
    return {
        "agent": header["agent"],
        "task": known.id,
        "bugs": list(known.bugs),
        "script": known.spec.name,
        "device": known.device,
        "score": round(score.score, 9),
        "rung": score.rung,
        "solved": score.solved,
        "efficiency": score.efficiency,
        "bonus": round(score.bonus, 9),
        "steps": seen.step,
        "refused": refused,
        "uses": dict(sorted(tally.items())),
        "rungs": [one.rung for one in verdicts],
        "claims": [one.claim for one in verdicts],
        "trust": best.trust if best else None,
        "root_cause_fixed": dict(sorted(best.root_cause_fixed.items())) if best else {},
    }


class Recorded(Agent):
    """Does what a trajectory says; replays are played by it.

    Args:
        turns: what it did, in order. usage: what its result says of that.
    """

    name = "recorded"
    about = "Repeats a trajectory."

    def __init__(self, brief: Brief, turns: list[Turn], usage: Any) -> None:
        super().__init__(brief)
        self._turns = turns
        self._usage = usage

    def act(self, seen: Observation) -> Turn:
        if seen.step >= len(self._turns):
            raise AgentFailed(f"the trajectory ends after {seen.step} steps, the episode does not")
        return self._turns[seen.step]


def again(
    services: Services,
    prepared: Prepared,
    header: Mapping[str, Any],
    turns: list[Turn],
    usage: Any,
    rules: Rules,
    tools: tuple[str, ...] | None,
) -> list[dict[str, Any]]:
    """The lines that the same turns give now, read as JSON."""
    import json

    def sent(schemas: list[dict[str, Any]]) -> Agent:
        brief = Brief(tuple(schemas), tuple(bug_classes()), Draw("replay"))
        return Recorded(brief, turns, usage)

    played = _play(services, prepared, sent, header, rules, tools)
    found = [json.loads(one) for one in played.lines]
    found[-1]["result"]["usage"] = usage
    return found
