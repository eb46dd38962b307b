"""What tools say, read back."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_HEADING = re.compile(r"^=== ([\w./-]+) ===$", re.MULTILINE)
_LEFT_OUT = re.compile(r"^\[… \d+ characters left out …\]$", re.MULTILINE)
_SHOWN = re.compile(r"^(\S+), lines (\d+) to (\d+) of (\d+)")


def read_sources(text: str, entrypoint: str) -> dict[str, str]:
    """Path → text, from what `view_source` says; empty if it is something else, or a part is missing."""
    parts = _HEADING.split(text)
    if len(parts) == 1:
        found = {entrypoint: text}
    elif not parts[0].strip():
        # between two files stands one newline that belongs to neither
        texts = [*(one[1:-1] for one in parts[2:-1:2]), parts[-1][1:]]
        found = dict(zip(parts[1::2], texts, strict=True))
    else:
        return {}
    return found if all(_is_source(one) for one in found.values()) else {}


@dataclass(frozen=True)
class Gap:
    """Sources of which a middle was left out, and what closes it.

    path: the file it is in. start: the first line of it that is not known whole. others: the files that are
    known. head, tail: what is known of the file. then: the file that the tail is of, where the heading of
    the entry point was left out.
    """

    path: str
    start: int
    others: dict[str, str]
    head: list[str]
    tail: list[str]
    then: str = ""

    @classmethod
    def read(cls, text: str, entrypoint: str) -> Gap | None:
        """From what `view_source` says; None if nothing was left out, or more than one file is cut."""
        if len(_LEFT_OUT.findall(text)) != 1:
            return None
        parts = _HEADING.split(text)
        if len(parts) == 1:
            parts = ["", entrypoint, f"\n{text}"]
        texts = [*(one[1:-1] for one in parts[2:-1:2]), parts[-1][1:]]
        found = dict(zip(parts[1::2], texts, strict=True))
        path = next(name for name, one in found.items() if _LEFT_OUT.search(one))
        cut = _LEFT_OUT.split(found.pop(path))
        head = cut[0].removesuffix("\n").split("\n")
        tail = cut[1].removeprefix("\n").split("\n")
        return cls(
            path, len(head), found, head[:-1], tail, "" if entrypoint in {path, *found} else entrypoint
        )

    def closed(self, view: str) -> dict[str, str] | Gap:
        """All sources, with what `view` says of the lines from `start` on, or the next gap; empty if that
        does not fit."""
        shown = _SHOWN.match(view)
        if shown is None or shown[1] != self.path or int(shown[2]) != self.start:
            return {}
        rows = re.findall(r"^[B ] {0,4}\d+(?:  (.*))?$", view, re.MULTILINE)
        last, count = int(shown[3]), int(shown[4])
        missing = count - last
        tail = self.tail[len(self.tail) - missing - (self.tail[-1] == "") :] if missing > 0 else []
        if len(rows) != last - self.start + 1 or (self.then and last < count):
            return {}
        found = {**self.others, self.path: "\n".join([*self.head, *rows, *tail]).rstrip("\n") + "\n"}
        if self.then:
            return Gap(self.then, 1, found, [], self.tail)
        return found if all(_is_source(one) for one in found.values()) else {}


def _is_source(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return any(isinstance(one, ast.Import | ast.ImportFrom) for one in ast.walk(tree))
