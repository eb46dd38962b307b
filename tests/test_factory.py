"""The engine's promises: same request, same bytes; only declared spans differ; everything compiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug import factory
from mldebug.clean_scripts.library import job_names
from mldebug.errors import NoSiteError, NoValidVariantError, UsageError
from mldebug.factory import Request, Variant, drawn_script, generate, unverified
from mldebug.mutators.base import bug_classes
from mldebug.mutators.workspace import check_python
from mldebug.seeds import Draw
from mldebug.task_folder import canonical_json, folder_files, json_row

FEW = job_names()[:: len(job_names()) // 2][:2]
"""Making a base takes most of a second, once: what does not depend on the job looks at few."""
BUG_SETS = [tuple(names) for size in (1, 2, 3) for names in combinations(bug_classes(), size)]
REQUESTS = st.builds(
    Request,
    bugs=st.sampled_from(BUG_SETS),
    seed=st.integers(0, 2**40),
    index=st.integers(0, 1000),
    script=st.sampled_from(FEW),
)


@given(REQUESTS)
def test_a_variant_compiles_and_differs_only_inside_its_declared_spans(request: Request) -> None:
    variant = unverified(request)
    assert variant.bugs == request.bugs == tuple(one.bug_class for one in variant.injections)
    assert variant.script == request.script and not variant.verified and variant.alert is None
    edits = [edit for one in variant.injections for edit in one.edits]
    assert edits
    for name, broken in variant.files.items():
        check_python(name, broken)
        reference = variant.reference[name].encode()
        rest = broken.encode()
        position = 0
        for edit in sorted(one for one in edits if one.file == name):
            untouched, replacement = reference[position : edit.start], edit.replacement.encode()
            assert rest.startswith(untouched + replacement)
            rest = rest[len(untouched) + len(replacement) :]
            position = edit.end
        assert rest == reference[position:]
    assert variant.files != variant.reference


@given(st.lists(REQUESTS, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_a_variant_does_not_depend_on_what_was_made_before(requests: list[Request], random: object) -> None:
    first = {request: canonical_json(json_row(unverified(request))) for request in requests}
    for request in sorted(requests, key=lambda one: hash((one, str(random))), reverse=True):
        assert canonical_json(json_row(unverified(request))) == first[request]


PROBE = """
import json, sys
from mldebug.factory import Request, unverified
requests = [Request(tuple(one.pop("bugs")), **one) for one in json.load(sys.stdin)]
print(json.dumps([unverified(request).id for request in requests]))
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1"},
        {"PYTHONHASHSEED": "31337", "ATEN_CPU_CAPABILITY": "default", "NPY_DISABLE_CPU_FEATURES": "X86_V4"},
    ],
)
def test_another_process_order_folder_and_hash_seed_give_the_same_ids(
    environment: dict[str, str], tmp_path: Path
) -> None:
    requests = [Request(bugs, seed=number) for number, bugs in enumerate(BUG_SETS)][::6]
    asked = json.dumps([vars(request) for request in reversed(requests)])
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=asked,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [unverified(request).id for request in reversed(requests)]


def test_variants_of_one_seed_are_different_and_the_script_asked_for_changes_nothing_else() -> None:
    made = [unverified(Request(("shape_mismatch",), 7, index)) for index in range(16)]
    assert len({one.id for one in made}) == 16
    assert len({one.script for one in made}) >= 5
    for one in made[:6]:
        assert unverified(Request(one.bugs, one.seed, one.index, one.script)) == one


