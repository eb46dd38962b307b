"""Verdicts on submissions, executed: the ladder from its lowest rung to its highest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.grader.evidence import Observer, job_data
from mldebug.grader.grade import Fix, Grader
from mldebug.grader.judge import OfflineJudge
from mldebug.grader.record import SHAPE, well_formed
from mldebug.grader.runner import Limits, Pool
from mldebug.grader.verdict import Verdict
from mldebug.grading import task_of_row
from mldebug.mutators.base import bug_classes

from ..written import rows, task


@pytest.fixture(scope="module")
def grader(pool: Pool) -> Grader:
    return Grader(pool.run, judge=OfflineJudge())


def judged(grader: Grader, name: str, text: str | None = None, **options: object) -> Verdict:
    """The verdict on an entry point (None: the reference) for a task, with the right claim."""
    row = rows()[name]
    files = row["reference"] if text is None else {row["entrypoint"]: text}
    return grader.grade(task(name), Fix(files, row["bugs"], **options))  # type: ignore[arg-type]


def reference(name: str) -> str:
    return str(rows()[name]["reference"]["train.py"])


def changed(name: str, before: str, after: str) -> str:
    text = reference(name)
    assert before in text
    return text.replace(before, after)


NAME = "zero_grad-tabular-1"


def test_the_reference_is_solved_and_the_untouched_job_is_not(grader: Grader) -> None:
    row = rows()[NAME]
    best = judged(grader, NAME)
    assert (best.rung, best.solved, best.trust, best.claim) == (0.99, True, "replayed", "right")
    untouched = grader.grade(task(NAME), Fix(row["files"], row["bugs"]))
    assert (untouched.rung, untouched.untouched) == (0.20, True)
    assert untouched.root_cause_fixed == {"gradient_not_zeroed": False}


def test_strict_seed_scoring_pays_a_silent_bug_060(pool: Pool) -> None:
    row = rows()[NAME]
    strict = Grader(pool.run, judge=OfflineJudge(), strict_seed_scoring=True)
    assert strict.grade(task(NAME), Fix(row["files"], row["bugs"])).rung == 0.60


def test_wrong_and_partial_claims(grader: Grader) -> None:
    files = rows()[NAME]["reference"]
    for claim in (["shape"], list(bug_classes()), [], "nonsense"):
        verdict = grader.grade(task(NAME), Fix(files, claim))
        assert (verdict.rung, verdict.claim, verdict.solved) == (0.01, "wrong", False)
    compound = "eval-zero_grad-tabular-1"
    verdict = grader.grade(task(compound), Fix(rows()[compound]["reference"], ["eval"]))
    assert (verdict.rung, verdict.claim) == (0.60, "partial")


def test_a_fix_is_not_taken_for_the_broken_job_where_both_happen_to_choose_alike(
    grader: Grader, pool: Pool
) -> None:
    """A job that selects its checkpoint on test rows, on hidden data that select the same one either way."""
    row = json.loads((Path(__file__).parent / "coinciding.jsonl").read_text())
    alike = task_of_row(row)
    observer = Observer(pool.run, alike.spec, alike.device)
    outputs = [
        observer.observe(one, job_data(alike.spec, alike.hidden_seed)).outputs
        for one in (alike.broken, alike.reference)
    ]
    assert outputs[0] is not None and outputs[0].same_as(outputs[1])
    assert grader.grade(alike, Fix(row["reference"], row["bugs"])).rung == 0.99
    other = {name: text + "\nprint()\n" for name, text in row["reference"].items()}
    assert grader.grade(alike, Fix(other, row["bugs"])).rung == 0.99
    untouched = grader.grade(alike, Fix(row["files"], row["bugs"]))
    assert (untouched.rung, untouched.untouched) == (0.20, True)


def test_one_of_two_bugs_fixed_is_not_solved(grader: Grader) -> None:
    name = "eval-leakage-glyph-1"
    row = rows()[name]
    broken, whole = row["files"]["train.py"], row["reference"]["train.py"]
    half = broken.replace(".train()", ".eval()", 2) if ".eval()" not in broken else broken
    for text in {broken, half, whole} - {whole}:
        assert judged(grader, name, text).rung <= 0.60


def test_feedback_never_names_a_class(grader: Grader) -> None:
    for name in ("eval-tabular-1", "leakage-machine-2", "device-glyph-1", "shape-machine-1", NAME):
        row = rows()[name]
        for files in (row["files"], row["reference"]):
            feedback = grader.grade(task(name), Fix(files, row["bugs"])).feedback
            assert not any(bug in feedback for bug in bug_classes())
            assert not any(word in feedback for word in ("leak", "eval mode", "zero_grad"))


def test_a_verdict_is_json(grader: Grader) -> None:
    record = judged(grader, NAME).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    for key in ("score", "rung", "solved", "root_cause_fixed", "trust", "feedback", "seconds"):
        assert key in record


def test_a_diagnosis_adds_only_to_what_is_solved(grader: Grader) -> None:
    words = (
        "optimizer.zero_grad() was never called in train_one_epoch, so gradients of earlier batches "
        "accumulate in .grad and each step uses a stale sum. I clear them before every backward."
    )
    best = judged(grader, NAME, diagnosis=words)
    assert best.judgement is not None and 0 < best.bonus <= 0.15
    assert best.score == pytest.approx(0.99 + best.bonus)
    row = rows()[NAME]
    lost = grader.grade(task(NAME), Fix(row["files"], row["bugs"], words))
    assert lost.judgement is None and lost.score == lost.rung


LOW: dict[str, tuple[str, str, float]] = {
    "no Python": ("def (", "crash", 0.20),
    "empty": ("", "no training", 0.40),
    "says so": ("print('all tests passed, accuracy 0.99')", "no training", 0.40),
    "raises": ("raise SystemExit(3)", "crash", 0.20),
    "ends early": ("import os; os._exit(0)", "early exit", 0.40),
    "kills itself": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed", 0.20),
    "recurses": ("def f(): f()\nf()", "crash", 0.20),
}


@pytest.mark.parametrize("name", LOW)
def test_low_rungs(grader: Grader, name: str) -> None:
    text, code, rung = LOW[name]
    verdict = judged(grader, NAME, text)
    assert (verdict.rung, verdict.problems[0].code) == (rung, code)
    assert not verdict.solved and verdict.feedback


def test_a_job_that_does_not_end_is_stopped(pool: Pool) -> None:
    brief = Grader(pool.run, judge=OfflineJudge(), limits=Limits(wall_seconds=8.0))
    _ = brief.grade(task(NAME), Fix(rows()[NAME]["reference"], rows()[NAME]["bugs"]))
    verdict = judged(brief, NAME, "while True: pass")
    assert (verdict.rung, verdict.problems[0].code) == (0.40, "timeout")


def spoiled(kind: str) -> str:
    text = reference(NAME)
    if kind == "metrics missing":
        return text + "\nimport os\nos.remove('metrics.json')\n"
    if kind == "data changed":
        return text + "\nopen('data/score.npz', 'wb').close()\n"
    if kind == "no predictions":
        return text + "\nimport os\nos.remove('predictions.npz')\n"
    edits = {
        "duplicate ids": "row[1] = row[0]",
        "foreign ids": "row = row + 1_000_000",
        "not finite": "score[0, 0] = float('nan')",
        "few held-out rows": "row, output = row[:9], output[:9]",
        "wrong shape": "score = score[:7]",
        "wrong dtype": "score = score.astype(complex)",
    }
    return (
        text
        + f"""
