"""`rules`: an engineer's habits as code. It reads, runs what it needs, and repairs by templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from ...env.models import Observation
from .alerts import CRASHING, crashed
from .base import Agent, Brief, Turn, fix, inspect
from .reading import Gap, read_sources
from .repairs import devices, devices_crash, gradients, leaks, learning, modes, shapes, shapes_crash
from .repairs.crash import Crash
from .repairs.job import SURE, Finding, Job

READERS: tuple[Callable[[Job], Iterator[Finding]], ...] = (
    gradients.find,
    modes.find,
    leaks.find,
    learning.find,
    devices.find,
    shapes.find,
)
ON_CRASH = (devices_crash.from_crash, shapes_crash.from_crash)
LOOKS = ("repeat_eval", "inspect_data", "inspect_optimizer")
"""What is asked, in this order, where reading found nothing in a job that ran to its end."""


class Rules(Agent):
    """Views the source, reads it for what its templates know, and hands in all repairs it is sure of.

    A crash that reading does not explain, or that comes after a fix, is looked at with `get_traceback`; a job
    that ended and looks sound with `repeat_eval`, `inspect_data` and `inspect_optimizer`. No language model.
    """

    name = "rules"
    about = "Reads the source, the traceback and the tools' figures by rules, and repairs by templates."

    def __init__(self, brief: Brief) -> None:
        super().__init__(brief)
        self._sources: dict[str, str] = {}
        self._kept: list[Finding] = []
        self._weak: list[Finding] = []
        self._tried: set[tuple[tuple[str, ...], str]] = set()
        self._asked: list[str] = []
        self._hints: list[str] = []
        self._just_fixed = False
        self._handed: dict[str, str] = {}
        self._last: list[Finding] = []
        self._claimed: set[str] = set()
        self._gap: Gap | None = None

    def act(self, seen: Observation) -> Turn:
        if seen.step == 0:
            return self._ask("view_source", "nothing is known but the alert")
        if not self._sources:
            found: dict[str, str] | Gap | None
            if self._gap is not None:
                found = self._gap.closed(seen.text)
            else:
                found = read_sources(seen.text, seen.entrypoint) or Gap.read(seen.text, seen.entrypoint)
            if isinstance(found, Gap):
                self._gap = found
                where = {"path": found.path, "start": found.start}
                return self._ask("view", "a part of the source was left out", where)
            self._sources = found or {}
            if not self._sources:
                return self._blind(seen)
            self._read(seen)
        elif not self._just_fixed:
            self._learn(seen)
        left = seen.budget - seen.step
        failing = self._just_fixed and "it fails" in seen.text
        self._just_fixed = False
        if failing:
            self._go_on_from_handed()
            if left > 1:
                return self._ask("get_traceback", "the repaired job crashes")
            self._crash(Crash((), "", seen.text), seen.entrypoint)
        elif not self._kept and left > 1:
            if crashed(seen.alert) and "get_traceback" not in self._asked:
                return self._ask("get_traceback", "it crashed, and reading does not say why")
            tool = next((one for one in LOOKS if one not in self._asked), None)
            if tool is not None and not crashed(seen.alert):
                return self._ask(tool, "it ended, and reading does not say what is wrong")
        explained = not crashed(seen.alert) or any(one.bug in CRASHING for one in self._kept)
        if not explained and left > 1 and "get_traceback" not in self._asked:
            return self._ask("get_traceback", "it crashed, and what was found does not explain it")
        return self._fix(seen)

    def _go_on_from_handed(self) -> None:
        """Take what was handed in for granted: what is found now comes on top."""
        if self._handed:
            self._sources, self._claimed = self._handed, self._claimed | {one.bug for one in self._last}
            self._kept, self._handed = [], {}

    def _ask(self, tool: str, why: str, arguments: Mapping[str, object] = MappingProxyType({})) -> Turn:
        self._asked.append(tool)
        return Turn(inspect(tool, **arguments), {"why": why})

    def _read(self, seen: Observation) -> None:
        found = read(self._job(seen.entrypoint))
        if not crashed(seen.alert):
            found = [one for one in found if one.bug != "wrong_device"]
        self._kept = [one for one in found if one.weight >= SURE]
        self._weak = [one for one in found if one.weight < SURE]

    def _job(self, entrypoint: str) -> Job:
        return Job(self._sources, entrypoint)

    def _learn(self, seen: Observation) -> None:
        """Take in what the last tool said."""
        tool = self._asked[-1]
        if tool == "get_traceback":
            crash = Crash.read(seen.text, self._job(seen.entrypoint))
            if crash is not None:
                self._crash(crash, seen.entrypoint)
        elif tool == "repeat_eval" and re.search(r"again: largest difference", seen.text):
            self._hints.append("missing_eval_mode")
        elif tool == "inspect_data" and any(
            int(one) for one in re.findall(r"in passes with gradients too: (\d+)", seen.text)
        ):
            self._hints.append("data_leakage")
        elif tool == "inspect_optimizer":
            pairs = re.findall(r"(\d+) steps?, (\d+) zero_grad calls?", seen.text)
            if any(2 * int(cleared) < int(steps) for steps, cleared in pairs):
                self._hints.append("gradient_not_zeroed")

    def _crash(self, crash: Crash, entrypoint: str) -> None:
        """Add what a crash says to what is repaired, on top of the repairs that were made."""
        job = self._job(entrypoint)
        found = [one for look in ON_CRASH for one in _safe(look, job, crash)]
        said = {one.edits for one in self._kept}
        for one in found:
            if one.edits not in said and not any(_overlap(one, other) for other in self._kept):
                self._kept.append(one)
                break

    def _fix(self, seen: Observation) -> Turn:
        for chosen in self._choices():
            job = self._job(seen.entrypoint)
            files = job.repaired([edit for one in chosen for edit in one.edits])
            bugs = tuple(sorted({one.bug for one in chosen} | self._claimed))
            key = (bugs, repr(sorted(files.items())))
            if key in self._tried or not _readable(files):
                continue
            self._tried.add(key)
            self._just_fixed, self._handed, self._last = True, files, list(chosen)
            diagnosis = " ".join(dict.fromkeys(one.why for one in chosen))
            return Turn(fix(bugs, files, diagnosis), {"why": [f"{one.bug}: {one.why}" for one in chosen]})
        return self._blind(seen)

    def _choices(self) -> Iterator[list[Finding]]:
        """What to repair together: everything, then class by class, then what is less sure."""
        if self._kept:
            yield self._kept
        by_class: dict[str, list[Finding]] = {}
        for one in sorted(self._kept, key=lambda each: -each.weight):
            by_class.setdefault(one.bug, []).append(one)
        if len(by_class) > 1:
            yield from by_class.values()
        for one in self._kept:
            yield [one]
        hinted = [one for one in self._weak if one.bug in self._hints]
        for one in hinted + [each for each in self._weak if each not in hinted]:
            yield [*self._kept, one]
            yield [one]

    def _blind(self, seen: Observation) -> Turn:
        """Nothing is left to try: name the likeliest class, which is paid a little."""
        self._just_fixed = True
        order = self._hints + (
            ["shape_mismatch", "wrong_device"]
            if crashed(seen.alert)
            else ["training_collapse", "data_leakage", "missing_eval_mode", "gradient_not_zeroed"]
        )
        named = {key[0] for key in self._tried}
        bug = next((one for one in order if (one,) not in named), order[0])
        self._tried.add(((bug,), ""))
        return Turn(fix((bug,)), {"why": "no template fits"})


def read(job: Job) -> list[Finding]:
    """All that reading finds."""
    return [one for reader in READERS for one in _safe(reader, job)]


def _safe(look: Callable[..., Iterable[Finding]], *given: object) -> list[Finding]:
    """What a template finds; nothing where code is beyond it."""
    try:
        return list(look(*given))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, StopIteration, RecursionError):
        return []


def _overlap(one: Finding, other: Finding) -> bool:
    return any(
        a.path == b.path and a.start < b.end and b.start < a.end for a in one.edits for b in other.edits
    )


def _readable(files: dict[str, str]) -> bool:
    try:
        Job(files, "")
    except (SyntaxError, ValueError):
        return False
    return bool(files)
