"""`trace`: values of expressions each time a line is about to run."""

from __future__ import annotations

from typing import Any

from ...python_ast import parse_expression
from ..models import ActionRefused
from ..workbench import Driven, Workbench
from .base import MOST_CHARACTERS, Parameter
from .reports import Inspection, Part, Unusable, counted, places

MOST_EXPRESSIONS = 8
LONGEST_EXPRESSION = 200
MOST_HITS = 50


class Trace(Inspection):
    name = "trace"
    description = (
        "Run the job and print expressions each time a line is about to run, with its variables; "
        "the job is stopped after the last hit. Tensors are shown with shape, type and some figures."
    )
    parameters = (
        Parameter("file", str, "a Python file of the job", required=True),
        Parameter(
            "line", int, "the line, from 1 on; expressions are evaluated before it runs", required=True
        ),
        Parameter("expressions", list, f"Python expressions, at most {MOST_EXPRESSIONS}", required=True),
        Parameter("hits", int, f"stop after so many, at most {MOST_HITS}", default=5),
    )
    driver = "lines"

    def use(self, workbench: Workbench, **arguments: Any) -> str:
        file, line = arguments["file"], arguments["line"]
        text = workbench.visible_files().get(file)
        if text is None or not file.endswith(".py"):
            known = [path for path in workbench.visible_files() if path.endswith(".py")]
            raise ActionRefused(f"there is no Python file {file[:80]!a}; there are: {', '.join(known)[:400]}")
        if not 1 <= line <= text.count("\n") + 1:
            raise ActionRefused(f"{file} has lines 1 to {text.count(chr(10)) + 1}, not {line}")
        if not 1 <= arguments["hits"] <= MOST_HITS:
            raise ActionRefused(f"hits must be from 1 to {MOST_HITS}")
        expressions = [_checked(one) for one in arguments["expressions"]]
        if not 1 <= len(expressions) <= MOST_EXPRESSIONS:
            raise ActionRefused(f"give 1 to {MOST_EXPRESSIONS} expressions")
        longest = max(60, min(400, MOST_CHARACTERS * 3 // 4 // (arguments["hits"] * len(expressions))))
        asked = arguments | {"expressions": expressions, "longest": longest}
        return super().use(workbench, **asked)

    def told(self, driven: Driven, **arguments: Any) -> str:
        line, nearest = arguments["line"], 0
        try:
            report = Part(driven.report)
            if not report.has("nearest") or (nearest := report.whole("nearest")) == line:
                return super().told(driven, **arguments)
        except Unusable:
            return super().told(driven, **arguments)
        after = f"the next line with code is {nearest}" if nearest > line else "no code comes after it"
        return f"Line {line} of {arguments['file']} holds no code that runs by itself; {after}."

    def say(self, report: Part, **arguments: Any) -> list[str]:
        hits = report.parts("hits", MOST_HITS)
        at = f"{arguments['file']}:{arguments['line']}"
        lines = [f"{at} was reached {counted(len(hits), 'time')}." if hits else f"{at} was not reached."]
        expressions = arguments["expressions"]
        for number, one in enumerate(hits, 1):
            values = one.texts("values", len(expressions), arguments["longest"])
            if len(values) != len(expressions):
                raise Unusable("values")
            lines.append(f"{number}. {_inside(one)}")
            lines += [f"   {asked} = {value}" for asked, value in zip(expressions, values, strict=True)]
        return lines


def _inside(one: Part) -> str:
    name, callers = one.text("in", 60), one.texts("from", 4, 80)
    if not callers:
        return "at the top level" if name == "<module>" else f"in {name}"
    return f"in {name}, called from {places(callers)}"


def _checked(text: str) -> str:
    text = text.strip()
    if len(text) > LONGEST_EXPRESSION:
        raise ActionRefused(f"an expression has at most {LONGEST_EXPRESSION} characters")
    try:
        parse_expression(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ActionRefused(f"{text[:80]!a} is no Python expression: {problem[:100]}") from None
    return text