with np.load("predictions.npz") as saved:
    row, output, score = saved["row"], saved["output"], saved["score"]
{edits[kind]}
np.savez("predictions.npz", row=row, output=output, score=score)
"""
    )


@pytest.mark.parametrize(
    "kind",
    [
        "metrics missing",
        "data changed",
        "no predictions",
        "duplicate ids",
        "foreign ids",
        "not finite",
        "few held-out rows",
        "wrong shape",
        "wrong dtype",
    ],
)
def test_spoiled_artifacts_have_a_verdict_of_their_own(grader: Grader, kind: str) -> None:
    verdict = judged(grader, NAME, spoiled(kind))
    codes = [problem.code for problem in verdict.problems]
    wanted = {"no predictions": "predictions missing"}
    assert verdict.rung in (0.60, 0.80)
    assert wanted.get(kind, kind) in codes


def test_an_unseeded_generator_is_no_leak(grader: Grader) -> None:
    text, replaced = re.subn(r"default_rng\(\w+\)", "default_rng()", reference("leakage-tabular-1"))
    assert replaced
    assert judged(grader, "leakage-tabular-1", text).rung == 0.99


def test_what_differs_from_run_to_run_is_called_that(grader: Grader) -> None:
    text = "import time\nimport torch\n" + reference("leakage-tabular-1")
    text = text.replace("torch.manual_seed(", "torch.manual_seed(time.time_ns() % 10**9 + 0 * ")
    verdict = judged(grader, "leakage-tabular-1", text)
    assert "nondeterministic" in [problem.code for problem in verdict.problems]
    assert verdict.rung <= 0.60


def test_the_same_submission_gets_the_same_verdict_in_any_order(grader: Grader, pool: Pool) -> None:
    names = ["eval-tabular-2", NAME, "shape-tabular-1"]
    pairs = [
        (task(name), Fix(rows()[name][part], rows()[name]["bugs"]))
        for name in names
        for part in ("files", "reference")
    ]

    def brief(verdict: Verdict) -> tuple[object, ...]:
        return verdict.rung, verdict.trust, verdict.feedback, [str(one) for one in verdict.problems]

    first = [brief(one) for one in grader.grade_many(pairs)]
    fresh = Grader(pool.run, judge=OfflineJudge())
    second = [brief(one) for one in fresh.grade_many(reversed(pairs), jobs=2)]
    assert first == second[::-1]


FORGED = """
import gc, mldebug.grader.trace
recorders = [one for one in gc.get_objects() if type(one).__name__ == "Recorder"]
assert recorders
for recorder in recorders:
    recorder.stop = lambda: RECORD
