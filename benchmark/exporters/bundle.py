"""What is exported: the tasks of a release, of one of its splits, or of a file of rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...errors import MldebugError, UsageError
from ...grading import any_task_of
from ...mutators.workspace import unified_patch
from ...output.release_rows import SOLUTIONS, is_apart, whole_rows
from ...source.task import is_own, own_row_files
from ...task_folder import read_rows, row_files
from ...versions import made_by, run_by
from ..release.layout import MANIFEST, TASKS, VALIDATION
from ..release.plan import PRIVATE, PUBLIC

ROWS = "generated"
"""The split of rows that are of no release."""

SPLIT = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True)
class Entry:
    """One task.

    row: as `mldebug gen --jsonl` prints it, with the truth. split: where it belongs. release, canary: of the
    release it is from. measured: its line of the release's `validation.jsonl`.
    """

    row: Mapping[str, Any] = field(repr=False)
    split: str
    release: str | None = None
    canary: str | None = None
    measured: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def alert(self) -> str:
        return str(self.row["alert"])

    @property
    def entrypoint(self) -> str:
        return str(self.row["entrypoint"])

    @property
    def bugs(self) -> tuple[str, ...]:
        return tuple(self.row["bugs"])

    @property
    def files(self) -> dict[str, str]:
        """The broken sources: path → text."""
        return dict(sorted(self.row["files"].items()))

    @property
    def reference(self) -> dict[str, str]:
        """The correct sources: path → text."""
        return dict(sorted(self.row["reference"].items()))

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the entry point is given: of somebody's own script only."""
        truth = self.row["truth"]
        return tuple(truth["source"]["arguments"]) if is_own(truth) else ()

    @property
    def is_own(self) -> bool:
        return is_own(self.row["truth"])

    def whole(self) -> dict[str, Any]:
        """Its row with the release's stamp: a line that all commands take which take rows."""
        stamp = {} if self.canary is None else {"release": self.release, "canary": self.canary}
        return {**self.row, **stamp}

    @property
    def patch(self) -> str:
        """The reference as a unified diff of the broken sources, for `git apply` and `patch -p1`."""
        return unified_patch(self.files, self.reference)

    def folder(self) -> dict[str, bytes]:
        """Its task folder: path → content, as `mldebug materialize` writes it. Holds the truth."""
        _id, found = own_row_files(self.row) if self.is_own else row_files(self.row)
        return dict(sorted(found.items()))

    def workspace(self) -> dict[str, bytes]:
        """What an agent's folder holds: the broken sources and their data."""
        prefix = "workspace/"
        return {path[len(prefix) :]: one for path, one in self.folder().items() if path.startswith(prefix)}

    def for_grading(self) -> dict[str, bytes]:
        """What `mldebug grade` needs of its task folder: the data of a job of the library is made anew."""
        found, prefix = self.folder(), "workspace/data/"
        return {path: one for path, one in found.items() if self.is_own or not path.startswith(prefix)}


@dataclass(frozen=True)
class Bundle:
    """Tasks to export, sorted by id: an order that says nothing of them.

    name: of the release, or of the file of rows. splits: those that have tasks, in their usual order.
    versions: of what the tasks were made and proved with (of rows: those that are here).
    """

    name: str
    entries: Sequence[Entry]
    splits: tuple[str, ...]
    release: str | None
    canary: str | None
    versions: Mapping[str, str]

    def of(self, split: str) -> Iterator[Entry]:
        """The tasks of a split."""
        return (one for one in self.entries if one.split == split)


