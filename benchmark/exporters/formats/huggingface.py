"""A data set folder for `datasets.load_dataset`: tasks apart from what gives them away."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ....task_folder import BUDGET, TOOLS
from ..bundle import Bundle, Entry
from ..texts import about, canary_comment, json_line, listed, text_file
from ..writing import File

TASKS, SOLUTIONS, VALIDATION = "tasks", "solutions", "validation"


def files(bundle: Bundle) -> Iterator[File]:
    """The data card and a JSONL file for each part and split."""
    parts = {TASKS: task_row, SOLUTIONS: solution_row}
    if all(one.measured for one in bundle.entries):
        parts[VALIDATION] = validation_row
    yield File("README.md", card(bundle, list(parts)))
    for part, row in parts.items():
        for split in bundle.splits:
            content = b"".join(json_line(_stamp(one) | row(one)) for one in bundle.of(split))
            yield File(path_of(part, split), content)


def path_of(part: str, split: str) -> str:
    return f"{part}/{split}.jsonl"


def _stamp(entry: Entry) -> dict[str, Any]:
    if entry.canary is None:
        return {"id": entry.id, "split": entry.split}
    return {"id": entry.id, "split": entry.split, "release": entry.release, "canary": entry.canary}


def task_row(entry: Entry) -> dict[str, Any]:
    """What an agent may see. No value is ever null, and lists are never empty: readers guess the types."""
    return {
        "alert": entry.alert,
        "entrypoint": entry.entrypoint,
        "arguments": shlex.join(entry.arguments),
        "budget": BUDGET,
        "tools": list(TOOLS),
        "files": listed(entry.files),
        "data_sha256": entry.row["truth"]["data"]["sha256"],
    }


def solution_row(entry: Entry) -> dict[str, Any]:
    """The answer; `row` is the whole task as `mldebug gen --jsonl` prints it."""
    return {
        "bugs": list(entry.bugs),
        "patch": entry.patch,
        "reference": listed(entry.reference),
        "row": json_line(entry.whole()).decode().rstrip("\n"),
    }


def validation_row(entry: Entry) -> dict[str, Any]:
    """What was measured. Records differ in their fields from task to task, so they stay text."""
    assert entry.measured is not None
    return {
        "level": entry.measured["level"],
        "outcome": entry.measured["mutant"]["outcome"],
        "record": json_line(entry.measured).decode().rstrip("\n"),
    }


def card(bundle: Bundle, parts: list[str]) -> bytes:
    """`README.md`: configurations, and how they are read."""
    head = ["---", "license: mit", f"pretty_name: mldebug {bundle.name}"]
    head += ["tags: [pytorch, debugging, code, benchmark]", "configs:"]
    for part in parts:
        head += [f"  - config_name: {part}", *["    default: true"] * (part == TASKS), "    data_files:"]
        for split in bundle.splits:
            head += [f"      - split: {split}", f"        path: {path_of(part, split)}"]
    for split in bundle.splits:
        head += [f"  - config_name: {TASKS}-{split}", "    data_files:"]
        head += [f"      - split: {split}", f"        path: {path_of(TASKS, split)}"]
    first = bundle.splits[0]
    lines = [
        *head,
        "---",
        "",
        f"{canary_comment(bundle)}# mldebug {bundle.name}",
        "",
        *about(bundle),
        "```python",
        "from datasets import load_dataset",
        "",
        f'tasks = load_dataset(FOLDER, split="{first}")  # what an agent may see: alert and broken sources',
        f'solutions = load_dataset(FOLDER, "{SOLUTIONS}", split="{first}")  # the answers, in the same order',
        "```",
        "",
        f"The configurations `{TASKS}` (the default) and `{TASKS}-SPLIT` show no answer; `{SOLUTIONS}`"
        + (f" and `{VALIDATION}`" if VALIDATION in parts else "")
        + " do, and have to be asked for. Rows are sorted by id, which says nothing of a task.",
        "",
        "With mldebug installed, a repaired job is judged by what it does, on data that it never saw:",
        "",
        "```python",
        "import json, mldebug",
        "",
        'row = json.loads(solutions[0]["row"])',
        'verdict = mldebug.grade(row, {"train.py": "…"}, bugs=["…"], diagnosis="…")',
        "```",
        "",
        "The same rows as lines of a file are what `mldebug materialize`, `mldebug serve --tasks` and "
        "`mldebug bench run` take.",
        "",
    ]
    return text_file(lines)
