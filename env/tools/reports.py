"""What tools that attach something to a run share: reading its report, which the job could have forged, and
saying how the run ended."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from tabulate import tabulate

from ..workbench import Driven, Workbench
from .base import Tool
from .run_code import ended

NOTHING = "Nothing usable was reported by what was attached to the job."
UNFINISHED = "The run left no last word: what follows was seen at its beginning."
MOST_WHOLE = 1 << 53
NAMED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Unusable(ValueError):
    """A report that no driver writes."""


class Part:
    """An object of a report. Each way to read a member checks its kind and its size.

    Raises:
        Unusable: it is missing or something else.
    """

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise Unusable("no object")
        self._value = value

    def has(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self._value.get(name) is not None

    def text(self, name: str, most: int = 200) -> str:
        return as_text(self._value.get(name), most)

    def lines(self, name: str, most: int = 7_000) -> str:
        """A text of several lines."""
        value: Any = self._value.get(name)
        if not isinstance(value, str) or len(value) > most:
            raise Unusable(name)
        return str(value)

    def whole(self, name: str) -> int:
        return as_whole(self._value.get(name))

    def number(self, name: str) -> float:
        return as_number(self._value.get(name))

    def flag(self, name: str) -> bool:
        value = self._value.get(name, False)
        if not isinstance(value, bool):
            raise Unusable(name)
        return value

    def part(self, name: str) -> Part:
        return Part(self._value.get(name))

    def items(self, name: str, most: int) -> list[Any]:
        return as_list(self._value.get(name), most)

    def parts(self, name: str, most: int) -> list[Part]:
        return [Part(one) for one in self.items(name, most)]

    def texts(self, name: str, most: int, longest: int = 200) -> list[str]:
        return [as_text(one, longest) for one in self.items(name, most)]

    def named_texts(self, name: str, most: int, longest: int = 80) -> dict[str, str]:
        found = self._value.get(name)
        if not isinstance(found, dict) or len(found) > most:
            raise Unusable(name)
        return {as_text(key, longest): as_text(value, longest) for key, value in found.items()}


def as_text(value: Any, most: int) -> str:
    """In one line, shortened, without addresses."""
    if not isinstance(value, str):
        raise Unusable("no text")
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(value[: 4 * most].split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def as_whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_WHOLE:
        raise Unusable("no whole number")
    return value


def as_number(value: Any) -> float:
    if isinstance(value, str):
        if value not in NAMED:
            raise Unusable("no number")
        return NAMED[value]
    if isinstance(value, float):
        return value
    return float(as_whole(value))


def as_list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise Unusable("no list, or too long")
    return value


def figure(value: float, digits: int = 4) -> str:
    """A number for people: some significant digits."""
    return f"{value:.{digits}g}"


def counted(number: int, one: str, several: str | None = None) -> str:
    """`1 step`, `3 steps`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def columns(rows: Sequence[Sequence[str]], headers: Sequence[str] = ()) -> str:
    """A table of texts, as they are."""
    return tabulate(rows, headers=headers, tablefmt="plain", disable_numparse=True)


def places(found: list[str]) -> str:
    """`train.py:12 in predict, from train.py:40 in main`."""
    return ", from ".join(found) or "outside the job's files"


class Inspection(Tool):
    """A tool that runs the working copy with a driver attached, and says what that saw."""

    driver: ClassVar[str]
    stopped: ClassVar[str] = "The job was stopped here: what was asked for had been seen."

    def use(self, workbench: Workbench, **arguments: Any) -> str:
        return self.told(workbench.drive(self.driver, **arguments), **arguments)

    def told(self, driven: Driven, **arguments: Any) -> str:
        """How the run ended, and what was seen."""
        try:
            report = Part(driven.report)
            return "\n".join([*self._ending(driven, report), *self.say(report, **arguments)])
        except Unusable:
            return f"{ended(driven.result)}\n{NOTHING}"

    @abstractmethod
    def say(self, report: Part, **arguments: Any) -> list[str]:
        """What was seen, in lines.

        Raises:
            Unusable: the report is none of the driver's.
        """

    def _ending(self, driven: Driven, report: Part) -> list[str]:
        if driven.result.outcome == "ok" and report.flag("stopped"):
            lines = [self.stopped]
        else:
            lines = [ended(driven.result)]
            if report.has("raised"):
                at = report.text("place") if report.has("place") else ""
                lines.append(f"It raised {report.text('raised', 400)}" + (f" (at {at})" if at else ""))
            elif report.has("exit") and (given := report.text("exit")) not in ("", "0"):
                lines.append(f"It called sys.exit with {given!r}.")
            if not report.flag("final"):
                lines.append(UNFINISHED)
        if report.items("faults", 10):
            lines.append("(some of what ran could not be looked at)")
        return lines
