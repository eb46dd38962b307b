"""`view_source`: all sources at once, as the first seed shows them."""

from __future__ import annotations

from ..workbench import Workbench
from .base import Tool


class ViewSource(Tool):
    name = "view_source"
    description = (
        "The source files of the job, whole; long ones have their middle left out (use `view` then)."
    )

    def use(self, workbench: Workbench) -> str:
        found = workbench.visible_files()
        if list(found) == [workbench.entrypoint]:
            return found[workbench.entrypoint]
        return "\n".join(f"=== {path} ===\n{text}" for path, text in found.items())
