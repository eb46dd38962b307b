"""The templates of `rules`, by reading alone: they find what is there and nothing in what is right."""

from __future__ import annotations

import pytest

from mldebug.benchmark.agents.repairs.job import SURE, Job
from mldebug.benchmark.agents.rules import read

from ...written import rows

BEYOND_READING = {"shape-glyph-1"}
"""Needs the traceback."""


@pytest.mark.parametrize("name", sorted(rows()))
def test_templates_name_the_classes_and_leave_references_alone(name: str) -> None:
    row = rows()[name]
    assert [one.why for one in read(Job(row["reference"], row["entrypoint"]))] == []
    found = {one.bug for one in read(Job(row["files"], row["entrypoint"])) if one.weight >= SURE}
    assert found == (set() if name in BEYOND_READING else set(row["bugs"]))