def read_bundle(source: Path) -> Bundle:
    """The tasks at a path: the folder of a release, one of its `tasks/SPLIT.jsonl`, or a file of rows.

    Raises:
        UsageError: it is none of these, holds no task, a task that was never executed, or one twice; or its
            tasks cannot be made whole with this version.
        MldebugError: a file of the release is not as it was frozen.
    """
    root = _release_of(source)
    if source.is_dir() and root is None:
        raise UsageError(
            f"{source}: has no {MANIFEST}, so it is no release; name one that `mldebug bench freeze` made, "
            "or a file of rows"
        )
    if not source.exists():
        raise UsageError(f"{source}: there is no such file or folder; name a release or a file of rows")
    if root is None:
        entries = [_entry(row, ROWS, source) for row in read_rows(source)]
        release, canary, versions = None, None, made_by() | run_by()
    else:
        manifest = _manifest(root)
        release, canary = str(manifest["release"]), str(manifest["canary"])
        versions = {name: str(manifest["versions"][name]) for name in made_by() | run_by()}
        entries = list(_of_release(source, root, manifest))
    entries.sort(key=lambda one: one.id)
    if not entries:
        raise UsageError(f"{source}: holds no task")
    for one, other in pairwise(entries):
        if one.id == other.id:
            raise UsageError(f"{source}: task {one.id} is there twice; remove one of its lines")
    found = {one.split for one in entries}
    usual = [one for one in (*PUBLIC, PRIVATE.strip("-"), ROWS) if one in found]
    name = release or re.sub(r"[^A-Za-z0-9_-]", "_", source.name.split(".")[0]) or ROWS
    splits = tuple(usual + sorted(found - set(usual)))
    return Bundle(name, entries, splits, release, canary, versions)


def _release_of(source: Path) -> Path | None:
    """The folder of the release that a path is, or is a split of."""
    if (source / MANIFEST).is_file():
        return source
    above = source.absolute().parent
    if source.is_file() and above.name == TASKS and (above.parent / MANIFEST).is_file():
        return above.parent
    return None


def _manifest(root: Path) -> Mapping[str, Any]:
    try:
        manifest: Mapping[str, Any] = json.loads((root / MANIFEST).read_bytes())
        needed = (manifest["release"], manifest["canary"], manifest["files"][SOLUTIONS]["sha256"])
        if not all(isinstance(one, str) for one in needed):
            raise TypeError("a name is no text")
        for name in made_by() | run_by():
            manifest["versions"][name]
        return manifest
    except OSError as error:
        raise UsageError(f"{root / MANIFEST}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{root / MANIFEST}: is not the manifest of a release ({error})") from None


def _of_release(source: Path, root: Path, manifest: Mapping[str, Any]) -> Iterator[Entry]:
    named = [source] if source.is_file() else sorted((root / TASKS).glob("*.jsonl"))
    for name in (*(f"{TASKS}/{one.name}" for one in named), SOLUTIONS, VALIDATION):
        _as_frozen(root, name, manifest)
    measured = {str(row.get("id")): row for row in read_rows(root / VALIDATION)}
    for path in named:
        apart = _json_lines(path)
        for row, whole in zip(apart, whole_rows(iter(apart), path), strict=True):
            if not is_apart(row) or not SPLIT.fullmatch(str(row.get("split"))):
                raise UsageError(f"{path}: holds a row that is not a task of a release")
            entry = _entry(whole, str(row["split"]), path)
            canary = {"release": str(row["release"]), "canary": str(row["canary"])}
            yield Entry(entry.row, entry.split, **canary, measured=measured.get(entry.id))


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file whose hash was checked."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]


def _as_frozen(root: Path, name: str, manifest: Mapping[str, Any]) -> None:
    try:
        found = hashlib.sha256((root / name).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{root / name}: cannot be read ({error.strerror})") from None
    if found != manifest["files"].get(name, {}).get("sha256"):
        raise MldebugError(
            f"{root / name}: is not as it was frozen, so it is not exported; "
            f"`mldebug bench verify {root}` says what is wrong with it"
        )


def _entry(row: Mapping[str, Any], split: str, source: Path) -> Entry:
    """A row that was looked at: it makes a whole task with this version, and was executed."""
    task = any_task_of(row)
    if row.get("verified") is not True or not isinstance(row.get("alert"), str):
        raise UsageError(
            f"{source}: task {task.id} was never executed (no alert, not verified); only proved tasks are "
            "exported: generate it without --no-verify"
        )
    return Entry(row, split)
