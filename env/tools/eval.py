"""`eval`: run the entry point, under debug-gym's name for it."""

from __future__ import annotations

from ..workbench import Workbench
from .base import Tool
from .run_code import report_of


class Eval(Tool):
    name = "eval"
    description = "Run the entry point of the working copy: how the job ended, and what it printed."

    def use(self, workbench: Workbench) -> str:
        return report_of(workbench.run())
