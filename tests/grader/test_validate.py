"""Proof: what is discarded, with which reason, and what is never taken for a discard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.errors import RunnerError
from mldebug.grader.evidence import Observer
from mldebug.grader.oracles.base import Case, oracles
from mldebug.grader.runner import Limits, Pool
from mldebug.grader.validate import Candidate, passes, validate
from mldebug.mutators.base import bug_classes
from mldebug.mutators.workspace import Workspace

from ..jobs import each_job

NAME = "tabular_classifier"


def clean(name: str = NAME) -> Workspace:
    return Workspace(sources(name), load_job(name).entrypoint)


def with_text(old: str, new: str, name: str = NAME) -> Workspace:
    text = dict(sources(name))["train.py"]
    assert text.count(old) >= 1
    return Workspace.of(dict(sources(name)) | {"train.py": text.replace(old, new)}, "train.py")


def candidate(bug: str, broken: Workspace, reference: Workspace | None = None) -> Candidate:
    return Candidate(load_job(NAME), reference or clean(), broken, {bug: broken}, "cpu", 21, 22)


def test_there_is_an_oracle_for_every_class() -> None:
    assert tuple(oracles()) == bug_classes()


@each_job("name", __name__)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_clean_jobs_pass(name: str, device: str, pool: Pool) -> None:
    spec = load_job(name)
    evidence = Observer(pool.run, spec, device).gather(clean(name), 31, 32)  # type: ignore[arg-type]
    case = Case(spec, evidence, evidence)
    assert passes(case) is None
    assert evidence.altered_labels and len(evidence.runs) == 3
    for oracle in oracles().values():
        finding = oracle(case)
        assert not finding.present and not finding.unclear, finding


HARMLESS = {
    "data_leakage": ("print(f", "print('', end=''); print(f"),
    "gradient_not_zeroed": ("optimizer.step()\n", "optimizer.step()\n        model.zero_grad()\n"),
    "missing_eval_mode": ("model.eval()\n", "model.eval()\n    model.eval()\n"),
    "training_collapse": ("epochs: int = 12", "epochs: int = 13"),
    "shape_mismatch": ("hidden: int = 64", "hidden: int = 60"),
    "wrong_device": ("torch.manual_seed(config.seed)", "torch.manual_seed(config.seed + 1)"),
}


@pytest.mark.parametrize("bug", HARMLESS)
def test_an_equivalent_mutant_is_discarded(bug: str, pool: Pool) -> None:
    found = validate(candidate(bug, with_text(*HARMLESS[bug])), pool.run)
    assert found.discarded is not None and found.discarded.startswith(f"equivalent {bug}")


def test_a_mutant_of_another_class_is_discarded(pool: Pool) -> None:
    broken = with_text("        optimizer.zero_grad()\n", "")
    assert validate(candidate("gradient_not_zeroed", broken), pool.run).ok
    found = validate(candidate("training_collapse", broken), pool.run)
    assert found.discarded is not None and found.discarded.startswith("equivalent training_collapse")


def test_a_mutant_that_is_also_another_bug_is_impure(pool: Pool) -> None:
    broken = with_text("        optimizer.zero_grad()\n", "")
    text = broken.files["train.py"].replace("    model.eval()\n", "")
    both = Workspace.of({"train.py": text}, "train.py")
    found = validate(candidate("gradient_not_zeroed", both), pool.run)
    assert found.discarded is not None and found.discarded.startswith("impure gradient_not_zeroed")


def test_a_broken_reference_discards_everything(pool: Pool) -> None:
    broken = with_text("        optimizer.zero_grad()\n", "")
    found = validate(candidate("gradient_not_zeroed", broken, reference=broken), pool.run)
    assert found.discarded is not None and found.discarded.startswith("reference:")


def test_bugs_that_heal_each_other_are_masked(pool: Pool) -> None:
    one = with_text("        optimizer.zero_grad()\n", "")
    healed = replace(candidate("gradient_not_zeroed", one), broken=clean())
    found = validate(healed, pool.run)
    assert found.discarded is not None and found.discarded.startswith("masked")


def test_a_stopped_run_is_an_error_of_the_machine_and_never_a_discard(pool: Pool) -> None:
    slow = with_text("def main():\n", "def main():\n    import time\n    time.sleep(30)\n")
    with pytest.raises(RunnerError, match=r"stopped \(timeout.*fewer --jobs"):
        validate(candidate("training_collapse", slow, reference=slow), pool.run, Limits(wall_seconds=2))
