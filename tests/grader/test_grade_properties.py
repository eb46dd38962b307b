"""Over drawn variants and rewrites: what is untouched is not paid, the reference is solved, spelling decides
nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldebug.grader.grade import Fix, Grader
from mldebug.grader.judge import OfflineJudge
from mldebug.grader.runner import Pool
from mldebug.grading import task_of
from mldebug.strategies import Submission, equivalent_rewrites, submissions, variants

from ..written import Written, fix, rows, task, written

WRITTEN = [*written("forgeries"), *written("correct_fixes")]


@pytest.fixture(scope="module")
def grader(pool: Pool) -> Grader:
    return Grader(pool.run, judge=OfflineJudge())


@pytest.fixture(scope="module")
def strict(pool: Pool) -> Grader:
    return Grader(pool.run, judge=OfflineJudge(), strict_seed_scoring=True)


KINDS = ("untouched", "reference", "partial", "rewritten_untouched", "rewritten_reference", "garbage")


def test_drawn_submissions_get_the_verdict_they_deserve(pool: Pool, grader: Grader, strict: Grader) -> None:
    @settings(max_examples=settings.default.max_examples // 10)  # type: ignore[union-attr]
    @given(submissions(variants(verified=True, pool=pool), kinds=KINDS))
    def check(drawn: Submission) -> None:
        one = task_of(drawn.variant)
        verdict = grader.grade(one, Fix(drawn.files, one.bugs))
        if drawn.expected is not None:
            assert verdict.solved == drawn.expected, verdict.record()
        if drawn.kind in ("untouched", "rewritten_untouched"):
            assert verdict.rung <= 0.20 and verdict.untouched
            assert strict.grade(one, Fix(drawn.files, one.bugs)).rung <= 0.60
        if drawn.kind in ("reference", "rewritten_reference"):
            assert (verdict.rung, verdict.trust) == (0.99, "replayed")

    check()


RACES = frozenset({"collapse/fork-outlives-job"})
"""Its two processes write the same files: how it ends depends on which of them is faster."""


def test_a_rewrite_changes_no_verdict(grader: Grader) -> None:
    @settings(max_examples=settings.default.max_examples // 15)  # type: ignore[union-attr]
    @given(st.sampled_from(WRITTEN), st.data())
    def check(one: Written, data: st.DataObject) -> None:
        whole = {**rows()[one.task]["files"], **one.files}
        other = data.draw(equivalent_rewrites(whole, rows()[one.task]["entrypoint"]))
        before = grader.grade(task(one.task), fix(one))
        after = grader.grade(task(one.task), Fix(other, rows()[one.task]["bugs"]))
        if one.name in RACES:
            assert max(before.rung, after.rung) <= 0.60
        else:
            assert (after.rung, after.trust) == (before.rung, before.trust)

    check()