def test_a_script_that_the_library_gains_takes_its_share_and_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A release goes on with the variants it had, but for those on new scripts."""
    roots = [Draw("a library that grows", index) for index in range(300)]
    request, names = Request(("shape_mismatch",), 7), job_names()
    before = [drawn_script(request, root) for root in roots]
    gone = names[1]
    monkeypatch.setattr(factory, "job_names", lambda: tuple(name for name in names if name != gone))
    after = [drawn_script(request, root) for root in roots]
    assert all(one == other for one, other in zip(before, after, strict=True) if one != gone)
    shares = Counter(before)
    assert set(shares) == set(names) and shares[gone] > 0
    assert max(shares.values()) < 3 * len(roots) / len(names) and gone not in after


def test_structure_varies() -> None:
    some = job_names()[:: len(job_names()) // 3][:3]
    made = [
        unverified(Request((bug,), seed, script=some[seed % 3]))
        for bug in bug_classes()
        for seed in range(30)
    ]
    for bug in bug_classes():
        ways = {one.injections[0].manifestation for one in made if one.bugs == (bug,)}
        assert len(ways) >= 4, (bug, ways)
    assert len({one.style for one in made}) == 32
    assert len({next(iter(one.reference.values())) for one in made}) >= 55


def test_the_accelerator_is_on_for_about_half_of_the_tasks_without_a_device_bug() -> None:
    def devices(bug: str, seeds: int) -> list[str]:
        return [unverified(Request((bug,), seed, script=FEW[0])).device for seed in range(seeds)]

    assert 70 <= devices("data_leakage", 200).count("cuda") <= 130
    assert set(devices("wrong_device", 20)) == {"cuda"}


def test_nothing_an_agent_can_see_names_the_bug() -> None:
    for bugs in BUG_SETS[:21]:
        variant = unverified(Request(bugs, 3, script=FEW[1]))
        seen = {
            name: content
            for name, content in folder_files(variant).items()
            if not name.startswith("solution")
        }
        assert set(seen) == {
            "task.json",
            *(f"workspace/{name}" for name in (*variant.files, *variant.data_files())),
        }
        text = seen["task.json"].decode()
        for word in (*bugs, variant.script, "seed", *(one.manifestation for one in variant.injections)):
            assert word not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bugs": "shape,shapes"}, "unknown bug class 'shapes'"),
        ({"bugs": "shape,shape_mismatch"}, "asked for twice"),
        ({"bugs": ""}, "unknown bug class ''"),
        ({"bugs": "shape,compound_shape_device"}, "asked for twice"),
        ({"bugs": "shape", "script": "resnet"}, "unknown script 'resnet'"),
        ({"bugs": "shape", "seed": -1}, "seed must be an integer from 0 on"),
        ({"bugs": "shape", "seed": "7"}, "seed must be an integer from 0 on"),
        ({"bugs": "shape", "seed": True}, "seed must be an integer from 0 on"),
        ({"bugs": "shape", "index": -3}, "index must be an integer from 0 on"),
    ],
)
def test_bad_requests_say_what_was_wrong(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate(**({"seed": 1, "verify": False} | arguments))  # type: ignore[arg-type]


def test_names_may_be_short_long_or_compound() -> None:
    same = ["shape,device", ["wrong_device", "shape"], "compound_shape_device"]
    assert {Request.of(names, 1) for names in same} == {Request(("shape_mismatch", "wrong_device"), 1)}


def test_a_set_that_no_script_can_host_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        factory,
        "hosted",
        lambda name, engine="": frozenset(["shape_mismatch"] if name == "glyph_cnn" else ()),
    )
    with pytest.raises(NoSiteError, match="no script can host data_leakage, shape_mismatch together"):
        generate("shape,leakage", 1, verify=False)
    with pytest.raises(
        NoSiteError, match=r"machine_gru has no sites for shape_mismatch.*these can: glyph_cnn"
    ):
        generate("shape", 1, script="machine_gru", verify=False)


def test_no_valid_variant_counts_its_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        factory, "validate", lambda candidate, run: factory.Validation("equivalent x: no effect")
    )
    with pytest.raises(NoValidVariantError, match=r"16 × equivalent x.*try another seed") as caught:
        factory.verified(Request(("shape_mismatch",), 1, script=FEW[0]), None)
    assert caught.value.reasons == {"equivalent x": factory.ATTEMPTS}


def test_the_variant_is_a_value() -> None:
    one, two = (generate("eval", 5, verify=False) for _ in range(2))
    assert isinstance(one, Variant) and one == two and one.id == two.id and len(one.id) == 16
