"""The templates of `rules`, by reading alone: they find what is there and nothing in what is right."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mldebug.benchmark.agents.reading import Gap, read_sources
from mldebug.benchmark.agents.repairs.job import SURE, Job
from mldebug.benchmark.agents.rules import read
from mldebug.clean_scripts.library import job_names, load_job
from mldebug.env.tools.base import shortened
from mldebug.env.tools.view import View
from mldebug.env.tools.view_source import ViewSource
from mldebug.env.workbench import Workbench
from mldebug.mutators.bases import STYLE_COUNT, base
from mldebug.mutators.phrasings import phrased
from mldebug.seeds import Draw

from ...written import rows, task

BEYOND_READING = {
    "collapse-arm_dynamics-2",
    "eval-arm_dynamics-3",
    "eval-machine_gru-3",
    "eval-molecule_graphs-3",
    "eval-question_pairs-3",
    "eval-student_distillation-3",
    "shape-glyph-1",
    "shape-question_pairs-1",
    "shape-receipt_tags-1",
}
"""What templates do not find. Whether an axis is as long as a layer is wide, or scores have one axis or two,
does not stand in the source and needs the traceback; a parameter's default is not followed; and of the ways
to miss the evaluation mode the agent knows those of engine 2, with whose tasks it was rated."""


@pytest.mark.parametrize("name", sorted(rows()))
def test_templates_name_the_classes_and_leave_references_alone(name: str) -> None:
    row = rows()[name]
    assert [one.why for one in read(Job(row["reference"], row["entrypoint"]))] == []
    found = {one.bug for one in read(Job(row["files"], row["entrypoint"])) if one.weight >= SURE}
    assert found == (set() if name in BEYOND_READING else set(row["bugs"]))


@pytest.mark.parametrize("name", job_names())
def test_templates_are_silent_on_the_clean_library(name: str) -> None:
    made = base(name, sum(map(ord, name)) % STYLE_COUNT)
    worded = [
        phrased(made.workspace, made.phrasings, (), Draw("test", number)).workspace for number in range(3)
    ]
    for workspace in (made.workspace, *worded):
        found = read(Job(dict(workspace.sources), load_job(name).entrypoint))
        assert [one.why for one in found if one.weight >= SURE] == []


def test_what_was_left_out_of_the_sources_is_looked_up() -> None:
    closed = 0
    for name in sorted(rows()):
        one = task(name)
        workbench = Workbench(one, cast(Any, None), dict(one.broken.files), {})
        said = shortened(ViewSource().use(workbench))
        gap = Gap.read(said, one.broken.entrypoint)
        assert (gap is None) == bool(read_sources(said, one.broken.entrypoint))
        found: dict[str, str] | Gap | None = gap
        while isinstance(found, Gap):
            found = found.closed(View().use(workbench, found.path, found.start, 0))
        if found is not None:
            closed += 1
            assert found == one.broken.files
    assert closed
