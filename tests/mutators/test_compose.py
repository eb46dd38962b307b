"""Compounds: edits that go together, whatever the order in which classes are named."""

from __future__ import annotations

from functools import cache, partial
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import Script, analyse
from mldebug.mutators.base import bug_classes, mutator
from mldebug.mutators.compose import (
    NoCompositionError,
    Offer,
    compose,
    edits_of,
    hostable,
    only,
    without,
)
from mldebug.mutators.workspace import Workspace, conflicts, splice
from mldebug.seeds import Draw

from ..jobs import each_job, few


@cache
def script_of(job: str) -> Script:
    return analyse(Workspace(sources(job), load_job(job).entrypoint))


@settings(max_examples=40, deadline=None)
@given(
    job=st.sampled_from(few(__name__)),
    bugs=st.lists(st.sampled_from(bug_classes()), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 10**6),
)
def test_injections_do_not_depend_on_order_and_never_overlap(job: str, bugs: list[str], seed: int) -> None:
    script = script_of(job)
    if not all(hostable(script)[bug] for bug in bugs):
        return
    injections = compose(script, bugs, Draw("test", seed))
    assert injections == compose(script, bugs[::-1], Draw("test", seed))
    assert [one.bug_class for one in injections] == sorted(bugs)
    assert not conflicts(edits_of(injections))
    broken = splice(script.workspace, edits_of(injections))
    assert broken != script.workspace
    for one in injections:
        (alone,) = only(injections, one.bug_class)
        assert alone == one
        rest = without(injections, one.bug_class)
        assert splice(script.workspace, edits_of(rest)) != broken
        assert {*rest, alone} == set(injections)


@each_job("job", __name__)
def test_every_pair_of_classes_that_a_script_hosts_goes_together(job: str) -> None:
    offered = [bug for bug, found in hostable(script_of(job)).items() if found]
    for pair in combinations(offered, 2):
        for seed in range(3):
            assert len(compose(script_of(job), pair, Draw("pairs", seed))) == 2


@each_job("job", __name__)
def test_single_choices_reach_every_manifestation(job: str) -> None:
    for bug, found in hostable(script_of(job)).items():
        names = {name for name, _ in found}
        seeds = range(100 if found else 0)
        drawn = {compose(script_of(job), [bug], Draw("reach", seed))[0].manifestation for seed in seeds}
        assert drawn == names


def test_a_class_without_a_site_is_named() -> None:
    script = analyse(Workspace.of({"train.py": "print('nothing to see')\n"}, "train.py"))
    with pytest.raises(NoCompositionError, match="shape_mismatch"):
        compose(script, ["shape_mismatch"], Draw("none"))


def test_two_bugs_of_one_line_go_together() -> None:
    text = (
        "import torch\nfrom torch import nn\n"
        "device = torch.device('cuda')\nmodel = nn.Linear(2, 3).to(device)\n"
    )
    script = analyse(Workspace.of({"train.py": text}, "train.py"))
    assert len(compose(script, ["shape_mismatch", "wrong_device"], Draw("beside"))) == 2


def test_edits_that_always_overlap_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    script = script_of(few(__name__)[0])
    first = mutator("shape_mismatch").manifestations[0]
    offer = (Offer(first.name, first.since, tuple(first.sites(script))[:1], partial(first.edits, script)),)
    monkeypatch.setattr("mldebug.mutators.compose._offers", lambda script, owner: offer)
    monkeypatch.setattr("mldebug.mutators.compose.TRIES", 3)
    with pytest.raises(NoCompositionError, match="after 3 draws"):
        compose(script, ["shape_mismatch", "wrong_device"], Draw("clash"))
