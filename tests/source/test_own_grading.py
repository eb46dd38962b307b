"""Submissions to tasks of own scripts: every rung, judged by the trace, and what enemies send."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mldebug.cli import cli, run
from mldebug.errors import UsageError
from mldebug.grader.by_trace.task import OwnTask
from mldebug.grader.grade import Fix, Grader
from mldebug.grader.runner import Pool
from mldebug.grader.verdict import Verdict
from mldebug.grading import any_task_of, submission_files, task_of
from mldebug.mutators.workspace import Workspace
from mldebug.source.factory import OwnRequest, OwnScript
from mldebug.source.folder import read_own
from mldebug.source.task import own_files, own_row, own_task_of_variant

CLEAN = (Path(__file__).parent / "scripts" / "notebook" / "train.py").read_text()
ZERO = "        opt.zero_grad()\n"


def task_with(scripts: Path, bug: str, old: str, new: str) -> OwnTask:
    """The notebook's task with a bug put in by hand, so that a test knows what it repairs."""
    script = OwnScript(read_own(scripts / "notebook"))
    made = own_task_of_variant(script.unverified(OwnRequest.of(bug, 1)))
    assert CLEAN.count(old) == 1
    broken = Workspace.of({"train.py": CLEAN.replace(old, new)}, "train.py")
    return replace(made, broken=broken, job=replace(made.job, timeout=20.0))


@pytest.fixture(scope="module")
def grader(pool: Pool) -> Grader:
    return Grader(pool.run)


@pytest.fixture(scope="module")
def zero_grad(scripts: Path) -> OwnTask:
    return task_with(scripts, "zero_grad", ZERO, "")


@pytest.fixture(scope="module")
def leakage(scripts: Path) -> OwnTask:
    return task_with(scripts, "leakage", "X[train_rows].mean(axis=0)", "X.mean(axis=0)")


def graded(grader: Grader, task: OwnTask, text: str, bugs: str = "") -> Verdict:
    verdict = grader.grade(task, Fix({"train.py": text}, bugs or list(task.bugs)))
    assert verdict.trust == "in_process"
    return verdict


REPLICAS = CLEAN.replace("import csv", "import copy\nimport csv").replace(
    """        pred = model(X_train[batch]).squeeze(1)
        loss = loss_fn(pred, y_train[batch])
        loss.backward()
""",
    """        replica = copy.deepcopy(model)
        pred = replica(X_train[batch]).squeeze(1)
        loss = loss_fn(pred, y_train[batch])
        loss.backward()
        for p, q in zip(model.parameters(), replica.parameters()):
            p.grad = q.grad
""",
)
"""Each batch is differentiated through a model of its own: over the run there are hundreds of them."""

CASES = {
    "the original": (CLEAN, 0.99),
    "set to none by hand": (
        CLEAN.replace(ZERO, "        for p in model.parameters():\n            p.grad = None\n"),
        0.99,
    ),
    "another seed": (CLEAN.replace("torch.manual_seed(0)", "torch.manual_seed(8)"), 0.99),
    "a replica for each batch": (REPLICAS, 0.99),
    "kept replicas": (
        REPLICAS.replace("for epoch", "kept = []\nfor epoch").replace(
            "        pred =", "        kept.append(replica)\n        pred ="
        ),
        0.99,
    ),
    "a far larger model": (CLEAN.replace("4, 16", "4, 400").replace("16, 1)", "400, 1)"), 0.60),
    "untouched": (CLEAN.replace(ZERO, ""), 0.20),
    "only a print": ("print('fixed')\n" + CLEAN.replace(ZERO, ""), 0.20),
    "crashes at once": (CLEAN.replace("opt = torch", "opt = torhc"), 0.20),
    "crashes later": (CLEAN.replace("        opt.step()\n", "        opt.step()\n    1 / 0\n"), 0.40),
    "one epoch": (CLEAN.replace("range(30)", "range(1)"), 0.40),
    "cleared every third batch": (
        CLEAN.replace(ZERO, "        if start % 96 == 0:\n            opt.zero_grad()\n"),
        0.60,
    ),
    "a third of the epochs": (CLEAN.replace("range(30)", "range(10)"), 0.60),
    "another, far worse loss": (CLEAN.replace("lr=0.05", "lr=0.00005"), 0.80),
}


