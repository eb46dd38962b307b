"""The grader's big counts: the class × oracle matrix, and verdicts that do not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mldebug.benchmark.matrix import Matrix, measure, table, upper_bound
from mldebug.grader.grade import Grader
from mldebug.grader.judge import OfflineJudge
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes

from ..written import fix, task, written

Evidence = Callable[[str, dict[str, Any]], None]


@pytest.mark.deep
def test_every_oracle_fires_on_its_own_class_and_on_no_other(evidence: Evidence) -> None:
    matrix = measure(600, 2)
    evidence("oracle_matrix", matrix.record())
    for bug in bug_classes():
        assert matrix.fired[bug, bug] + matrix.unclear[bug] == matrix.candidates[bug], table(matrix)
    wrong, asked = matrix.off_diagonal()
    assert wrong / asked <= 0.005, table(matrix)


def test_a_few_candidates_of_each_class() -> None:
    matrix = measure(len(bug_classes()), 2)
    assert matrix.off_diagonal()[0] == 0, table(matrix)
    assert sum(matrix.fired[bug, bug] for bug in bug_classes()) >= len(bug_classes()) - 1, table(matrix)


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    assert upper_bound(0, 3000) == pytest.approx(1 - 0.05 ** (1 / 3000), rel=1e-6)
    assert upper_bound(1, 100) == pytest.approx(0.04656, abs=1e-4)
    assert upper_bound(5, 5) == 1.0
    assert Matrix().off_diagonal() == (0, 0)


def test_a_record_draws_the_same_table() -> None:
    matrix = Matrix.of(
        {
            "candidates": dict.fromkeys(bug_classes(), 3),
            "unclear": {"shape_mismatch": 1},
            "fired": {bug: {bug: 2, "data_leakage": 2} for bug in bug_classes()},
            "missed": ["wrong_device 7"],
            "drawn": 20,
        }
    )
    assert Matrix.of(matrix.record()) == matrix and matrix.off_diagonal() == (10, 90)
    assert table(measure(18, 1, matrix=Matrix.of(matrix.record()))) == table(matrix)  # nothing to add


@pytest.mark.deep
def test_verdicts_repeat_in_other_processes(evidence: Evidence) -> None:
    chosen = [*written("forgeries"), *written("correct_fixes")][:250]
    seen: list[list[tuple[float, str, str]]] = []
    for jobs in (1, 2):
        with Pool(2) as pool:
            grader = Grader(pool.run, judge=OfflineJudge())
            verdicts = grader.grade_many(((task(one.task), fix(one)) for one in chosen), jobs=jobs)
            seen.append([(one.rung, one.trust, one.feedback) for one in verdicts])
    changed = [one.name for one, first, second in zip(chosen, *seen, strict=True) if first[:2] != second[:2]]
    evidence("verdict_stability", {"verdicts": 2 * len(chosen), "changed": changed})
    assert not changed
