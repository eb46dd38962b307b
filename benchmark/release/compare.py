"""Comparing what a release says with what was made again: bytes, and figures within a tolerance."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .layout import ALERT_TOLERANCE, EFFECT_TOLERANCE, METRIC_TOLERANCE

SHOWN = 5
"""Of more differences than these in one file, the rest is counted."""

_NUMBER = re.compile(r"-?\b(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|nan|inf)\b")


def differing_lines(found: bytes, expected: bytes) -> Iterator[str]:
    """What is not as expected in a file of JSON lines: one sentence for each of the first lines."""
    ours, theirs = found.splitlines(keepends=True), expected.splitlines(keepends=True)
    wrong = [n for n, (one, other) in enumerate(zip(ours, theirs, strict=False), 1) if one != other]
    for number in wrong[:SHOWN]:
        yield f"line {number}: {_difference(ours[number - 1], theirs[number - 1])}"
    if len(wrong) > SHOWN:
        yield f"and {len(wrong) - SHOWN} more lines"
    if len(ours) != len(theirs):
        yield f"has {len(ours)} lines; {len(theirs)} were expected"


def _difference(found: bytes, expected: bytes) -> str:
    try:
        one, other = json.loads(found), json.loads(expected)
        fields = list(differing_fields(one, other))
        if fields:
            return f"task {other.get('id')}: {_some(fields)} not what is made again here"
    except (ValueError, AttributeError, RecursionError):
        pass
    place = next((n for n, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
    return f"differs from byte {min(len(found), len(expected)) if place is None else place} on"


def _some(fields: list[str]) -> str:
    shown = ", ".join(fields[:SHOWN]) + (f" and {len(fields) - SHOWN} more" if len(fields) > SHOWN else "")
    return f"{shown} {'is' if len(fields) == 1 else 'are'}"


def differing_fields(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ: `truth.seed`, `files.train.py`, …"""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            inside = f"{place}.{name}" if place else name
            if name not in one or name not in other:
                yield inside
            else:
                yield from differing_fields(one[name], other[name], inside)
    elif one != other:
        yield place or "all of it"


@dataclass
class Deviations:
    """The largest differences between what was measured when a release was frozen and now."""

    metric: float = 0.0
    effect: float = 0.0

    def compare(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
        """What of a measurement does not repeat, one sentence each. Both as `rows.measured` gives them."""
        for name in ("outcome", "exit_code"):
            if then["mutant"][name] != now["mutant"][name]:
                yield f"the broken job's {name} was {then['mutant'][name]}, and is {now['mutant'][name]}"
        if not alike(str(then["alert"]), str(now["alert"])):
            yield f"the alert was {then['alert']!r}, and is {now['alert']!r}"
        if fields := list(differing_fields(then["traits"], now["traits"])):
            yield f"traits: {_some(fields)} not as they were"
        for name in ("visible", "hidden"):
            old, new = float(then["reference"][name]), float(now["reference"][name])
            self.metric = max(self.metric, abs(old - new))
            if not abs(old - new) <= METRIC_TOLERANCE:
                yield f"the reference's metric ({name} data) was {old:.4f}, and is {new:.4f}"
        for name in ("metric", "floor"):
            if then["reference"][name] != now["reference"][name]:
                yield f"the reference's {name} was {then['reference'][name]}, and is {now['reference'][name]}"
        if set(then["findings"]) != set(now["findings"]):
            yield f"bugs were {sorted(then['findings'])}, and are {sorted(now['findings'])}"
            return
        for bug, old_finding in then["findings"].items():
            new_finding = now["findings"][bug]
            if old_finding["present"] != new_finding["present"]:
                yield f"{bug} was {'' if old_finding['present'] else 'not '}present, which it is no more"
            old, new = number(old_finding["effect"]), number(new_finding["effect"])
            share = apart(old, new)
            self.effect = max(self.effect, share)
            if share > EFFECT_TOLERANCE:
                yield f"{bug}'s effect was {old:.4g}, and is {new:.4g}"


def number(value: Any) -> float:
    """A number, or the name that `plain` gave one that is not finite."""
    return float(value)


def apart(one: float, other: float) -> float:
    """The difference of two numbers as a share of the larger; infinite between finite and not."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other))


def alike(one: str, other: str) -> bool:
    """Whether two alerts say the same, but for how figures round.

    >>> alike("Final loss: 0.96.", "Final loss: 0.97."), alike("Final loss: 0.96.", "Final loss: nan.")
    (True, False)
    """
    if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(apart(float(a), float(b)) <= ALERT_TOLERANCE for a, b in pairs)
