"""The executing profile: whatever is asked for, the mutant fails and the reference passes.

Hypothesis draws the seed, the set of classes (one to three) and the script; the engine proves the variant and
the independent checker judges it again on a data seed that is drawn too. With --deep only: each example costs
some seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mldebug.clean_scripts.library import job_names
from mldebug.errors import NoValidVariantError
from mldebug.factory import Request, verified
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes

from .judging import judged

BUG_SETS = [names for size in (1, 2, 3) for names in combinations(bug_classes(), size)]


@pytest.mark.deep
def test_every_mutant_fails_and_every_reference_passes(
    pool: Pool, checker: Any, evidence: Callable[[str, dict[str, Any]], None]
) -> None:
    counts: Counter[str] = Counter()
    against: list[str] = []

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        st.sampled_from(BUG_SETS),
        st.integers(0, 2**48),
        st.sampled_from(job_names()),
        st.integers(2**33, 2**34),
    )
    def prove(bugs: tuple[str, ...], seed: int, script: str, data_seed: int) -> None:
        try:
            variant = verified(Request(bugs, seed, script=script), pool.run)
        except NoValidVariantError as error:
            counts["none valid"] += 1
            against.append(str(error))
            return
        counts[f"{len(bugs)} bugs"] += 1
        counts["attempted"] += variant.attempt + 1
        found = judged(checker, variant, data_seed)
        against.extend(found)
        assert found == []

    prove()
    evidence("executing_profile", {"counts": dict(counts), "against": against})
    assert against == []
