"""`run_code`: run the working copy and show what it prints."""

from __future__ import annotations

from ...grader.runner.request import RunResult
from ..workbench import Workbench
from .base import Tool, shortened


class RunCode(Tool):
    name = "run_code"
    description = "Run the job as it is in the working copy: how it ended, and what it printed."

    def use(self, workbench: Workbench) -> str:
        return report_of(workbench.run())


def report_of(result: RunResult) -> str:
    """How a run ended, and the end of its output; never how long it took."""
    parts = [ended(result)]
    for title, text in (("stdout", result.stdout), ("stderr", result.stderr)):
        if text.strip():
            parts.append(f"--- {title} ---\n{shortened(text.rstrip(), 3_500)}")
    if result.dropped_bytes:
        parts.append("(more was printed than is kept)")
    return "\n".join(parts)


def ended(result: RunResult) -> str:
    """One line: how a run ended."""
    match result.outcome:
        case "timeout":
            return "The job was stopped: it did not finish in the time a run may take."
        case "memory":
            return "The job was stopped: it used more memory than a run may."
        case "signal":
            return f"The job was killed by signal {result.signal}."
        case _:
            return f"The job ended with exit code {result.exit_code}."
