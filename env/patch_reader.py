"""Reading a unified diff as language models write it: fenced, in prose, with wrong counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .models import ActionRefused

MOST_LINES = 50_000
MOST_HUNKS = 500
LONGEST_SHOWN = 120
"""Characters of a line that a message quotes."""

_AT = re.compile(r"@@(?: -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@)?")
_GIT = re.compile(r"diff --git (\S+) (\S+)$")
_TIME = re.compile(r"\s\d{4}-\d\d-\d\d[ T]\d\d:\d\d.*$")
_PATH = re.compile(r"[\w./+-]*\.\w+$|/dev/null$")
_REFUSED = {
    "rename from ": "renaming is not supported",
    "rename to ": "renaming is not supported",
    "copy from ": "copying is not supported",
    "GIT binary patch": "binary files are not supported",
    "Binary files ": "binary files are not supported",
    "deleted file mode ": "a file cannot be deleted by a patch",
    "*** Begin Patch": "this is no unified diff; one begins with `--- a/FILE` and `+++ b/FILE`",
}


@dataclass
class Hunk:
    """start: the first old line it speaks of, from 1; None where it does not say. empty: it says that it
    replaces no line. body: (sign, text without line feed, whether the file ends there without one)."""

    start: int | None
    empty: bool
    body: list[tuple[str, str, bool]] = field(default_factory=list)

    @property
    def old(self) -> list[str]:
        return [text for sign, text, _ in self.body if sign != "+"]


@dataclass
class Section:
    """What a patch says of one file. old, new: as its header names them, "" where there is no header."""

    old: str
    new: str
    hunks: list[Hunk] = field(default_factory=list)


def read_patch(patch: str) -> list[Section]:
    """The sections that have hunks; what stands around them is skipped.

    Raises:
        ActionRefused: a line asks for what is not supported, or changes stand outside of any hunk.
    """
    lines = patch.split("\n")
    if len(lines) > MOST_LINES:
        raise ActionRefused(f"the patch has more than {MOST_LINES} lines")
    if any(line.startswith("@@") and line.endswith("\r") for line in lines):
        lines = [line.removesuffix("\r") for line in lines]  # the patch came with such ends, not its file
    if not lines[-1]:
        lines.pop()
    sections = [Section("", "")]
    hunks, at = 0, 0
    while at < len(lines):
        line = lines[at]
        if _is_header(lines, at):
            sections.append(Section(quoted_name(line[4:]), quoted_name(lines[at + 1][4:])))
            at += 2
        elif found := _AT.match(line):
            hunks += 1
            if hunks > MOST_HUNKS:
                raise ActionRefused(f"the patch has more than {MOST_HUNKS} hunks")
            hunk = Hunk(None if found[1] is None else int(found[1]), found[2] == "0")
            at = _read_body(lines, at + 1, found, hunk)
            sections[-1].hunks.append(hunk)
        else:
            for beginning, why in _REFUSED.items():
                if line.startswith(beginning):
                    raise ActionRefused(f"line {at + 1} of the patch: {why}")
            if git := _GIT.match(line[:2000]):
                sections.append(Section(git[1], git[2]))
            at += 1
    return [one for one in sections if one.hunks]


def quoted_name(text: str) -> str:
    """The file that a header line names, without a time stamp and quotes."""
    text = _TIME.sub("", text[:2000].split("\t")[0].rstrip())
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def quoted(line: str) -> str:
    """A line for a message."""
    return f"`{line[:LONGEST_SHOWN]}{'…' if len(line) > LONGEST_SHOWN else ''}`"


def _is_header(lines: Sequence[str], at: int) -> bool:
    """Whether a file's header begins here. The removed line `-- x` before the added `++ y` looks the same,
    but for what follows."""
    return (
        at + 1 < len(lines)
        and lines[at].startswith("--- ")
        and lines[at + 1].startswith("+++ ")
        and (at + 2 == len(lines) or lines[at + 2].startswith("@@") or not lines[at + 2].strip())
    )


def _is_end(lines: Sequence[str], at: int) -> bool:
    """Whether a hunk cannot go on here: another, another file, a fence, or the signature that git adds."""
    line = lines[at]
    signed = line == "-- " and at + 1 < len(lines) and lines[at + 1][:1].isdigit()
    return signed or line.startswith(("@@", "diff --git ", "```")) or _is_header(lines, at)


def _read_body(lines: Sequence[str], start: int, header: re.Match[str], hunk: Hunk) -> int:
    """Read the lines of a hunk; where the next thing begins.

    The counts of its header are believed where they fit what follows; else it lasts until something begins
    that is no part of it.
    """
    end = None
    if header[1] is not None:
        old, new = (1 if count is None else int(count) for count in (header[2], header[4]))
        end = _counted(lines, start, old, new)
    stop = end
    if end is None or stop is None:
        end = start
        while end < len(lines) and not _is_end(lines, end) and lines[end][:1] in ("", " ", "+", "-", "\\"):
            end += 1
        _refuse_leftovers(lines, end)
        stop = end
        while stop > start and not lines[stop - 1]:
            stop -= 1
    for line in lines[start:stop]:
        if not line.startswith("\\"):
            hunk.body.append((line[:1] or " ", line[1:], False))
        elif hunk.body:
            hunk.body[-1] = (*hunk.body[-1][:2], True)
    return end


def _counted(lines: Sequence[str], at: int, old: int, new: int) -> int | None:
    """Where a hunk of so many old and new lines ends; None if the counts do not fit the lines."""
    while at < len(lines) and (old > 0 or new > 0 or lines[at].startswith("\\")):
        sign = lines[at][:1]
        if sign not in ("", " ", "+", "-", "\\"):
            return None
        if _is_header(lines, at) and _PATH.search(quoted_name(lines[at + 1][4:])):
            return None
        old -= sign in ("", " ", "-")
        new -= sign in ("", " ", "+")
        at += 1
    if old or new:
        return None
    after = at
    while after < len(lines) and not lines[after]:
        after += 1
    goes_on = after < len(lines) and lines[after][0] in " +-" and not _is_end(lines, after)
    return None if goes_on else at


def _refuse_leftovers(lines: Sequence[str], end: int) -> None:
    """What follows a hunk may be prose, but no change may get lost in it."""
    for number in range(end, len(lines)):
        if _is_end(lines, number):
            return
        if lines[number][:1] in ("+", "-"):
            raise ActionRefused(
                f"line {end + 1} of the patch is no part of a hunk, yet changes follow it: "
                f"{quoted(lines[end])}; each line of a hunk begins with a space, `-` or `+`"
            )