"""


@pytest.mark.parametrize(
    "record",
    [
        "{}",
        "{'swallowed': 0}",
        "dict(recorder.record or {}, optimizer_steps='many')",
        "dict.fromkeys(['losses', 'devices', 'mixture', 'exception', 'eval_forwards', 'swallowed'], 7)",
    ],
)
def test_a_record_that_was_forged_out_of_shape_is_no_record(grader: Grader, record: str) -> None:
    text = reference(NAME) + FORGED.replace("RECORD", record).replace(", mldebug.grader.trace", "")
    verdict = judged(grader, NAME, text)
    assert verdict.rung <= 0.60 and verdict.feedback


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.floats(), lambda one: st.lists(one, max_size=3)
    )
)
def test_whatever_stands_in_a_record_it_is_whole_or_none(value: object) -> None:
    for name in SHAPE:
        assert well_formed({name: value}) is None
    assert well_formed(None) is None


def test_a_grader_may_keep_what_it_found(pool: Pool) -> None:
    known = task("shape-tabular-1")
    fix = Fix(dict(known.reference.files) | {"extra.py": "# new\n"}, known.bugs)
    grader = Grader(pool.run, judge=OfflineJudge(), keep_rulings=1)
    first, again = grader.grade(known, fix), grader.grade(known, fix)
    assert first.runs > 0 and again.runs == 0
    assert again.record() | {"seconds": 0, "runs": 0} == first.record() | {"seconds": 0, "runs": 0}
    assert grader.grade(known, Fix(fix.files, ["eval"])).rung == 0.01
    grader.grade(known, Fix({known.broken.entrypoint: "import sys\nsys.exit(1)\n"}, known.bugs))
    assert grader.grade(known, fix).runs > 0
