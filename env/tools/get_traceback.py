"""`get_traceback`: where and with what the job crashed."""

from __future__ import annotations

from typing import Any

from ..workbench import Driven
from .reports import Inspection, Part
from .run_code import ended


class GetTraceback(Inspection):
    name = "get_traceback"
    description = "Run the job; if it crashes, the full traceback, whatever else it prints."
    driver = "crash"

    def say(self, report: Part, **arguments: Any) -> list[str]:
        if report.has("error"):
            return [report.lines("error").rstrip()]
        if report.has("raised"):
            return [f"It raised {report.text('raised')}, which cannot be printed."]
        if not report.flag("final"):
            return ["It left no traceback: the process ended without an exception of Python's."]
        if report.has("exit") and (given := report.text("exit")) not in ("", "0"):
            return [f"It left no traceback: it called sys.exit with {given!r}."]
        return ["It did not crash: no exception left the script."]

    def _ending(self, driven: Driven, report: Part) -> list[str]:
        return [ended(driven.result)]
