"""Variants drawn at random from everything that can be asked for: no dud, no reference that fails.

Whatever a seed draws is proved by the engine; of the proved ones, the independent checker judges a fifth
again on data that none of them was proved on. By default there are ten, all judged: with those of
test_every_class, twenty.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import pytest

from mldebug.factory import Exhausted, Request, Tally, can_host, outcomes
from mldebug.mutators.base import bug_classes
from mldebug.seeds import ENGINE_VERSION, Draw

from .judging import FRESH, judges

SEED = 20
SIZES = (1,) * 16 + (2,) * 3 + (3,)
"""Bugs of a variant, one of these: a compound takes as long as all its bugs, one by one."""

DRAWN = 10
DEEP_DRAWN, EVERY, PARTS = 2000, 5, 4
"""Proved: a few, all judged again, or many, a fifth of them, in parts that take half an hour each."""


def drawn_set(index: int) -> tuple[str, ...]:
    draw = Draw("bugs", SEED, index)
    size = draw.choose(SIZES, "size")
    return draw.choose([bugs for bugs in combinations(bug_classes(), size) if can_host(bugs)])


def proved_and_judged(indices: range, every: int, checker_module: Any) -> dict[str, Any]:
    """What comes of the variants of these indices; each `every`-th proof is checked by another checker."""
    requests = [Request(drawn_set(index), SEED, index) for index in indices]
    tally, none, sets, jobs = Tally(), [], Counter[int](), Counter[str]()
    manifestations: Counter[str] = Counter()
    again, started = [], time.monotonic()
    for done, made in enumerate(outcomes(requests, jobs=3), 1):
        if isinstance(made, Exhausted):
            none.append(f"{made.request}: {dict(made.reasons)}")
            continue
        tally.add(made)
        sets[len(made.bugs)] += 1
        jobs[made.script] += 1
        manifestations.update(f"{one.bug_class}/{one.manifestation}" for one in made.injections)
        if made.index % every == 0:
            again.append(made)
        if done % 100 == 0:
            print(done, round(time.monotonic() - started), dict(tally.reasons), none, file=sys.stderr)
    generated = time.monotonic() - started
    with judges(checker_module) as judge, ThreadPoolExecutor(2) as threads:
        seeds = [FRESH + variant.index for variant in again]
        against = [one for found in threads.map(judge, again, seeds) for one in found]
    return {
        "engine": ENGINE_VERSION,
        "indices": [indices.start, indices.stop],
        "requested": len(indices),
        "emitted": tally.emitted,
        "attempted": tally.attempted,
        "none_valid": none,
        "discarded": dict(tally.reasons),
        "judged_again": len(again),
        "disagreements": against,
        "by_number_of_bugs": dict(sorted(sets.items())),
        "by_script": dict(sorted(jobs.items())),
        "manifestations": dict(sorted(manifestations.items())),
        "seconds_generating": round(generated),
        "seconds_in_all": round(time.monotonic() - started),
    }


def without_fault(found: dict[str, Any]) -> bool:
    return found["disagreements"] == found["none_valid"] == [] and found["emitted"] == found["requested"]


def test_no_dud_and_no_failing_reference_among_variants_drawn_at_random(checker_module: Any) -> None:
    found = proved_and_judged(range(DRAWN), 1, checker_module)
    assert without_fault(found) and found["judged_again"] == DRAWN, found


@pytest.mark.deep
@pytest.mark.parametrize("part", range(PARTS))
def test_no_dud_and_no_failing_reference_among_two_thousand(
    part: int, checker_module: Any, evidence: Callable[[str, dict[str, Any]], None]
) -> None:
    size = DEEP_DRAWN // PARTS
    found = proved_and_judged(range(part * size, (part + 1) * size), EVERY, checker_module)
    evidence(f"drawn_variants_{part + 1}_of_{PARTS}", found)
    assert without_fault(found) and found["judged_again"] == size // EVERY, found
