"""Trajectories as a page holds them: without what every line repeats, packed task by task, within a limit."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..running.report import use_of
from .reading import Outcome
from .texts import shown

LIMIT = 8 << 20
"""Characters of packed trajectories in a page: 240 tasks of five scripted agents are about 3 million."""

LONGEST = 20_000
"""Characters of one text; of a longer one the page shows beginning and end."""

DEEPEST = 20
"""Levels of lists and objects in what is shown."""


@dataclass(frozen=True)
class Packed:
    """chunks: gzip, base64; each a JSON list of episodes. places: of an outcome, by its position: chunk and
    index in it; None if the limit left it out. actions: of each outcome, by name."""

    chunks: tuple[str, ...]
    places: tuple[tuple[int, int] | None, ...]
    actions: tuple[tuple[str, ...], ...]

    @property
    def left_out(self) -> int:
        return sum(one is None for one in self.places)


def pack(outcomes: Sequence[Outcome], limit: int = LIMIT) -> Packed:
    """Read the trajectories of all outcomes, and pack those that lie together (one task of a run) together.

    Args:
        limit: characters. Once a task does not fit, no later one is packed.

    Raises:
        UsageError: a trajectory is missing, broken, or of another result.
    """
    chunks: list[str] = []
    places: list[tuple[int, int] | None] = []
    actions: list[tuple[str, ...]] = []
    room = limit
    for group in _together(outcomes):
        episodes = []
        for one in group:
            lines = one.trajectory()
            actions.append(tuple(use_of(line["action"]) for line in lines[2:-1]))
            episodes.append(episode(lines))
        chunk = _packed(episodes) if room > 0 else ""
        if room > 0 and len(chunk) <= room:
            room -= len(chunk)
            places += [(len(chunks), index) for index in range(len(group))]
            chunks.append(chunk)
        else:
            room = 0
            places += [None] * len(group)
    return Packed(tuple(chunks), tuple(places), tuple(actions))


def _together(outcomes: Iterable[Outcome]) -> Iterator[list[Outcome]]:
    group: list[Outcome] = []
    for one in outcomes:
        if group and (one.task, one.run) != (group[-1].task, group[-1].run):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _packed(episodes: list[dict[str, Any]]) -> str:
    text = json.dumps(episodes, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0)).decode("ascii")


def episode(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a page shows of a trajectory. All texts of others are `shown` and at most `LONGEST` characters."""
    return {
        "settings": _tame(lines[0].get("settings")),
        "briefing": _text(lines[1]["observation"]),
        "steps": [
            {
                "use": shown(use_of(one["action"])),
                "action": _tame(one["action"]),
                "note": _tame(one.get("note")),
                "text": _text(one["observation"]),
                "reward": _tame(_of(one["observation"], "reward")),
                "refused": _of(one["observation"], "refused") is True,
                "done": _of(one["observation"], "done") is True,
            }
            for one in lines[2:-1]
        ],
        "result": _tame(lines[-1]["result"]),
    }


def _of(observation: Any, name: str) -> Any:
    return observation.get(name) if isinstance(observation, dict) else None


def _text(observation: Any) -> str:
    found = _of(observation, "text")
    return _cut(shown(found if isinstance(found, str) else json.dumps(_tame(observation))))


def _tame(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return _cut(shown(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, dict)) and depth == DEEPEST:
        return "… nested too deeply to be shown …"
    if isinstance(value, list):
        return [_tame(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {shown(str(name)): _tame(one, depth + 1) for name, one in value.items()}
    return value


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out here …\n{text[-half:]}"
