"""Workspaces and edits: the only way source is changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ..errors import SpliceError


@dataclass(frozen=True, order=True, slots=True)
class Edit:
    """Replace the bytes [start, end) of one file (offsets into its UTF-8 text) by other text."""

    file: str
    start: int
    end: int
    replacement: str

    def overlaps(self, other: Edit) -> bool:
        """Whether both cannot be applied together, whatever the order.

        Two insertions at one offset overlap too: their order would decide the result.
        """
        if self.file != other.file:
            return False
        if self.start == other.start:
            return True
        first, second = sorted((self, other), key=lambda edit: edit.start)
        return first.end > second.start


@dataclass(frozen=True)
class Workspace:
    """The source files of one job, sorted by path, and the file that starts it. Data is kept apart."""

    sources: tuple[tuple[str, str], ...]
    entrypoint: str

    @classmethod
    def of(cls, files: Mapping[str, str], entrypoint: str) -> Workspace:
        return cls(tuple(sorted(files.items())), entrypoint)

    @cached_property
    def files(self) -> dict[str, str]:
        """Path relative to the workspace → text. Not to be changed."""
        return dict(self.sources)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.sources)


def split_lines(text: str) -> list[str]:
    """The lines of a text with their ends; only a line feed ends one, and the last need not have one."""
    *whole, last = text.split("\n")
    return [one + "\n" for one in whole] + ([last] if last else [])


def unified_patch(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A unified diff of the files of one workspace that turns them into those of another, as git reads it:
    lines end in a line feed only, and a last one without is marked."""
    pieces: list[str] = []
    for name in sorted(before):
        old, new = (split_lines(one[name]) for one in (before, after))
        for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"):
            pieces.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(pieces)


def conflicts(edits: Iterable[Edit]) -> list[tuple[Edit, Edit]]:
    """The pairs of edits that cannot be applied together."""
    ordered = sorted(edits)
    found = []
    for index, edit in enumerate(ordered):
        for later in ordered[index + 1 :]:
            if later.file != edit.file or later.start >= max(edit.end, edit.start + 1):
                break
            if edit.overlaps(later):
                found.append((edit, later))
    return found


def splice(workspace: Workspace, edits: Iterable[Edit], *, check: bool = True) -> Workspace:
    """The workspace with all edits applied at once; the result compiles.

    check: whether that is tried; compiling is most of the cost.

    Raises:
        SpliceError: two edits overlap, an edit leaves its file, or the result is not valid Python.
    """
    ordered = sorted(edits)
    if clash := conflicts(ordered):
        first, second = clash[0]
        raise SpliceError(
            f"{first.file}: edits at bytes {first.start}-{first.end} and {second.start}-{second.end} overlap"
        )
    files = dict(workspace.sources)
    for name in {edit.file for edit in ordered}:
        if name not in files:
            raise SpliceError(f"{name}: no such file in the workspace")
        text = files[name].encode()
        pieces: list[bytes] = []
        position = 0
        for edit in ordered:
            if edit.file != name:
                continue
            if not 0 <= edit.start <= edit.end <= len(text):
                raise SpliceError(f"{name}: bytes {edit.start}-{edit.end} lie outside its {len(text)} bytes")
            pieces += [text[position : edit.start], edit.replacement.encode()]
            position = edit.end
        pieces.append(text[position:])
        files[name] = b"".join(pieces).decode()
        if check:
            check_python(name, files[name])
    return Workspace.of(files, workspace.entrypoint)


@lru_cache(maxsize=64)
def check_python(name: str, text: str) -> None:
    """Raise SpliceError unless the text parses and compiles.

    Most of the cost of a variant; the same text is often spliced twice, so the last ones are remembered.
    """
    try:
        compile(text, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise SpliceError(f"{name}: the edited text is not valid Python: {error}") from None
