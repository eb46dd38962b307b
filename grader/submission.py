"""A submission: sources that somebody claims are a fixed job. Hostile until proved otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..errors import UsageError
from ..mutators.workspace import Workspace
from .predictions import Problem
from .runner.folder import checked_path
from .task import Task

MOST_FILES = 64
MOST_BYTES = 1 << 20
"""All sources together; the library's jobs have 4 to 10 KiB."""
LONGEST_PATH = 200
DEEPEST_PATH = 8


def workspace_of(task: Task, files: Mapping[Any, Any]) -> Workspace | Problem:
    """The workspace that is run, of a task of the library; `data/` is the harness's own (see `merged`)."""
    return merged(task.broken, files)


def merged(
    broken: Workspace, files: Mapping[Any, Any], data: Collection[str] | None = None
) -> Workspace | Problem:
    """The workspace that is run: the submission's files, and the broken job's for those it leaves out.

    data: paths of the harness's own files; by default everything below `data/`.

    A name that is no plain relative path, a file of the harness, text that cannot be encoded, or more than
    there may be: a Problem that says so.
    """
    if not isinstance(files, Mapping):
        return Problem("unusable submission", "a submission is a mapping of paths to texts")
    if len(files) > MOST_FILES:
        return Problem("unusable submission", f"more than {MOST_FILES} files")
    total = 0
    for name, text in files.items():
        if not isinstance(name, str) or not isinstance(text, str):
            return Problem("unusable submission", "names and contents of files must be text")
        shown = ascii(name[:80])
        if len(name) > LONGEST_PATH or name.count("/") >= DEEPEST_PATH:
            return Problem("unusable submission", f"{shown}: this path is too long")
        try:
            path = checked_path(name)
            total += len(text.encode())
        except UsageError:
            return Problem(
                "unusable submission", f"{shown}: paths must be relative, without '.', '..' or NUL"
            )
        except UnicodeEncodeError:
            return Problem("unusable submission", f"{shown}: is not text that UTF-8 can hold")
        if data is None and path.parts[0] == "data":
            return Problem("unusable submission", f"{shown}: `data/` belongs to the harness")
        if data is not None and name in data:
            return Problem("unusable submission", f"{shown}: the job's data belongs to the harness")
    if total > MOST_BYTES:
        return Problem("unusable submission", f"more than {MOST_BYTES >> 20} MiB of sources")
    together = broken.files | dict(files)
    names = {*together, *(data or ())}
    for name in names:
        if any(other.startswith(name + "/") for other in names):
            return Problem("unusable submission", f"{name[:80]!a}: is a file and a folder at once")
    return Workspace.of(together, broken.entrypoint)
