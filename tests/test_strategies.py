"""The public strategies: what they draw, what that shrinks to, and that rewrites change nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from mldebug.clean_scripts.data import data_files
from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.errors import NoSiteError, UsageError
from mldebug.factory import Request, Variant, unverified
from mldebug.grader.evidence import job_data
from mldebug.grader.runner import PREDICTIONS, Device, Pool, RunRequest
from mldebug.mutators.base import bug_classes
from mldebug.mutators.rewrites import REWRITES, Amount, Choice, rewrite_all
from mldebug.mutators.workspace import check_python
from mldebug.seeds import Draw
from mldebug.strategies import KINDS, Submission, bug_sets, equivalent_rewrites, submissions, variants

from .jobs import DEEP, each_job

EXECUTED = 60 if DEEP else 1
"""Rewritten workspaces of each clean job, and of each class of mutants, that are run."""

FEW = settings(max_examples=200 if DEEP else 3)
"""For examples that cost a second each: another set of classes, another style of a script to be analysed."""

QUICK = settings(max_examples=30, phases=[Phase.generate, Phase.shrink])
ONE = settings(max_examples=1, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
T = TypeVar("T")

ODD_JOB = """\
from __future__ import annotations
import json, os; import numpy as np
import torch, torch.nn.functional as F
from torch import nn as layers
from torch.nn import functional

WIDTH = hidden = 16; RATE = .02
class Config(dict):
    def __getattr__(self, key): return self[key]
    __setattr__ = dict.__setitem__
config = Config(rate=RATE, epochs=4, batch=64)
def scaled(a, *, mean, std, out=None): return np.float32((a - mean) / std)
class Net(layers.Module):
    width = WIDTH
    def __init__(self, inputs, classes, *, width=None, **rest):
        super().__init__()
        width = width or self.width
        self.first, self.last = layers.Linear(inputs, width), layers.Linear(width, classes)
        for name, value in rest.items(): setattr(self, name, value)
    def forward(self, x):
        return getattr(self, "last")(functional.dropout(F.relu(self.first(x)), self.p, self.training))
step = 0
def batches(n, size=64, rng=np.random.default_rng(seed=3)):
    order = rng.permutation(n); i = 0
    while True:
        if i >= n: return
        yield torch.from_numpy(order[i:i + size])
        i += size
def main(data={key: value for key, value in np.load("data/train.npz").items()}):
    global step
    torch.manual_seed(0)
    rows, x, y = (data[key] for key in ("row", "features", "label"))
    ids = np.random.default_rng(1).permutation(len(rows)); cut = len(rows) // 5
    held, used = ids[:cut], ids[cut:]
    stats = dict(mean=x[used].mean(0), std=x[used].std(0))
    score = np.load("data/score.npz")["features"]
    x, score = (torch.from_numpy(scaled(part, **stats)) for part in (x, score))
    y = torch.from_numpy(y)
    model = Net(x.shape[1], classes=int(y.max()) + 1, p=0.1, width=hidden if hidden else 8)
    opt = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=0.01, eps=1e-8)
    best, patience = None, 0
    for epoch in range(config.epochs):
        model.train(); total = 0.
        for pick in batches(len(used), size=config.batch):
            opt.zero_grad(set_to_none=True)
            (loss := F.cross_entropy(model(x[used][pick]), y[used][pick], reduction='mean')).backward()
            opt.step(); total += loss.item(); step += 1
        model.eval()
        with torch.no_grad(): wrong = (model(x[held]).argmax(1) != y[held]).float().mean().item()
        if best is None or wrong < best: best, patience = wrong, 0
        else:
            patience += 1
        print(f"{epoch=} {step = :4d} {total:.3f}", 'wrong', f'{wrong:.2%}', locals().get("patience") is None)
    with torch.no_grad():
        np.savez("predictions.npz", row=rows[held],
                 output=model(x[held]).numpy(), score=model(score).numpy())
    json.dump({"final": {"wrong": best}}, open("metrics.json", "w"))
