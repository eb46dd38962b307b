"""Folders that `mldebug bench run` finished, read as material that anybody may have written."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..running.folder import read_json, read_times, read_trajectory


@dataclass(frozen=True)
class Outcome:
    """One episode.

    who: the agent, as the report calls it; the run's name is part of it where several runs have one of that
    name. seconds: what it took; None where `times.jsonl` does not say.
    """

    who: str
    task: str
    bugs: tuple[str, ...]
    script: str
    solved: bool
    score: float
    rung: float
    steps: int
    seconds: float | None
    run: Run
    record: Mapping[str, Any]

    def trajectory(self) -> list[dict[str, Any]]:
        """The lines of its trajectory.

        Raises:
            UsageError: it is not there, is none, or has another result than `results.jsonl`.
        """
        path = self.run.path / "trajectories" / self.record["agent"] / f"{self.task}.jsonl"
        if not path.is_file():
            raise UsageError(
                f"{path}: is not there; `mldebug bench run … --out {self.run.path} --resume` plays it again"
            )
        lines = read_trajectory(path)
        try:
            same = lines[-1]["result"] == self.record
        except RecursionError:
            same = False
        if not same:
            raise UsageError(
                f"{path}: ends with another result than results.jsonl has; one of the two was changed: "
                f"remove it, and `mldebug bench run … --out {self.run.path} --resume` plays it again"
            )
        return lines


@dataclass(frozen=True)
class Run:
    """A finished run. name: its folder's, with as many folders above it as tell it from the other runs.
    mark: what it follows from, as `run.json` has it."""

    path: Path
    name: str
    mark: Mapping[str, Any]


@dataclass(frozen=True)
class Runs:
    """Several runs together. outcomes: run by run, in the order of their results. agents: sorted by name."""

    runs: tuple[Run, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def agents(self) -> list[str]:
        return sorted({one.who for one in self.outcomes})

    def cautions(self) -> list[str]:
        """Why agents of different runs cannot be compared, if there is a reason."""
        said = []
        for title, name in (
            ("over the same tasks", "tasks"),
            ("by the same rules", "rules"),
            ("made by the same versions", "versions"),
        ):
            if any(one.mark.get(name) != self.runs[0].mark.get(name) for one in self.runs):
                said.append(f"The runs are not {title}: their agents cannot be compared without more ado.")
        return said


def read(folders: Sequence[Path]) -> Runs:
    """Read finished runs.

    Raises:
        UsageError: a folder is no run, is named twice, is not finished, or does not hold what `mldebug bench
            run` writes.
    """
    places = [one.resolve() for one in folders]
    if twice := [one for one, count in Counter(places).items() if count > 1]:
        raise UsageError(f"{twice[0]}: is named twice; name every run once")
    found = [_read(path, name) for path, name in zip(folders, _names(places), strict=True)]
    times_seen = Counter(name for _, records, _ in found for name in {one["agent"] for one in records})
    outcomes = [
        _outcome(run, record, seconds, alone=times_seen[record["agent"]] == 1)
        for run, records, seconds in found
        for record in records
    ]
    return Runs(tuple(run for run, _, _ in found), tuple(outcomes))


def _names(places: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as tell it from all others."""
    names: list[str] = []
    for place in places:
        parts = place.parts
        for size in range(1, len(parts) + 1):
            others = (one for one in places if one != place)
            if all(one.parts[-size:] != parts[-size:] for one in others):
                break
        names.append("/".join(parts[-size:]) or "/")
    return names


def _read(path: Path, name: str) -> tuple[Run, list[dict[str, Any]], dict[tuple[str, str], float]]:
    if not path.is_dir():
        raise UsageError(f"{path}: is no folder; name one that `mldebug bench run --out` wrote")
    if not (path / "run.json").is_file():
        raise UsageError(
            f"{path}: is no run (there is no run.json); name a folder that `mldebug bench run --out` wrote"
        )
    mark: Any = read_json(path / "run.json").get("run")
    try:
        if not all(isinstance(mark[name], dict) for name in ("agents", "tasks", "rules")):
            raise TypeError
        expected = len(mark["agents"]) * int(mark["tasks"]["count"])
        names = set(mark["agents"])
        int(mark["rules"]["budget"])
        if expected < 1:
            raise ValueError
    except (LookupError, TypeError, ValueError):
        raise UsageError(f"{path / 'run.json'}: is not what `mldebug bench run` writes") from None
    results = path / "results.jsonl"
    if not results.is_file():
        raise UsageError(
            f"{path}: the run is not finished (there is no results.jsonl); "
            f"`mldebug bench run … --out {path} --resume` finishes it"
        )
    run = Run(path, name, mark)
    records = list(_records(results, names))
    if len(records) != expected:
        raise UsageError(
            f"{results}: holds {len(records)} episodes, and the run has {expected}; remove it, and "
            f"`mldebug bench run … --out {path} --resume` writes it again"
        )
    try:
        seconds = {
            (str(one["agent"]), str(one["task"])): _number(one["seconds"])
            for one in read_times(path / "times.jsonl")
        }
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise UsageError(
            f"{path / 'times.jsonl'}: is not what `mldebug bench run` writes ({error}); remove it to have a "
            "report without seconds"
        ) from None
    return run, records, seconds


def _records(path: Path, names: set[str]) -> Iterable[dict[str, Any]]:
    """The lines of results, each with the types a report relies on."""
    seen: set[tuple[str, str]] = set()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        try:
            one = json.loads(line)
            _checked(one, names)
            key = (one["agent"], one["task"])
            if key in seen:
                raise ValueError("the episode was there before")
            seen.add(key)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise UsageError(
                f"{path}, line {number}: is no result that `mldebug bench run` writes "
                f"({type(error).__name__}: {error})"
            ) from None
        yield one


def _checked(one: Any, names: set[str]) -> None:
    for what, right in (
        ("agent: must be one of run.json", one["agent"] in names),
        ("agent: must be able to name a file", is_name(one["agent"])),
        ("task: must be able to name a file", is_name(one["task"])),
        ("bugs: must be a list of names", _are_names(one["bugs"])),
        ("script: must be a name", isinstance(one["script"], str)),
        ("solved: must be true or false", isinstance(one["solved"], bool)),
    ):
        if not right:
            raise ValueError(what)
    for name in ("score", "rung", "steps"):
        _number(one[name])


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def is_name(text: object) -> bool:
    """Whether a text can name one file of a folder and nothing else."""
    return (
        isinstance(text, str)
        and text.isprintable()
        and text not in ("", ".", "..")
        and len(text) <= 200
        and not set(text) & set("/\\")
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return float(value)


def _outcome(
    run: Run, record: Mapping[str, Any], seconds: Mapping[tuple[str, str], float], *, alone: bool
) -> Outcome:
    agent = record["agent"]
    return Outcome(
        agent if alone else f"{agent} ({run.name})",
        record["task"],
        tuple(sorted(record["bugs"])),
        record["script"],
        record["solved"],
        float(record["score"]),
        float(record["rung"]),
        int(record["steps"]),
        seconds.get((agent, record["task"])),
        run,
        record,
    )
