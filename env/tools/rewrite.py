"""`rewrite`: change lines of a file, or the whole file."""

from __future__ import annotations

from ...mutators.workspace import split_lines
from ..diffs import diff_of
from ..models import ActionRefused
from ..workbench import Workbench
from .aside import aside
from .base import Parameter, Tool
from .paths import missing, plain

_PROGRAM = """
def answer():
    try:
        compile(order["text"], order["path"], "exec", dont_inherit=True)
    except SyntaxError as error:
        return {"line": error.lineno or 0, "text": str(error.msg)}
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        return {"line": 0, "text": str(error) or type(error).__name__}
    return {}
import warnings
warnings.simplefilter("ignore")
print(json.dumps(answer()))
"""


class Rewrite(Tool):
    name = "rewrite"
    description = (
        "Put a text in the place of lines start to end of a file of the working copy, or of the whole file, "
        "which may be a new one. Returns what changed as a diff, and where Python cannot read the result."
    )
    parameters = (
        Parameter("path", str, "a file, relative to the workspace", required=True),
        Parameter("text", str, "the new lines, with their indentation", required=True),
        Parameter(
            "start", int, "the first line that is replaced, from 1; by default the whole file", default=0
        ),
        Parameter("end", int, "the last one; start-1 inserts before start; by default start", default=-1),
    )

    def use(self, workbench: Workbench, path: str, text: str, start: int, end: int) -> str:
        name = plain(path)
        before = workbench.visible_files().get(name)
        if start == 0:
            if end not in (-1, 0):
                raise ActionRefused("rewrite: 'end' needs 'start'")
            after = text
        elif before is None:
            raise missing(workbench, name)
        else:
            after = _replaced(name, before, text, start, start if end == -1 else end)
        if after == before:
            return f"{name} stays as it is: the text is the same."
        workbench.change({name: after})
        parts = [
            f"{name} was {'changed' if before is not None else 'made'}:",
            diff_of(name, before or "", after),
        ]
        if name.endswith(".py") and (problem := _problem(name, after)):
            parts.append(problem)
        return "\n".join(parts)


def _replaced(name: str, before: str, text: str, start: int, end: int) -> str:
    lines = split_lines(before)
    if not (1 <= start <= len(lines) + 1 and start - 1 <= end <= len(lines)):
        raise ActionRefused(
            f"rewrite: {name} has lines 1 to {len(lines)}; {start} to {end} cannot be replaced "
            f"(to add lines at the end: start={len(lines) + 1}, end={len(lines)})"
        )
    if lines and all(line.endswith("\r\n") for line in lines[:-1] or lines):
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        line_end = "\r\n"
    else:
        line_end = "\n"
    above, below = lines[: start - 1], lines[end:]
    if above and not above[-1].endswith("\n"):
        above[-1] += line_end
    if text and not text.endswith("\n"):
        text += line_end
    return "".join([*above, text, *below])


def _problem(name: str, text: str) -> str:
    """What keeps Python from reading a source; "" for nothing."""
    found = aside(_PROGRAM, {"path": name, "text": text})
    if not found:
        return ""
    where = f"{name}, line {found['line']}" if found["line"] else name
    return f"It was written, but Python cannot read it: {where}: {found['text'][:200]}"
