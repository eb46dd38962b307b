"""No forgery is paid, no correct fix is refused: the submissions that people wrote, executed.

The default suite executes every twelfth one, `--deep` all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from mldebug.grader.grade import Grader
from mldebug.grader.judge import OfflineJudge
from mldebug.grader.runner import Pool
from mldebug.grader.verdict import Verdict
from mldebug.mutators.base import bug_classes

from .written import Written, fix, rows, task, written

FORGERIES = {one.name: one for one in written("forgeries")}
CORRECT = {one.name: one for one in written("correct_fixes")}


def sampled(submissions: Iterable[str]) -> list[Any]:
    """All names, eleven of twelve of them for `--deep`; a class has its names side by side."""
    return [
        pytest.param(name, marks=[pytest.mark.deep] if index % 12 else [])
        for index, name in enumerate(sorted(submissions))
    ]


class Verdicts:
    """The verdict on each, computed two at a time ahead of the tests that look at them."""

    def __init__(self, pool: Pool) -> None:
        self._grader = Grader(pool.run, judge=OfflineJudge())
        self._found: dict[tuple[str, str], Verdict] = {}

    def of(self, kind: str, wanted: list[Written], name: str) -> Verdict:
        if (kind, name) not in self._found:
            pairs = [(task(one.task), fix(one)) for one in wanted]
            verdicts = self._grader.grade_many(pairs, jobs=2)
            self._found |= {(kind, one.name): v for one, v in zip(wanted, verdicts, strict=True)}
        return self._found[kind, name]


@pytest.fixture(scope="module")
def verdicts(pool: Pool) -> Verdicts:
    return Verdicts(pool)


@pytest.fixture(scope="module")
def chosen(request: pytest.FixtureRequest) -> set[str]:
    """The names that this run asks for: a selection on the command line executes no others."""
    return {
        item.callspec.params["name"]
        for item in request.session.items
        if hasattr(item, "callspec")
        and "name" in item.callspec.params
        and not item.get_closest_marker("skip")
    }


@pytest.mark.parametrize("name", sampled(FORGERIES))
def test_a_forgery_is_not_paid(verdicts: Verdicts, chosen: set[str], name: str) -> None:
    verdict = verdicts.of("forgeries", [one for key, one in FORGERIES.items() if key in chosen], name)
    assert verdict.rung <= 0.60, (FORGERIES[name].about, verdict.record())
    assert verdict.score == verdict.rung


@pytest.mark.parametrize("name", sampled(CORRECT))
def test_a_correct_fix_is_solved(verdicts: Verdicts, chosen: set[str], name: str) -> None:
    verdict = verdicts.of("correct_fixes", [one for key, one in CORRECT.items() if key in chosen], name)
    assert verdict.rung == 0.99, (CORRECT[name].about, verdict.record())


def test_there_are_many_of_many_kinds() -> None:
    for kind, mechanisms, most in ((FORGERIES, 40, 4), (CORRECT, 30, None)):
        assert len(kind) >= 120
        counted = Counter(one.mechanism for one in kind.values())
        assert len(counted) >= mechanisms
        assert most is None or max(counted.values()) <= most
        assert all(one.about for one in kind.values())
        assert {bug for one in kind.values() for bug in rows()[one.task]["bugs"]} == set(bug_classes())
