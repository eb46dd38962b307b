"""Every class and every pair, proved by the engine, judged again by a checker that shares no code with it.

By default one seed of each class and of every third pair, on one fresh data seed; with --deep also of all
pairs, and ten seeds of each set on three.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import pytest

from mldebug.benchmark.hosting import tried
from mldebug.clean_scripts.library import job_names
from mldebug.factory import Request, Tally, Variant, generate_many
from mldebug.mutators.base import bug_classes

from .judging import FRESH, judged, judges

SETS = [(bug,) for bug in bug_classes()] + list(combinations(bug_classes(), 2))
SEED = 11
DEEP_SEEDS, DEEP_DATA = 10, 3


def sampled() -> list[Any]:
    """All sets, two of three pairs for `--deep`."""
    return [
        pytest.param(bugs, id="+".join(bugs), marks=[pytest.mark.deep] if len(bugs) > 1 and index % 3 else [])
        for index, bugs in enumerate(SETS)
    ]


@pytest.fixture(scope="module")
def variants(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, ...], Variant]]:
    items = [item for item in request.session.items if not item.get_closest_marker("skip")]
    asked = {item.callspec.params.get("bugs") for item in items if hasattr(item, "callspec")}
    sets = [bugs for bugs in SETS if bugs in asked]
    made = dict(zip(sets, generate_many([Request(bugs, SEED) for bugs in sets], jobs=2), strict=True))
    tally = Tally()
    for variant in made.values():
        tally.add(variant)
    print(f"yield: {tally.emitted} of {tally.attempted}; discarded: {dict(tally.reasons)}")
    yield made


@pytest.mark.parametrize("bugs", sampled())
def test_a_proven_variant_is_broken_and_its_reference_healthy(
    bugs: tuple[str, ...], variants: dict[tuple[str, ...], Variant], checker: Any
) -> None:
    variant = variants[bugs]
    assert variant.verified and variant.bugs == bugs and variant.alert
    assert judged(checker, variant, FRESH) == []


@pytest.mark.deep
def test_ten_seeds_of_every_class_and_pair_hold_on_fresh_data(
    checker_module: Any, evidence: Callable[[str, dict[str, Any]], None]
) -> None:
    requests = [Request(bugs, seed) for bugs in SETS for seed in range(DEEP_SEEDS)]
    tally, per_set, started = Tally(), Counter[str](), time.monotonic()
    against: list[str] = []
    manifestations: Counter[str] = Counter()
    with judges(checker_module) as judge_once:

        def judge(variant: Variant) -> list[str]:
            return [one for data in range(DEEP_DATA) for one in judge_once(variant, FRESH + data)]

        made = []
        for variant in generate_many(requests, jobs=2):
            tally.add(variant)
            made.append(variant)
            per_set["+".join(variant.bugs)] += 1
            manifestations.update(f"{one.bug_class}/{one.manifestation}" for one in variant.injections)
        generated = time.monotonic() - started
        with ThreadPoolExecutor(2) as threads:
            for found in threads.map(judge, made):
                against += found
    evidence(
        "every_class",
        {
            "sets": len(SETS),
            "seeds_per_set": DEEP_SEEDS,
            "fresh_data_seeds_per_variant": DEEP_DATA,
            "emitted": tally.emitted,
            "attempted": tally.attempted,
            "yield": round(tally.emitted / tally.attempted, 4),
            "discarded": dict(tally.reasons),
            "discards": sorted(reason for variant in made for reason in variant.discarded),
            "judgements": 2 * DEEP_DATA * len(made),
            "disagreements": against,
            "manifestations": dict(sorted(manifestations.items())),
            "seconds_generating": round(generated),
            "seconds_in_all": round(time.monotonic() - started),
        },
    )
    assert against == []
    assert set(per_set.values()) == {DEEP_SEEDS}
    assert tally.emitted >= 0.9 * tally.attempted


@pytest.mark.deep
def test_all_twenty_triples(checker: Any, evidence: Callable[[str, dict[str, Any]], None]) -> None:
    """No bug of three hides behind another: each fails alone, and all three together."""
    triples = list(combinations(bug_classes(), 3))
    tally, against = Tally(), []
    for variant in generate_many([Request(bugs, SEED) for bugs in triples], jobs=2):
        tally.add(variant)
        against += judged(checker, variant, FRESH)
    figures = {"emitted": tally.emitted, "attempted": tally.attempted, "discarded": dict(tally.reasons)}
    evidence("triples", {**figures, "disagreements": against})
    assert tally.emitted == len(triples) == 20 and against == []


@pytest.mark.deep
@pytest.mark.parametrize("script_name", job_names())
def test_every_site_and_choice_of_every_class_fails_alone(
    script_name: str, evidence: Callable[[str, dict[str, Any]], None]
) -> None:
    """No dud among what is offered: each site and choice of one style of the job, executed."""
    work = list(tried(script_name, jobs=2))
    duds = [str(one) for one in work if one.wrong]
    share = 1 - len(duds) / len(work)
    figures = {"tried": len(work), "valid": len(work) - len(duds), "share": share, "duds": duds}
    evidence(f"every_site_{script_name}", figures)
    assert share >= 0.9
