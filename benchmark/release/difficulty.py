"""How hard a task is, 1 to 5: from how agents fared on it, or else from what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...grader.ladder import WRONG_CLASS
from ...grader.ruling import NO_END, NO_START, NOT_CONFIRMED, NOT_FIXED, SOLVED

LEVELS = (1, 2, 3, 4, 5)

FAR = 5
"""Lines between a crash and its cause from which on the two do not fit on one glance."""

LONG_FIX = 4
"""Lines that a fix adds and removes (two are one line changed) from which on it is more than a repair of one
or two lines."""

NO_FIX = 0.0
"""What an episode ends on in which no fix was handed in."""

RUNGS = (NO_FIX, WRONG_CLASS, NO_START, NO_END, NOT_FIXED, NOT_CONFIRMED, SOLVED)

NOT_TRYING = ("null", "oracle", "random")
"""Agents that say nothing of how hard a task is: one knows the answer, two do not look for it."""

Outcomes = Mapping[str, Mapping[str, float]]
"""Task id → agent → the rung it ended on."""


def difficulty(traits: Mapping[str, Any], agents: Mapping[str, float]) -> int:
    """The level of a task.

    traits: as `validation.json` holds them (`grader.traits.Traits`). agents: agent → rung; empty where none
    has tried, and then the traits decide alone.

    Of agents: 1 all solved it · 2 at least half · 3 some · 4 none, but one completed training with the right
    classes (0.60) · 5 none, and none came so far.
    """
    return _by_agents(agents) if agents else _by_traits(traits)


def _by_agents(agents: Mapping[str, float]) -> int:
    solved = sum(rung >= SOLVED for rung in agents.values())
    if solved == len(agents):
        return 1
    if 2 * solved >= len(agents):
        return 2
    if solved:
        return 3
    return 4 if max(agents.values()) >= NOT_FIXED else 5


def _by_traits(traits: Mapping[str, Any]) -> int:
    """1, and one more for each of: nothing crashes · nothing shows at all · each bug beyond the first · the
    crash is far from every cause · the fix is long · code that looks wrong and is right."""
    symptom = traits["symptom"]
    apart = traits["lines_apart"]
    elsewhere: bool = traits["modules_apart"] == 1 or (apart is not None and apart > FAR)
    points = (
        (symptom != "crash")
        + (symptom == "silent")
        + (int(traits["bugs"]) - 1)
        + elsewhere
        + (int(traits["changed_lines"]) > LONG_FIX)
        + (int(traits["distractors"]) > 0)
    )
    return min(1 + int(points), LEVELS[-1])


def read_outcomes(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """How agents fared; several paths are taken together.

    paths: folders of finished runs, whose agents are called `rules@5` by the steps they had (`NOT_TRYING`
    are left out); or JSON files of the form `{task id: {agent: rung}}`.

    Raises:
        UsageError: a path cannot be read or has another form, or two disagree.
    """
    found: dict[str, dict[str, float]] = {}
    for path in paths:
        for id, agents in (_of_run(path) if path.is_dir() else _of_file(path)).items():
            for agent, rung in agents.items():
                if isinstance(rung, bool) or rung not in RUNGS:
                    raise UsageError(
                        f"--outcomes {path}: task {id}, agent {agent}: {rung!r} is no rung; "
                        f"rungs are {', '.join(map(str, RUNGS))}"
                    )
                if found.setdefault(id, {}).setdefault(agent, rung) != rung:
                    raise UsageError(
                        f"--outcomes {path}: task {id}, agent {agent}: {rung} here, "
                        f"{found[id][agent]} in another file; name each agent's runs otherwise"
                    )
    return found


def _of_run(folder: Path) -> dict[str, dict[str, float]]:
    from ..report.reading import read

    found: dict[str, dict[str, float]] = {}
    for one in read([folder]).outcomes:
        if (agent := str(one.record["agent"])) not in NOT_TRYING:
            steps = one.run.mark["rules"]["budget"]
            found.setdefault(one.task, {})[f"{agent}@{steps}"] = one.rung
    return found


def _of_file(path: Path) -> dict[str, dict[str, float]]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--outcomes {path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        raise UsageError(f"--outcomes {path}: must hold one object: {{task id: {{agent: rung}}}}")
    return content
