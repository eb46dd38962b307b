"""Run folders that nobody played, written by the code that writes those that were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mldebug.benchmark.running.episode import Played
from mldebug.benchmark.running.folder import RunFolder
from mldebug.benchmark.running.plan import Episode, Plan, line
from mldebug.benchmark.running.rows import TaskFile
from mldebug.env.models import Observation

HOSTILE = (
    "</script><script>document.title='owned'</script> <!-- <img src=x onerror=\"document.title='owned'\"> "
    "\u2028\u202e&lt;b&gt; \x1b[31m \ud800 ${document.title='owned'}"
)
SETS = (("shape_mismatch",), ("missing_eval_mode",), ("data_leakage", "missing_eval_mode"))


def make_run(
    path: Path,
    agents: Sequence[str] = ("null", "oracle", "rules"),
    tasks: int = 6,
    *,
    hostile: str = "",
    text: str = "import torch\n",
    finished: bool = True,
) -> Path:
    """A run of `tasks` tasks: `oracle` solves all, `rules` every second, others none.

    Args:
        hostile: in every text that an agent or a job can write. text: an observation.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = path.parent / f"{path.name}.rows.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for number in range(tasks):
            row: dict[str, Any] = {"id": f"{number:016x}", "bugs": SETS[number % 3], "script": "glyph_cnn"}
            file.write(json.dumps(row | {"verified": True}) + "\n")
    plan = Plan.of(TaskFile(rows), agents, {})
    folder = RunFolder(path, plan)
    results = []
    for episode in plan.episodes():
        name = episode.playing.name
        solved = name == "oracle" or (name == "rules" and int(episode.entry.id, 16) % 2 == 0)
        played = _played(plan, episode, solved, hostile, text)
        folder.keep(episode, played)
        results.append(played.result)
    if finished:
        folder.finish(results)
    folder.close()
    return path


def _played(plan: Plan, episode: Episode, solved: bool, hostile: str, text: str) -> Played:
    entry, name = episode.entry, episode.playing.name

    def seen(step: int, said: str, reward: float = 0.0) -> dict[str, Any]:
        about = ("The job failed. " + hostile, entry.id, "train.py")
        return Observation(said, *about, step, 5, ("eval", "view"), reward=reward, done=step == 2).record()

    rung = 0.99 if solved else 0.2
    steps: list[dict[str, Any]] = [
        {
            "action": {
                "type": "inspect",
                "tool": "view" + hostile,
                "arguments": {"path": "train.py" + hostile},
            },
            "note": {"why": "to begin with " + hostile} if hostile else None,
            "observation": seen(1, f"{text}# of {name} on {entry.id} {hostile}"),
        },
        {
            "action": {
                "type": "fix",
                "bugs": list(entry.bugs),
                "diagnosis": "It is broken. " + hostile,
                "files": {"train.py" + hostile: f"{text}# repaired\n" + hostile},
            },
            "note": None,
            "observation": seen(2, "The repaired job was run: " + hostile, rung),
        },
    ]
    result = {
        "agent": name,
        "task": entry.id,
        "bugs": list(entry.bugs),
        "script": entry.script + hostile,
        "device": "cpu",
        "score": rung,
        "rung": rung,
        "solved": solved,
        "efficiency": 1.0,
        "bonus": 0.0,
        "steps": 2,
        "refused": 0,
        "uses": {"fix": 1, ("view" + hostile)[:60]: 1},
        "rungs": [rung],
        "claims": ["right"],
        "trust": "artifact",
        "root_cause_fixed": dict.fromkeys(entry.bugs, solved),
        "usage": None,
    }
    values = [plan.header(episode), {"observation": seen(0, "You are on call. " + hostile)}, *steps]
    times = {"agent": name, "task": entry.id, "seconds": 1.5}
    return Played(tuple(map(line, [*values, {"result": result}])), result, times)
