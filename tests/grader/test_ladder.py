"""Claims, efficiency and payment: the first seed's flaws cannot be repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.errors import UsageError
from mldebug.grader.grade import named
from mldebug.grader.ladder import (
    Attempt,
    claim_of,
    efficiency,
    episode_score,
    rung_of,
    score,
)
from mldebug.grader.ruling import Ruling
from mldebug.mutators.base import bug_classes

SHAPE, DEVICE, EVAL = "shape_mismatch", "wrong_device", "missing_eval_mode"
RUNGS = (0.01, 0.20, 0.40, 0.60, 0.80, 0.99)


def ruling(rung: float, untouched: bool = False) -> Ruling:
    return Ruling(rung, {}, "artifact", "", (), untouched)


@pytest.mark.parametrize(
    ("claimed", "truth", "claim"),
    [
        ({SHAPE}, {SHAPE}, "right"),
        ({SHAPE, DEVICE}, {SHAPE, DEVICE}, "right"),
        ({SHAPE}, {SHAPE, DEVICE}, "partial"),
        ({SHAPE, EVAL}, {SHAPE, DEVICE}, "wrong"),
        ({SHAPE, DEVICE, EVAL}, {SHAPE, DEVICE}, "wrong"),
        (set(bug_classes()), {SHAPE}, "wrong"),
        (set(), {SHAPE}, "wrong"),
    ],
)
def test_claims_are_sets(claimed: set[str], truth: set[str], claim: str) -> None:
    assert claim_of(claimed, truth) == claim


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("shape,device", {SHAPE, DEVICE}),
        (["shape"], {SHAPE}),
        ("compound_shape_device", {SHAPE, DEVICE}),
        (["shape", "shape_mismatch"], {SHAPE}),
        ("shape_mismatch wrong_device missing_eval_mode", None),
        ("a shape_mismatch, I think", None),
        ("", None),
        (None, None),
        (7, None),
        ([["shape"]], None),
        ("\ud800\0", None),
    ],
)
def test_names_are_matched_whole(written: object, canonical: set[str] | None) -> None:
    found = named(written)
    if canonical is None:
        assert claim_of(found, {SHAPE}) == "wrong"
    else:
        assert found == canonical


@given(st.sampled_from(RUNGS), st.booleans(), st.booleans())
def test_a_wrong_claim_earns_the_least_and_a_part_no_more_than_060(
    rung: float, untouched: bool, strict: bool
) -> None:
    given_ = ruling(rung, untouched)
    assert rung_of(given_, "wrong", strict_seed_scoring=strict) == 0.01
    assert rung_of(given_, "partial", strict_seed_scoring=strict) <= 0.60
    assert rung_of(given_, "right", strict_seed_scoring=strict) <= rung
    if untouched and not strict:
        assert rung_of(given_, "right") <= 0.20


@given(st.sampled_from(RUNGS), st.integers(1, 9), st.floats(0, 1))
def test_only_what_is_solved_is_multiplied(rung: float, step: int, share: float) -> None:
    paid = score(rung, share=share, step=step)
    assert paid.solved == (rung == 0.99)
    if not paid.solved:
        assert paid.score == rung  # 0.80 × 1.2 is neither solved nor more than 0.80
    else:
        assert 0.99 <= paid.score <= 0.99 * 1.2 + 0.15


def test_efficiency_by_step_and_its_cap() -> None:
    assert [efficiency(step) for step in (1, 2, 3, 4, 5)] == [1.2, 1.2, 1.1, 1.0, 1.0]
    assert efficiency(None) == 1.0
    assert efficiency(1, cap=1.0) == 1.0


def test_a_share_that_is_none_is_refused() -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share"):
            score(0.99, share=share)


def test_an_episode_is_paid_once_for_its_best_fix() -> None:
    assert episode_score([]).score == 0.0
    tried = [Attempt(2, 0.60), Attempt(3, 0.40), Attempt(4, 0.60)]
    assert episode_score(tried).score == 0.60
    assert episode_score([*tried, Attempt(5, 0.99, 1.0)]).score == pytest.approx(0.99 + 0.15)
    with pytest.raises(UsageError, match="after the episode's end"):
        episode_score([Attempt(2, 0.99), Attempt(3, 0.99)])
