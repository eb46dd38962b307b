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
from mldebug.seeds import Draw

from .judging import FRESH, judges

SEED = 20
SIZES = (1,) * 16 + (2,) * 3 + (3,)
"""Bugs of a variant, one of these: a compound takes as long as all its bugs, one by one."""

DRAWN, EVERY = 10, 1
DEEP_DRAWN, DEEP_EVERY = 2000, 5
"""How many are proved, and of which part the proof is checked: all of the few, a fifth of the many."""


def drawn_set(index: int) -> tuple[str, ...]:
    draw = Draw("bugs", SEED, index)
    size = draw.choose(SIZES, "size")
    return draw.choose([bugs for bugs in combinations(bug_classes(), size) if can_host(bugs)])


def test_no_dud_and_no_failing_reference_among_variants_drawn_at_random(
    pytestconfig: pytest.Config, checker_module: Any, evidence: Callable[[str, dict[str, Any]], None]
) -> None:
    deep = pytestconfig.getoption("--deep")
    drawn, every = (DEEP_DRAWN, DEEP_EVERY) if deep else (DRAWN, EVERY)
    requests = [Request(drawn_set(index), SEED, index) for index in range(drawn)]
    tally, none, sets, jobs = Tally(), [], Counter[int](), Counter[str]()
    manifestations: Counter[str] = Counter()
    again, started = [], time.monotonic()
    for index, made in enumerate(outcomes(requests, jobs=3)):
        if isinstance(made, Exhausted):
            none.append(f"{made.request}: {dict(made.reasons)}")
            continue
        tally.add(made)
        sets[len(made.bugs)] += 1
        jobs[made.script] += 1
        manifestations.update(f"{one.bug_class}/{one.manifestation}" for one in made.injections)
        if index % every == 0:
            again.append(made)
        if index % 100 == 99:
            print(index + 1, round(time.monotonic() - started), dict(tally.reasons), none, file=sys.stderr)
    generated = time.monotonic() - started
    with judges(checker_module) as judge, ThreadPoolExecutor(2) as threads:
        seeds = [FRESH + variant.index for variant in again]
        against = [one for found in threads.map(judge, again, seeds) for one in found]
    figures = {
        "requested": drawn,
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
    if deep:
        evidence("drawn_variants", figures)
    assert against == [] and none == []
    assert tally.emitted == drawn and len(again) == -(-drawn // every)
