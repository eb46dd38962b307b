"""What exported tasks are judged with: `python -I -m mldebug.benchmark.exporters.judge TASK WORKSPACE`.

Runs where the task folder may be read, never where the agent works. It prints what an agent may hear, and
with `--reward FILE` writes numbers for other programs. Exit code 0: solved, or the numbers are written; 1:
not solved; 2 and 3: it could not be judged.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import MldebugError
from ...grader.by_trace.task import OwnTask
from ...grader.submission import MOST_BYTES, MOST_FILES
from ...grader.verdict import Verdict
from ...grading import any_task_of, grade
from ...output.whole_file import put_whole
from .texts import CLAIM

MOST_CLAIM_BYTES = 1 << 16


@dataclass(frozen=True)
class Claim:
    """What an agent says that it repaired. problem: why its file could not be used, for people."""

    bugs: tuple[str, ...] = ()
    diagnosis: str = ""
    problem: str = ""


def judge(task: Path, workspace: Path, *, repair_only: bool) -> tuple[Verdict, Claim]:
    """The verdict on what lies in a folder that an agent worked in.

    repair_only: no claim is asked for; the repair alone decides.

    Raises:
        UsageError: the task cannot be read.
    """
    known = any_task_of(task)
    claim = Claim(known.bugs) if repair_only else read_claim(workspace)
    files = dict(sources(workspace, () if isinstance(known, OwnTask) else ("data",)))
    return grade(known, files, claim.bugs, claim.diagnosis), claim


def read_claim(workspace: Path) -> Claim:
    """What `submission.json` says. Whatever is wrong with it: no class is claimed, which is a wrong claim."""
    content = _content(workspace / CLAIM, MOST_CLAIM_BYTES)
    if content is None:
        return Claim(problem=f"{CLAIM} is not there, or no regular file")
    try:
        said = json.loads(content)
        bugs, diagnosis = said["bugs"], said.get("diagnosis", "")
        if isinstance(bugs, str):
            bugs = bugs.split(",")
        if not isinstance(diagnosis, str) or not all(isinstance(one, str) for one in bugs):
            raise TypeError("`bugs` must be a list of texts, and `diagnosis` a text")
        return Claim(tuple(one.strip() for one in bugs), diagnosis)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return Claim(problem=f"{CLAIM} cannot be used ({type(error).__name__}: {error})")


def sources(workspace: Path, left_out: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """The Python sources below a folder: path and text. An agent may leave anything else there. Links are not
    followed; what is too large or no text is kept so far that the grader refuses it.

    left_out: folders that the harness fills itself.
    """
    count = 0
    for place, folders, names in os.walk(workspace):
        folders[:] = sorted(one for one in folders if one not in (*left_out, "__pycache__") and one[0] != ".")
        for name in sorted(one for one in names if one.endswith(".py") and one[0] != "."):
            content = _content(Path(place) / name, MOST_BYTES)
            if content is None:
                continue
            yield (
                (Path(place) / name).relative_to(workspace).as_posix(),
                content.decode("utf-8", "surrogateescape"),
            )
            count += 1
            if count > MOST_FILES:
                return


def _content(path: Path, most: int) -> bytes | None:
    """The first bytes of a regular file; one more than `most` at most. None: it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def numbers(verdict: Verdict) -> dict[str, Any]:
    """What other programs are told. They hold no class."""
    return {"reward": round(verdict.score, 6), "rung": verdict.rung, "solved": int(verdict.solved)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", type=Path, help="a task folder, with its solution")
    parser.add_argument("workspace", type=Path, help="where an agent worked")
    parser.add_argument("--repair-only", action="store_true", help="ask for no claim")
    parser.add_argument("--reward", type=Path, metavar="FILE", help="write numbers there, as JSON")
    asked = parser.parse_args(arguments)
    if not asked.workspace.is_dir():
        print(f"error: {asked.workspace}: there is no such folder", file=sys.stderr)
        return 2
    try:
        verdict, claim = judge(asked.task, asked.workspace, repair_only=asked.repair_only)
    except MldebugError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code + 1
    if claim.problem:
        print(claim.problem)
    print(verdict.feedback)
    if asked.reward is None:
        return 0 if verdict.solved else 1
    asked.reward.parent.mkdir(parents=True, exist_ok=True)
    put_whole(asked.reward, json.dumps(numbers(verdict), sort_keys=True).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
