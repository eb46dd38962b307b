"""`listdir`: the files of the workspace as a tree."""

from __future__ import annotations

from ..models import ActionRefused
from ..workbench import Workbench
from .base import Parameter, Tool
from .paths import of_folder, plain, visible_paths

MOST_ENTRIES = 300


class ListDir(Tool):
    name = "listdir"
    description = "The files of the workspace, or of a folder in it, as a tree; says which are read-only."
    parameters = (
        Parameter("path", str, "a folder, relative to the workspace; by default the workspace", default=""),
        Parameter("depth", int, "how many levels are shown, 1 to 20", default=3),
    )

    def use(self, workbench: Workbench, path: str, depth: int) -> str:
        if not 1 <= depth <= 20:
            raise ActionRefused("listdir: 'depth' must be from 1 to 20")
        folder = plain(path)
        names = of_folder(visible_paths(workbench), folder)
        if folder in names:
            raise ActionRefused(f"{folder[:80]!a} is a file; use view")
        if not names:
            raise ActionRefused(f"there is no folder {folder[:80]!a}")
        below = [name[len(folder) + 1 :] if folder else name for name in names]
        entries = _entries(below, depth)
        lines = [f"{folder or '.'}/"]
        for entry in entries[:MOST_ENTRIES]:
            full = f"{folder}/{entry}" if folder else entry
            note = " (read-only)" if not entry.endswith("/") and workbench.read_only(full) else ""
            *above, own = entry.rstrip("/").split("/")
            lines.append(f"{'    ' * (len(above) + 1)}{own}{'/' if entry.endswith('/') else ''}{note}")
        if len(entries) > MOST_ENTRIES:
            lines.append(f"(and {len(entries) - MOST_ENTRIES} more)")
        return "\n".join(lines)


def _entries(names: list[str], depth: int) -> list[str]:
    """Files, and folders with `/` behind, to a depth, each folder before what is in it."""
    found: dict[tuple[str, ...], str] = {}
    for name in names:
        parts = tuple(name.split("/"))
        for end in range(1, min(len(parts), depth) + 1):
            found[parts[:end]] = "/".join(parts[:end]) + ("/" if end < len(parts) else "")
    return [found[parts] for parts in sorted(found)]
