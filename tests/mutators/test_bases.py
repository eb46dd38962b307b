"""Bases: which alternative, which structure, which distractors, and who shares them."""

from __future__ import annotations

from collections import Counter

from mldebug.clean_scripts.alternatives import alternatives
from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.mutators.analysis import analyse
from mldebug.mutators.bases import KEPT, STRUCTURES, STYLE_COUNT, alternative, base, restructured
from mldebug.mutators.distractors import KINDS, MOST, distracted
from mldebug.mutators.workspace import Workspace, check_python, splice
from mldebug.seeds import Draw

from ..jobs import each_job

JOB = "tabular_classifier"


def own(name: str) -> Workspace:
    return Workspace(sources(name), load_job(name).entrypoint)


def test_a_third_of_the_bases_are_the_job_itself_and_the_rest_its_alternatives() -> None:
    drawn = Counter(alternative(JOB, Draw("test", number))[0] for number in range(300))
    assert 70 <= drawn[""] <= 130
    assert set(drawn) == {"", *(one.name for one in alternatives(JOB))}


@each_job("name", __name__)
def test_structures_are_found_in_every_job(name: str) -> None:
    taken = {one for number in range(12) for one in restructured(own(name), Draw("test", number))[0]}
    assert len(taken) >= 3 and taken <= {one.name for one in STRUCTURES}


@each_job("name", __name__)
def test_each_kind_of_distractor_fits_somewhere(name: str) -> None:
    script, found = analyse(own(name)), set()
    for kind, places in KINDS.items():
        for _node, edit in places(script, Draw("test", kind)):
            changed = splice(script.workspace, (edit,))
            check_python(edit.file, changed.files[edit.file])
            assert changed != script.workspace
            found.add(kind)
    assert len(found) >= 3


def test_distractors_are_few_of_different_kinds_and_where_they_say() -> None:
    counts = Counter()
    for number in range(30):
        workspace, found = distracted(analyse(own(JOB)), Draw("test", number))
        counts[len(found)] += 1
        assert len({one.kind for one in found}) == len(found) <= MOST
        assert (workspace != own(JOB)) == bool(found)
        assert all(1 <= one.line <= own(JOB).files[one.file].count("\n") for one in found)
    assert min(counts[amount] for amount in range(MOST + 1)) >= 5


def test_a_base_is_made_once() -> None:
    assert base(JOB, 3) is base(JOB, 3)
    assert base.cache_info().maxsize == KEPT >= STYLE_COUNT * len(job_names())
