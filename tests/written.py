"""Submissions that people wrote, and the tasks they are for.

`tests/forgeries/` and `tests/correct_fixes/` hold one file per submission; `tests/tasks.jsonl` the tasks, as
`mldebug gen --jsonl` printed them (with a name each), so that both stay what they were written for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mldebug.grader.grade import Fix
from mldebug.grader.task import Task
from mldebug.grading import task_of_row

HERE = Path(__file__).parent
SECTION = "# === file: "


@dataclass(frozen=True)
class Written:
    """name: `eval/memoised_1`. task: its name in tasks.jsonl. mechanism: the idea it tries.

    about: what it tries, or how it repairs. files: path → text.
    """

    name: str
    task: str
    mechanism: str
    about: str
    files: dict[str, str]


@cache
def rows() -> dict[str, dict[str, Any]]:
    with (HERE / "tasks.jsonl").open() as lines:
        return {row["name"]: row for row in map(json.loads, lines)}


@cache
def task(name: str) -> Task:
    return task_of_row(rows()[name])


def parse(path: Path, folder: Path) -> Written:
    """One file: a header of comments, the entry point, and perhaps sections with other files."""
    header: dict[str, list[str]] = {}
    lines = path.read_text("utf-8").splitlines(keepends=True)
    while lines and lines[0].startswith("# ") and ":" in lines[0]:
        key, _, value = lines[0][2:].partition(":")
        if key not in ("task", "mechanism", "about"):
            break
        header.setdefault(key, []).append(value.strip())
        lines.pop(0)
    while lines and not lines[0].strip():
        lines.pop(0)
    files: dict[str, str] = {}
    entrypoint = rows()[header["task"][0]]["entrypoint"]
    name, kept = entrypoint, list[str]()
    for line in [*lines, f"{SECTION}end ==="]:
        if line.startswith(SECTION):
            files[name] = "".join(kept).rstrip("\n") + "\n"
            name, kept = line[len(SECTION) :].split(" ===")[0], []
        else:
            kept.append(line)
    return Written(
        path.relative_to(folder).with_suffix("").as_posix(),
        header["task"][0],
        header["mechanism"][0],
        " ".join(header["about"]),
        files,
    )


def written(kind: str, base: Path = HERE) -> Iterator[Written]:
    """All submissions of a kind, `forgeries` or `correct_fixes`, sorted by name."""
    for path in sorted((base / kind).glob("*/*.py")):
        yield parse(path, base / kind)


def fix(one: Written) -> Fix:
    """The submission, with the right claim: a forger knows the class, and an engineer says what he mended."""
    return Fix(one.files, rows()[one.task]["bugs"])
