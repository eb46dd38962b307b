"""The files of a working copy as an agent sees them."""

from __future__ import annotations

from ..models import ActionRefused
from ..workbench import Workbench

LONGEST_PATH = 200


def plain(path: str) -> str:
    """A path as the workspace names it: without `./` before and `/` behind, "" for the workspace itself."""
    path = path.strip()[: LONGEST_PATH + 1]
    while path.startswith("./"):
        path = path[2:]
    path = path.rstrip("/")
    return "" if path == "." else path


def visible_paths(workbench: Workbench) -> list[str]:
    """Sources and data, sorted, without what is hidden."""
    data = (path for path in workbench.data if not workbench.hidden(path))
    return sorted({*workbench.visible_files(), *data})


def text_of(workbench: Workbench, path: str) -> str:
    """The text of a visible source.

    Raises:
        ActionRefused: there is none of this name; a hidden file is as one that is not there.
    """
    found = workbench.visible_files().get(path)
    if found is None:
        raise missing(workbench, path)
    return found


def missing(workbench: Workbench, path: str) -> ActionRefused:
    names = visible_paths(workbench)
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return ActionRefused(f"there is no file {path[:80]!a}; there are: {listed}")


def of_folder(names: list[str], path: str) -> list[str]:
    """Those of the files that are this one, or lie below this folder."""
    return [name for name in names if not path or name == path or name.startswith(path + "/")]
