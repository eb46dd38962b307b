"""Where a diagnosis says the bug is, compared with the place and the reference fix."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NEAR = 3
"""Lines by which a named line may miss a changed one: people point at the loop, or the next call."""

MOST_LINES = 4
"""Different lines a diagnosis may name for each bug; one that names more points nowhere."""

MOST_NAMES = 25
"""Different names of code it may use for each bug, for the same reason."""

SPAN = 12
"""Lines of a range that still counts as a place (`lines 40-48`)."""

_LINE = re.compile(
    r"(?:(?P<file>[\w./-]{1,80}\.py)[\"'`]?\s*(?:[:,(@#]|\bat\b|\bon\b|\bin\b)?\s*)?"
    r"(?:(?P<said>\blines?|\bl\.?|#l|\bln)\s*[:#]?\s*|(?<=:)\s*|(?<=\()\s*)"
    r"(?P<first>\d{1,6})(?:\s*(?:-|–|to|and|/)\s*(?P<last>\d{1,6}))?",
    re.IGNORECASE,
)
_NAME = re.compile(r"[^\W\d]\w*")
_TICKED = re.compile(r"`([^`\n]{1,120})`")

_COMMON_NAMES = """
    __init__ add axis backward batch cls cpu criterion cuda data detach device dim entry epoch eval f
    features fit float forward from_numpy functional get_device i images init inputs int item keepdim
    labels len linear loss lr main mean model momentum net nn no_grad np numel numpy opt optim optimiser
    optimizer out predict print py range relu run self set_grad set_to_none shape size softmax squeeze
    std step targets tensor test to torch train train_step train_test_split training unsqueeze
    weight_decay x y zero_grad zeros
"""
_EVERYWHERE = frozenset(_COMMON_NAMES.split())
"""Names that can be written down without having seen the script."""


@dataclass(frozen=True)
class Change:
    """One changed line of the fix: its number on the broken and on the fixed side, and its text."""

    file: str
    lines: tuple[int, int]
    sign: str
    text: str


@dataclass(frozen=True)
class Spot:
    """Where one bug is: a file, line numbers, a function, and the changed lines there."""

    file: str
    lines: frozenset[int]
    function: str
    changes: tuple[Change, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names that stand in the changed lines."""
        found = {name for change in self.changes for name in _NAME.findall(change.text)}
        return frozenset(name for name in found if not keyword.iskeyword(name))

    @property
    def essence(self) -> frozenset[str]:
        """What the fix adds or takes away, in lower case; nothing where lines only move."""
        sides: dict[str, Counter[str]] = {"+": Counter(), "-": Counter()}
        for change in self.changes:
            sides[change.sign].update(tokens(change.text))
        return frozenset((sides["+"] - sides["-"]) + (sides["-"] - sides["+"]))

    @property
    def touched(self) -> frozenset[str]:
        """What the changed lines hold, in lower case."""
        return frozenset(word for change in self.changes for word in tokens(change.text))


def tokens(text: str) -> list[str]:
    """Names and figures of two characters or more, in lower case."""
    found = (word.rstrip(".") for word in re.findall(r"[^\W\d]\w+|\d[\d.e+-]+", text.casefold()))
    return [word for word in found if not keyword.iskeyword(word)]


def spots(bugs: Iterable[str], places: Mapping[str, str], patch: str) -> dict[str, Spot]:
    """Each bug's spot. A changed line belongs to the bug whose stated place is nearest."""
    stated = {bug: _stated(places.get(bug, "")) for bug in bugs}
    changes = _changes(patch)
    found = {}
    for bug, (file, line, function) in stated.items():
        own = tuple(
            change
            for change in changes
            if bug == min(stated, key=lambda one, change=change: _distance(stated[one], change))  # type: ignore[misc]
        )
        # A fix in other files, or far away, belongs to the bug; lines there are no less its place.
        lines = {number for change in own for number in change.lines} | ({line} if line else set())
        found[bug] = Spot(file or (own[0].file if own else ""), frozenset(lines), function, own)
    return found


def _stated(place: str) -> tuple[str, int, str]:
    match = re.match(r"\s*(?P<file>[^\s:]+)(?::(?P<line>\d{1,9}))?(?:\s+in\s+(?P<function>\S+))?", place)
    if match is None:
        return "", 0, ""
    return match["file"], int(match["line"] or 0), match["function"] or ""


def _distance(stated: tuple[str, int, str], change: Change) -> tuple[bool, int]:
    return stated[0] != change.file, min(abs(number - stated[1]) for number in change.lines)


def _changes(patch: str) -> list[Change]:
    found = []
    file, old, new = "", 0, 0
    for row in patch.splitlines():
        if row.startswith("+++ "):
            file = row[4:].split("\t")[0].strip().removeprefix("b/")
        elif row.startswith("--- "):
            continue
        elif match := re.match(r"@@ -(\d{1,9})(?:,\d+)? \+(\d{1,9})", row):
            old, new = int(match[1]), int(match[2])
        elif row[:1] in ("+", "-"):
            found.append(Change(file, (old, new), row[0], row[1:]))
            old, new = old + (row[0] == "-"), new + (row[0] == "+")
        else:
            old, new = old + 1, new + 1
    return found


def names_spot(text: str, spot: Spot, bugs: int) -> bool:
    """Whether a text names a line near the spot, its function, or names that occur in its changed lines.

    bugs: how many bugs the text is about; more bugs, more places.
    """
    return _names_line(text, spot, bugs) or _names_code(text, spot, bugs)


def _names_line(text: str, spot: Spot, bugs: int) -> bool:
    named: set[tuple[int, int]] = set()
    hit = False
    for match in _LINE.finditer(text):
        file = match["file"]
        if not file and not match["said"]:
            continue
        first = int(match["first"])
        last = int(match["last"] or first)
        named.add((first, last))
        same = not file or file.rsplit("/", 1)[-1] == spot.file.rsplit("/", 1)[-1]
        hit |= same and last - first <= SPAN and any(first - NEAR <= one <= last + NEAR for one in spot.lines)
    return hit and len(named) <= MOST_LINES * bugs


def _names_code(text: str, spot: Spot, bugs: int) -> bool:
    code = {match[0] for match in _NAME.finditer(text) if _is_code(match)}
    code |= {name for quoted in _TICKED.findall(text) for name in _NAME.findall(quoted)}
    if len(code) > MOST_NAMES * bugs:
        return False
    function = spot.function.rsplit(".", 1)[-1]
    if function and function.isidentifier():
        called = function in code or re.search(rf"\b(in|function|method)\s+(the\s+)?{function}\b", text)
        if called and (
            function.casefold() not in _EVERYWHERE or (spot.function in text and "." in spot.function)
        ):
            return True
    shared = code & spot.names
    return len(shared) >= 2 and any(name.casefold() not in _EVERYWHERE for name in shared)


def _is_code(match: re.Match[str]) -> bool:
    """Whether a word is spelled or used as only code is: `n_out`, `dropRate`, `net.x`, `fit(`."""
    name, after = match[0], match.string[match.end() : match.end() + 2]
    return (
        re.search(r"(?a:[a-z])(_\w|\d|[A-Z])", name) is not None
        or match.string[max(match.start() - 1, 0) : match.start()] == "."
        or after[:1] in ("(", "[")
        or (after[:1] == "." and after[1:].isidentifier())
    )
