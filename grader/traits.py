"""What makes one task harder than another, measured: the benchmark calibrates its levels from this."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..mutators.workspace import Edit
from .evidence import Observed

Symptom = Literal["crash", "not finite", "silent"]


@dataclass(frozen=True)
class Traits:
    """What was measured of one task.

    bugs: how many. symptom: how run 0 of the broken job shows that something is wrong; `silent` is a job that
    finishes with finite numbers.
    shown_at: `file:line` of the job's own code where a crash shows, None for anything else.
    lines_apart: lines between that and the nearest edit in the same file; None where no edit is in that file.
    modules_apart: 0 where an edit is in the file that the crash shows in, else 1; None without a crash.
    changed_lines: lines that the reference fix adds and removes. distractors: how many there are.
    """

    bugs: int
    symptom: Symptom
    shown_at: str | None
    lines_apart: int | None
    modules_apart: int | None
    changed_lines: int
    distractors: int

    def record(self) -> dict[str, Any]:
        return asdict(self)


def traits(
    broken: Observed,
    files: Mapping[str, str],
    reference: Mapping[str, str],
    edits: Iterable[Iterable[Edit]],
    distractors: int,
) -> Traits:
    """The traits of a task. broken: run 0 of the broken job. edits: of each bug."""
    bugs = [tuple(one) for one in edits]
    frame = _own_frame(broken, files)
    apart = modules = None
    if frame is not None:
        places = _lines(bugs, reference)
        near = [abs(line - frame[1]) for file, line in places if file == frame[0]]
        apart, modules = (min(near), 0) if near else (None, 1)
    return Traits(
        len(bugs),
        _symptom(broken),
        None if frame is None else f"{frame[0]}:{frame[1]}",
        apart,
        modules,
        sum(_changed(files[name], reference[name]) for name in files),
        distractors,
    )


def _symptom(run: Observed) -> Symptom:
    if not run.finished:
        return "crash"
    finite = all(value == value and abs(value) != float("inf") for value in run.final.values())
    return "silent" if finite and run.metric is not None else "not finite"


def _own_frame(run: Observed, files: Mapping[str, str]) -> tuple[str, int] | None:
    """The innermost frame of an exception that lies in the job's own sources."""
    frames = (run.exception or {}).get("frames", [])
    own = [(str(one["file"]), int(one["line"])) for one in frames if one.get("file") in files]
    return own[-1] if own else None


def _lines(bugs: Iterable[tuple[Edit, ...]], reference: Mapping[str, str]) -> list[tuple[str, int]]:
    """Where the edits lie in the broken sources: file and line, from 1 on."""
    found = []
    shift: dict[str, int] = {}
    for edit in sorted(one for edits in bugs for one in edits):
        before = reference[edit.file].encode()
        start = before[: edit.start].count(b"\n") + 1 + shift.get(edit.file, 0)
        found.append((edit.file, start))
        grown = edit.replacement.count("\n") - before[edit.start : edit.end].count(b"\n")
        shift[edit.file] = shift.get(edit.file, 0) + grown
    return found


def _changed(one: str, other: str) -> int:
    compared = difflib.ndiff(one.splitlines(), other.splitlines())
    return sum(line.startswith(("+ ", "- ")) for line in compared)