@pytest.mark.parametrize("name", CASES)
def test_the_ladder(grader: Grader, zero_grad: OwnTask, name: str) -> None:
    text, rung = CASES[name]
    verdict = graded(grader, zero_grad, text)
    assert verdict.rung == rung, (name, verdict)
    assert "trace" in verdict.feedback and "gradient" not in verdict.feedback
    assert verdict.solved == (rung == 0.99)


def test_claims_count_as_elsewhere(grader: Grader, zero_grad: OwnTask) -> None:
    assert graded(grader, zero_grad, CLEAN, "eval").rung == 0.01
    assert graded(grader, zero_grad, CLEAN, "zero_grad,eval").rung == 0.01


def test_scales_are_compared_and_not_the_text(grader: Grader, leakage: OwnTask) -> None:
    """The mean is right again in other words, or over rows that it must not read in yet others."""
    right = CLEAN.replace("X[train_rows].mean(axis=0)", "X[perm[:n_train]].sum(axis=0) / n_train")
    assert graded(grader, leakage, right).solved
    unbiased = CLEAN.replace("X[train_rows].std(axis=0)", "X[train_rows].std(axis=0, ddof=1)")
    assert graded(grader, leakage, unbiased).solved
    still = CLEAN.replace("X[train_rows].mean(axis=0)", "(X.sum(axis=0) / len(X))")
    verdict = graded(grader, leakage, still)
    assert verdict.rung in (0.20, 0.60) and verdict.root_cause_fixed == {"data_leakage": False}
    other = CLEAN.replace("X[train_rows].mean(axis=0)", "X.mean(axis=0) + 0.001")
    assert graded(grader, leakage, other).rung == 0.60


POOLED = CLEAN.replace("X[train_rows].mean(axis=0)", "X[train_rows].mean()").replace(
    "X[train_rows].std(axis=0)", "X[train_rows].std()"
)
OTHER_ROWS = ("np.random.seed(0)", "np.random.seed(5)")


def test_a_fix_may_split_the_rows_otherwise(grader: Grader, scripts: Path, tmp_path: Path) -> None:
    """One mean for all columns: those of other rows differ from column to column, and it is theirs still."""
    folder = shutil.copytree(scripts / "notebook", tmp_path / "pooled")
    (folder / "train.py").write_text(POOLED)
    made = own_task_of_variant(OwnScript(read_own(folder)).unverified(OwnRequest.of("leakage", 1)))
    mutant = POOLED.replace("X[train_rows].mean()", "X.mean()")
    task = replace(made, broken=Workspace.of({"train.py": mutant}, "train.py"))
    assert graded(grader, task, POOLED.replace(*OTHER_ROWS)).solved
    assert graded(grader, task, mutant.replace(*OTHER_ROWS)).rung == 0.60
    zero = replace(
        own_task_of_variant(OwnScript(read_own(folder)).unverified(OwnRequest.of("zero_grad", 1))),
        broken=Workspace.of({"train.py": POOLED.replace(ZERO, "")}, "train.py"),
    )
    assert graded(grader, zero, POOLED.replace(*OTHER_ROWS)).solved
    unscaled = POOLED.replace("(X[train_rows] - mu) / sd", "X[train_rows] / 1000")
    assert graded(grader, zero, unscaled).rung == 0.80


def test_what_is_evaluated_must_stay(grader: Grader, leakage: OwnTask) -> None:
    text = CLEAN.split("# %%\nwith torch.no_grad()")[0]
    verdict = graded(grader, leakage, text)
    assert verdict.rung == 0.60 and verdict.problems[0].code == "no evaluation"


