"""The calibration of bands, with runs whose scores are made up."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mldebug.clean_scripts.alternatives import alternatives
from mldebug.clean_scripts.library import load_job, sources
from mldebug.errors import MldebugError, UsageError
from mldebug.grader import calibrate as module
from mldebug.grader import runner
from mldebug.grader.calibrate import REFERENCE, Calibration, Line, calibrate
from mldebug.grader.runner.request import PREDICTIONS, RunRequest, RunResult

JOB = "tabular_classifier"
SPEC = load_job(JOB)


def result(score: np.ndarray | None, outcome: str = "ok") -> RunResult:
    artifacts = {}
    if score is not None:
        buffer = io.BytesIO()
        np.savez(buffer, score=score)
        artifacts[PREDICTIONS] = buffer.getvalue()
    return RunResult(outcome, 0, None, "", "Traceback: oh", artifacts, {}, None, 0.1, 0.1, 100.0)  # type: ignore[arg-type]


def confident(request: RunRequest) -> RunResult:
    """Perfect scores for the reference, less confident ones for a second seed of anything else."""
    with np.load(io.BytesIO(request.files["data/score.npz"])) as arrays:
        features = arrays["features"]
    seed = next(seed for seed in range(3) if np.array_equal(SPEC.generate(seed).score["features"], features))
    strength = 50.0 if request.files["train.py"].decode() == dict(sources(JOB))["train.py"] else 2.0 + seed
    return result((strength * np.eye(4)[SPEC.generate(seed).score_labels]).astype(np.float32))


def run(requests: Sequence[RunRequest]) -> list[RunResult]:
    return [confident(request) for request in requests]


def test_every_alternative_is_measured_on_every_seed_against_the_reference() -> None:
    found = calibrate(JOB, range(3), run)
    assert [line.alternative for line in found.lines] == [REFERENCE, *(one.name for one in alternatives(JOB))]
    reference, *others = found.lines
    assert reference.values == pytest.approx((1.0, 1.0, 1.0)) and reference.worst_drop == 0
    for line in others:
        assert len(line.values) == 3 and list(line.values) == sorted(line.values)
        assert line.lowest == line.values[0]
        assert line.worst_drop == pytest.approx(1.0 - line.values[0])


def test_floor_and_margin_follow_the_lowest_and_the_widest() -> None:
    lines = (Line(REFERENCE, (0.80, 0.82), 0.0), Line("other", (0.78, 0.75), 0.07))
    found = Calibration("job", "accuracy", (0, 1), lines)
    assert found.floor == pytest.approx(0.74), "0.75 less the slack of 0.01"
    assert found.margin == pytest.approx(0.03), "ten times the noise, as no spread is wider"
    wide = Calibration("job", "accuracy", (0, 1), (Line(REFERENCE, (0.9, 0.8), 0.0),))
    assert wide.margin == pytest.approx(0.08), "sd 0.0707, rounded up"


@pytest.mark.parametrize("bad", [result(None), result(np.zeros((4000, 4)), outcome="error")])
def test_an_alternative_that_fails_is_an_error_with_its_last_words(bad: RunResult) -> None:
    with pytest.raises(MldebugError, match=r"(?s)reference.*Traceback: oh"):
        calibrate(JOB, range(1), lambda requests: [bad for _ in requests])


def test_unknown_jobs_are_refused() -> None:
    with pytest.raises(UsageError, match=JOB):
        calibrate("no_such_job", range(1), run)


class FakePool:
    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __enter__(self) -> FakePool:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    map = staticmethod(run)

    def run(self, request: RunRequest) -> RunResult:
        return run([request])[0]


def test_command_prints_a_table_and_writes_the_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "Pool", FakePool)
    target = tmp_path / "found.json"
    assert module.main([JOB, "--seeds", "2", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    assert "worst drop" in printed and "layer norm" in printed and "proposed: floor=" in printed
    assert "reseed_factor=" in printed
    record = json.loads(target.read_text("utf-8"))
    assert record["job"] == JOB and record["seeds"] == [0, 1]
    assert all(len(line["values"]) == 2 for line in record["lines"])
    assert record["floor"] < min(min(line["values"]) for line in record["lines"])


def test_command_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "Pool", FakePool)
    assert module.main(["no_such_job"]) == UsageError.exit_code
    assert "no_such_job" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        module.main([JOB, "--seeds", "0"])
