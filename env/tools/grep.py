"""`grep`: lines of the sources that match a regular expression."""

from __future__ import annotations

from ..models import ActionRefused
from ..workbench import Workbench
from .aside import aside
from .base import Parameter, Tool
from .paths import missing, of_folder, plain

LONGEST_PATTERN = 500
MOST_SHOWN = 200

_PROGRAM = """
import re
def answer():
    try:
        pattern = re.compile(order["pattern"])
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        return {"error": str(error) or type(error).__name__}
    shown, total = [], 0
    for path, text in order["files"]:
        for number, line in enumerate(text.split("\\n"), 1):
            if pattern.search(line.rstrip("\\r")):
                total += 1
                if len(shown) < order["max"]:
                    shown.append([path, number, line.rstrip()[:300]])
    return {"shown": shown, "total": total}
print(json.dumps(answer()))
"""


class Grep(Tool):
    name = "grep"
    description = "The lines of the sources in which a regular expression (Python's) is found."
    parameters = (
        Parameter("pattern", str, "a regular expression, searched for in each line", required=True),
        Parameter("path", str, "a file or folder to search; by default all sources", default=""),
        Parameter("max", int, f"how many lines are shown, 1 to {MOST_SHOWN}", default=50),
    )

    def use(self, workbench: Workbench, pattern: str, path: str, max: int) -> str:
        if not 1 <= max <= MOST_SHOWN:
            raise ActionRefused(f"grep: 'max' must be from 1 to {MOST_SHOWN}")
        if not pattern or len(pattern) > LONGEST_PATTERN:
            raise ActionRefused(f"grep: 'pattern' must have 1 to {LONGEST_PATTERN} characters")
        files, where = workbench.visible_files(), plain(path)
        chosen = of_folder(list(files), where)
        if not chosen:
            raise missing(workbench, where)
        order = {"pattern": pattern, "max": max, "files": [(name, files[name]) for name in chosen]}
        found = aside(_PROGRAM, order)
        if found is None:
            raise ActionRefused(
                "grep: the search takes too long; use a simpler pattern, without one repetition inside "
                "another"
            )
        if "error" in found:
            raise ActionRefused(f"grep: this is no regular expression: {found['error'][:200]}")
        if not found["total"]:
            return "No line matches."
        lines = [f"{name}:{number}: {line}" for name, number, line in found["shown"]]
        if found["total"] > len(lines):
            lines.append(f"(and {found['total'] - len(lines)} more lines)")
        return "\n".join(lines)