HOSTILE = {
    "leaves by os._exit": ("import os\nos._exit(0)\n", 0.40),
    "raises SystemExit": ("raise SystemExit(0)\n", 0.40),
    "takes the hooks away": (
        "import torch\nimport torch.nn.modules.module as m\n"
        "m._global_forward_hooks.clear()\n" + CLEAN.replace(ZERO, ""),
        0.60,
    ),
    "never ends": ("import time\nwhile True:\n    time.sleep(1)\n", 0.40),
    "kills its own process": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", 0.20),
    "a record of its own": (
        "import json, os\nos.pwrite(3, json.dumps({'losses': []}).encode(), 0)\nos._exit(0)\n",
        0.40,
    ),
    "does not parse": ("def f(:\n", 0.20),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_submissions_are_bounded(grader: Grader, zero_grad: OwnTask, name: str) -> None:
    text, most = HOSTILE[name]
    task = replace(zero_grad, job=replace(zero_grad.job, timeout=8.0)) if "never" in name else zero_grad
    verdict = graded(grader, task, text)
    assert verdict.rung <= most and not verdict.solved, verdict


@pytest.mark.parametrize("name", ["houses.csv", "../x.py", "/etc/x.py", "train.py/x.py", "houses.csv/x.py"])
def test_a_submission_may_not_bring_the_data(grader: Grader, zero_grad: OwnTask, name: str) -> None:
    verdict = grader.grade(zero_grad, Fix({"train.py": CLEAN, name: "x"}, ["zero_grad"]))
    assert verdict.rung == 0.20 and verdict.problems[0].code == "unusable submission"


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def test_a_task_is_the_same_from_a_variant_a_row_and_a_folder(scripts: Path, tmp_path: Path) -> None:
    made = OwnScript(read_own(scripts / "notebook")).unverified(OwnRequest.of("shape", 2))
    folder = written(tmp_path / "task", own_files(made))
    row = json.loads(json.dumps(own_row(made)))
    assert any_task_of(made) == any_task_of(row) == any_task_of(str(folder))
    for source in (made, row, str(folder)):
        with pytest.raises(UsageError, match="somebody's own"):
            task_of(source)
    (folder / "workspace" / "net.pt").write_bytes(b"\xff\x00 what a run wrote")
    assert set(submission_files(folder / "workspace", any_task_of(folder))) == {"train.py"}
    (folder / "workspace" / "houses.csv").write_text("changed")
    with pytest.raises(UsageError, match=r"houses\.csv is not the file that the task was made with"):
        any_task_of(folder)


def test_the_command(scripts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = OwnScript(read_own(scripts / "notebook")).unverified(OwnRequest.of("zero_grad", 2))
    folder = written(tmp_path / "task", own_files(made))
    line = ["grade", str(folder), "--submission", str(folder / "solution" / "reference"), "--json"]
    assert run([*line, "--bugs", "zero_grad"], cli, "mldebug") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["solved"] and verdict["trust"] == "in_process" and "trace" in verdict["feedback"]
    assert verdict["metric"]["final_loss"] == verdict["metric"]["original"]


def test_training_in_evaluation_mode_is_another_job(scripts: Path, grader: Grader) -> None:
    noisy = CLEAN.replace("Tanh(),", "Tanh(),\n    torch.nn.Dropout(0.2),")
    right = noisy.replace("with torch.no_grad", "model.eval()\nwith torch.no_grad")
    made = task_with(scripts, "zero_grad", ZERO, "")
    broken, reference = (Workspace.of({"train.py": text}, "train.py") for text in (noisy, right))
    task = replace(made, bugs=("missing_eval_mode",), broken=broken, reference=reference)
    assert graded(grader, task, right).rung == 0.99
    never = graded(grader, task, noisy.replace("opt = torch", "model.eval()\nopt = torch"))
    assert never.rung == 0.60 and never.record()["problems"][0]["code"] == "evaluation mode"
