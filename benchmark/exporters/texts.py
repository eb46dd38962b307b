"""What an export tells agents and people, in the same words for every task."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...mutators.base import bug_classes
from .bundle import Bundle, Entry

CLAIM = "submission.json"
"""What an agent writes beside the sources where the tool has no other way to hand in a claim."""


def json_line(value: Mapping[str, Any]) -> bytes:
    """One line of canonical JSON."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def command(entry: Entry) -> str:
    """How the job is started in its folder."""
    return shlex.join(["python", entry.entrypoint, *entry.arguments])


def instruction(entry: Entry, place: str, claim: bool = True) -> str:
    """What an agent is told: the alert, and what is asked of it. It names no class more than any other.

    place: where the job's folder is. claim: whether the classes are handed in as a file.
    """
    lines = [
        entry.alert,
        "",
        f"You are on call for this training job: `{command(entry)}`, run in {place}. "
        "Find out what is wrong and repair the job there, so that it does what it was meant to do.",
        "",
        "The repaired job is run on data that you have not seen, and judged by what it does, not by how it "
        "is written. What is in `data/` is not yours to change, and it has to stay the same job: the same "
        "model, data and amount of training, as far as they are right.",
    ]
    if entry.is_own:
        lines[-1] = "The repaired job is run again, and judged by what it does, not by how it is written."
    if claim:
        example = {"bugs": ["…"], "diagnosis": "what was wrong, where, and what it did"}
        lines += [
            "",
            f"When it is repaired, write `{CLAIM}` beside `{entry.entrypoint}`, with the classes of bug that "
            "you repaired, all of them and no others:",
            "",
            f"    {json.dumps(example, ensure_ascii=False)}",
            "",
            f"The classes are: {', '.join(bug_classes())}.",
        ]
    return "\n".join(lines) + "\n"


def canary_comment(bundle: Bundle) -> str:
    """A line that Markdown does not show; nothing for rows that are of no release."""
    return f"<!-- {bundle.canary} -->\n" if bundle.canary else ""


def about(bundle: Bundle) -> list[str]:
    """The first lines of a README's text."""
    what = f"release {bundle.release}" if bundle.release else f"rows ({bundle.name})"
    counts = ", ".join(f"{split} {sum(1 for _ in bundle.of(split))}" for split in bundle.splits)
    lines = [
        f"{len(bundle.entries)} broken PyTorch training jobs ({counts}), each proved broken by running it, "
        f"each with a fix that was proved too: mldebug {what}. Licence: MIT.",
        "",
    ]
    if bundle.canary:
        lines += [f"Canary: `{bundle.canary}`.", ""]
    return lines


def text_file(lines: Iterable[str]) -> bytes:
    return "\n".join(lines).encode()


def listed(files: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    """Sources as a list, for readers of tables, whose columns must not depend on a task's file names."""
    return [{"path": path, "content": text} for path, text in sorted(files.items())]