if __name__ == "__main__": main()
"""
"""An honest job as others write them: globals, `setattr`, semicolons, a mutable default, one-line suites."""

WITHOUT_REFLECTION = {
    ', locals().get("patience") is None': "",
    "__getattr__": "get",
    "config.rate": "config['rate']",
    "config.epochs": "config['epochs']",
    "config.batch": "config['batch']",
}
ODD_JOBS = {"odd": ODD_JOB, "odd, names free": ODD_JOB}
for old, new in WITHOUT_REFLECTION.items():
    ODD_JOBS["odd, names free"] = ODD_JOBS["odd, names free"].replace(old, new)
"""The second one sees no names as text, so that they may change."""


@cache
def tabular_data() -> dict[str, bytes]:
    return data_files(job_data(load_job("tabular_classifier"), 5))


@cache
def clean(name: str) -> tuple[dict[str, str], str, dict[str, bytes]]:
    spec = load_job(name)
    return dict(sources(name)), spec.entrypoint, data_files(job_data(spec, 5))


def left_behind(
    pool: Pool, files: Mapping[str, str], entrypoint: str, data: Mapping[str, bytes], device: Device
) -> dict[str, Any]:
    """All that a run leaves: the bytes of its artifacts, what it prints, and what the trace saw inside."""
    everything = {path: text.encode() for path, text in files.items()} | dict(data)
    result = pool.run(RunRequest(everything, entrypoint, device=device))
    trace = dict(result.trace or {})
    exception = trace.get("exception") or {}
    return {
        "outcome": (result.outcome, result.exit_code),
        "artifacts": dict(result.artifacts),
        "stdout": result.stdout,
        "steps": trace.get("optimizer_steps"),
        "losses": trace["losses_digest"],
        "parameters": trace.get("parameters_digest"),
        "exception": (exception.get("type"), exception.get("message")),
    }


def steps(draw: Draw) -> list[Any]:
    amounts: tuple[Amount, ...] = ("one", "some", "all")
    count = 1 + draw.below(6, "count")
    return [
        (
            draw.choose(REWRITES, "rewrite", i),
            Choice(draw.child(i), draw.choose(amounts, "amount", i)),
        )
        for i in range(count)
    ]


# -- variants ----------------------------------------------------------------------------------------------


@FEW
@given(variants())
def test_a_variant_compiles_and_is_what_its_request_gives(variant: Variant) -> None:
    assert 1 <= len(variant.bugs) <= 3 and not variant.verified
    for path, text in variant.files.items():
        check_python(path, text)
    assert variant == unverified(Request(variant.bugs, variant.seed, variant.index, variant.script))


@FEW
@given(
    variants(
        bugs=st.sets(st.sampled_from(["leakage", "eval"]), min_size=1),
        scripts=st.sampled_from(["glyph_cnn", ["glyph_cnn", "machine_gru"]]),
    )
)
def test_bugs_and_scripts_can_be_given(variant: Variant) -> None:
    assert set(variant.bugs) <= {"data_leakage", "missing_eval_mode"}
    assert variant.script in {"glyph_cnn", "machine_gru"}


def test_variants_shrink_to_the_first_script_seed_0_and_a_single_class() -> None:
    assert bug_sets()[: len(bug_classes())] == tuple((bug,) for bug in bug_classes())
    sets = st.sampled_from(["leakage", "eval", "leakage,eval"])
    first = find(variants(bugs=sets), lambda _: True, settings=QUICK)
    assert (first.seed, first.index, first.bugs) == (0, 0, ("data_leakage",))
    assert first.script == job_names()[0]
    pair = find(variants(bugs=sets), lambda one: len(one.bugs) == 2, settings=QUICK)
    assert (pair.seed, pair.index, pair.script) == (0, 0, job_names()[0])


def test_the_same_hypothesis_seed_draws_the_same_examples() -> None:
    def examples() -> list[Submission]:
        found: list[Submission] = []

        @seed(20)
        @settings(
            max_examples=4, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @given(submissions(variants(bugs="eval", scripts="machine_gru"), ["untouched", "garbage", "swapped"]))
        def collect(submission: Submission) -> None:
            found.append(submission)

        collect()
        return found

    one, two = examples(), examples()
    assert one == two and len({submission.variant.seed for submission in one}) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bugs": "shapes"}, "unknown bug class"),
        ({"bugs": ["shape", "shape_mismatch"]}, "asked for twice"),
        ({"scripts": "resnet"}, "unknown script"),
        ({"scripts": []}, "scripts is empty"),
    ],
)
def test_a_wrong_request_is_an_error_before_anything_is_drawn(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        variants(**arguments)


def test_what_no_script_can_host_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mldebug.strategies.hosted", lambda script: frozenset())
    with pytest.raises(NoSiteError, match=r"none of .* can host shape_mismatch"):
        find(variants(bugs="shape"), lambda _: True)


def test_a_verified_variant_was_executed(pool: Pool) -> None:
    strategy = variants(bugs="leakage", scripts="tabular_classifier", verified=True, pool=pool)
    variant = one_of(strategy)
    assert variant.verified and variant.alert
    made = {kind: one_of(submissions(variant, [kind])).expected for kind in KINDS if kind != "partial"}
    assert made["reference"] is made["rewritten_reference"] is True
    assert made["untouched"] is made["rewritten_untouched"] is made["garbage"] is made["swapped"] is False
    assert made["other_bug"] is None


# -- submissions -------------------------------------------------------------------------------------------


def one_of(strategy: st.SearchStrategy[T]) -> T:
    """One example."""
    found: list[T] = []

    @ONE
    @given(strategy)
    def take(example: T) -> None:
        found.append(example)

    take()
    return found[-1]


@FEW
@given(submissions(variants(bugs=st.sampled_from(["leakage", "leakage,eval"]))))
def test_a_submission_is_what_its_kind_says(submission: Submission) -> None:
    variant, files = submission.variant, submission.files
    assert submission.kind in KINDS and variant.entrypoint in files
    if submission.kind == "untouched":
        assert files == variant.files and submission.fixed == ()
    elif submission.kind == "reference":
        assert files == variant.reference and submission.fixed == variant.bugs
    elif submission.kind == "partial":
        assert files not in (variant.files, variant.reference)
        assert 0 < len(submission.fixed) < len(variant.bugs)
    elif submission.kind in ("garbage", "swapped"):
        assert files[variant.entrypoint] not in (
            variant.files[variant.entrypoint],
            variant.reference[variant.entrypoint],
        )
        assert submission.expected is False
    elif submission.kind == "other_bug":
        assert files not in (variant.files, variant.reference) and submission.fixed == variant.bugs
    if submission.kind != "garbage":
        for path, text in files.items():
            check_python(path, text)
    if submission.kind not in ("garbage", "swapped"):
        assert submission.expected is None, "nobody has executed this variant"


@FEW
@given(variants(bugs=st.sampled_from(["leakage,eval", "device,leakage,eval"])), st.data())
def test_a_partial_fix_leaves_the_edits_of_some_bugs(variant: Variant, data: st.DataObject) -> None:
    partial = data.draw(submissions(variant, ["partial"]))
    left = set(variant.bugs) - set(partial.fixed)
    touched = {edit for one in variant.injections if one.bug_class in left for edit in one.edits}
    length = sum(len(text.encode()) for text in variant.reference.values())
    grown = sum(len(edit.replacement.encode()) - (edit.end - edit.start) for edit in touched)
    assert sum(len(text.encode()) for text in partial.files.values()) == length + grown
    assert f"still there: {', '.join(sorted(left))}" == partial.remark


def test_every_kind_is_drawn_and_the_plainest_is_what_it_shrinks_to() -> None:
    variant = unverified(Request(("data_leakage", "missing_eval_mode"), 3))
    assert [one_of(submissions(variant, [kind])).kind for kind in KINDS] == list(KINDS)
    plainest = find(submissions(variant), lambda _: True, settings=QUICK)
    assert plainest.kind == "untouched" and len(repr(plainest)) < 300


def test_kinds_are_checked() -> None:
    variant = unverified(Request(("data_leakage",), 3))
    with pytest.raises(UsageError, match="unknown kinds"):
        submissions(variant, ["fixed"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="choose one or more"):
        submissions(variant, [])


# -- rewrites ----------------------------------------------------------------------------------------------


@FEW
@given(st.sampled_from(job_names()).flatmap(lambda name: st.tuples(st.just(name), rewrites_of(name))))
def test_rewrites_of_a_job_are_python_in_the_same_files(drawn: tuple[str, dict[str, str]]) -> None:
    name, new = drawn
    assert new.keys() == clean(name)[0].keys()
    for path, text in new.items():
        check_python(path, text)


def rewrites_of(name: str) -> st.SearchStrategy[dict[str, str]]:
    return equivalent_rewrites(*clean(name)[:2])


def test_rewrites_shrink_to_a_single_one() -> None:
    files = {"train.py": "x = 1\n\n\n\ndef f():\n    return x\n"}
    new = find(
        equivalent_rewrites(files), lambda one: "f()" in one["train.py"] and one != files, settings=QUICK
    )
    old, changed = files["train.py"].split(), new["train.py"].split()
    assert old == changed, "only blank lines, the first of all rewrites"


@given(equivalent_rewrites({"train.py": "def f(:\n", "data.txt": "x"}))
def test_what_does_not_parse_comes_back_unchanged(files: dict[str, str]) -> None:
    assert files == {"train.py": "def f(:\n", "data.txt": "x"}


def workspace(name: str) -> tuple[dict[str, str], str, dict[str, bytes]]:
    if name in job_names():
        return clean(name)
    return {"train.py": ODD_JOBS[name]}, "train.py", tabular_data()


@each_job("name", __name__, *ODD_JOBS)
def test_rewritten_jobs_leave_the_same_bits(name: str, pool: Pool) -> None:
    files, entrypoint, data = workspace(name)
    wanted = left_behind(pool, files, entrypoint, data, "cpu")
    assert wanted["outcome"] == ("ok", 0) and PREDICTIONS in wanted["artifacts"] and wanted["stdout"]
    part = REWRITES if DEEP else REWRITES[[*job_names(), *ODD_JOBS].index(name) % 3 :: 3]
    made = [[(one, Choice(Draw("together", name, one.name), "some")) for one in part]]
    made += [steps(Draw("executed", name, number)) for number in range(EXECUTED)]
    for several in made:
        new = rewrite_all(files, entrypoint, several)
        assert new != files or len(several) < len(part)
        assert left_behind(pool, new, entrypoint, data, "cpu") == wanted, several


@pytest.mark.parametrize("bug", bug_classes() if DEEP else ["shape_mismatch", "wrong_device"])
def test_rewritten_mutants_fail_the_same_way(bug: str, pool: Pool) -> None:
    for number in range(EXECUTED):
        variant = unverified(Request((bug,), 40 + number))
        several = steps(Draw("mutants", bug, number))
        new = rewrite_all(variant.files, variant.entrypoint, several)
        runs = [
            left_behind(pool, files, variant.entrypoint, variant.data_files(), variant.device)
            for files in (variant.files, new)
        ]
        assert runs[0] == runs[1], several


# -- installation ------------------------------------------------------------------------------------------


def test_without_hypothesis_the_import_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try: import mldebug.strategies\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'mldebug[test]'" in done.stdout
