"""Choices depend on what they are for and on nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.seeds import Draw, digest

PARTS = st.lists(st.one_of(st.integers(0, 2**64), st.text(max_size=8)), min_size=1, max_size=4)


@given(PARTS, PARTS)
def test_different_paths_have_different_digests(one: list[str | int], other: list[str | int]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


@given(PARTS, st.integers(1, 1000))
def test_a_choice_does_not_depend_on_choices_made_before(path: list[str | int], bound: int) -> None:
    fresh = Draw(*path).below(bound, "wanted")
    used = Draw(*path)
    used.below(7, "before")
    used.shuffled([1, 2, 3], "before too")
    assert used.below(bound, "wanted") == fresh < bound
    assert used.child("a").below(bound, "b") == Draw(*path).below(bound, "a", "b")


def test_numbers_are_pinned_and_the_same_under_any_hash_seed() -> None:
    code = (
        "from mldebug.seeds import Draw; "
        "print(Draw('pin', 1).below(10**9, 'x'), Draw('p').shuffled('abcdef'))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        ).stdout
        for seed in ("0", "1", "999")
    }
    assert seen == {f"{Draw('pin', 1).below(10**9, 'x')} {Draw('p').shuffled('abcdef')}\n"}


def test_choices_are_spread_evenly() -> None:
    counts = [0] * 8
    for index in range(8000):
        counts[Draw("spread", index).below(8, "bucket")] += 1
    assert min(counts) > 850 and max(counts) < 1150, counts  # six standard deviations of a fair choice


def test_bounds_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Draw("x").below(0, "y")
