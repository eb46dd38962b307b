"""What is found out, required, refused and reported; and that a run is the same run in every tier."""

from __future__ import annotations

import json

import pytest

from mldebug.clean_scripts.data import data_files
from mldebug.clean_scripts.library import load_job, sources
from mldebug.errors import RunnerError, UsageError
from mldebug.grader.runner import Pool, RunRequest
from mldebug.grader.runner.worker import Worker
from mldebug.grader.sandbox import GUARANTEES, TIERS, doctor, required
from mldebug.grader.sandbox.guarantees import highest_tier, unmet

from ...jobs import each_job

JOB = """
    import json, os, pdb, io, shutil, inspect, sys, tempfile, warnings
    import numpy as np, torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(device, os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir(), os.path.abspath(__file__))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randn(64, 4)
    rows = TensorDataset(x, x.sum(1, keepdim=True))
    for epoch in range(2):
        for a, b in DataLoader(rows, batch_size=16, num_workers=2):
            a, b = a.to(device), b.to(device)
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(a), b)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: {loss.item():.9f}")
    pdb.Pdb(stdin=io.StringIO("p epoch\\nn\\nc\\n"), stdout=sys.stdout).set_trace()
    after = 1
    torch.save(model.state_dict(), "model.pt")
    shutil.copy("model.pt", "best.pt")
    shutil.copy2("model.pt", os.path.join(tempfile.gettempdir(), "kept.pt"))
    print(os.path.getsize("best.pt") == os.path.getsize("model.pt"), len(inspect.getsource(nn.Linear)) > 100)
    warnings.warn("a warning")
    np.savez("predictions.npz", output=model(x.to(device)).detach().cpu().numpy())
    json.dump({"loss": loss.item()}, open("metrics.json", "w"))
    nn.Linear(3, 3)(torch.zeros(2, 4))
"""


def test_this_machine_is_examined_tier_by_tier():
    found = doctor()
    assert found.tier == highest_tier() or found.refused
    assert set(found.refused) | set(found.lacking) == set(TIERS)
    assert found.lacking.get("strict", {}) == {}
    assert [row[0] for row in found.rows()] == ["guarantee", *GUARANTEES]
    assert all(name in found.text() for name in GUARANTEES)
    printed = json.loads(found.json())
    assert printed["tier"] == found.tier
    assert {"no_read", "bounded_time"} <= set(GUARANTEES)
    assert printed["tiers"]["posix"]["available"] is True
    assert found.unmet(found.tier) == ""


def test_every_result_says_its_tier_and_guarantees_and_why_not_the_others(tiered, request_for):
    result = tiered.run(request_for("print(1)"))
    assert set(result.guarantees) | (set(result.lacking) - set(TIERS)) == set(GUARANTEES)
    assert set(result.guarantees) & set(result.lacking) == set()
    assert set(result.lacking) & set(TIERS) == set(TIERS[: TIERS.index(result.tier)])
    if result.tier == "strict":
        assert result.guarantees == tuple(sorted(GUARANTEES))


def test_what_is_required_and_not_there_is_refused_with_a_reason(request_for, monkeypatch):
    wanted = Pool(tier="posix", require="no_network, bounded_time")
    with wanted as pool, pytest.raises(RunnerError, match="no_network: a Unix socket in a folder"):
        pool.run(request_for(""))
    monkeypatch.setenv("MLDEBUG_REQUIRE", "strict")
    monkeypatch.setenv("MLDEBUG_TIER", "posix")
    with Pool() as pool, pytest.raises(RunnerError, match=r"MLDEBUG_TIER=posix asks for it.*strict needs"):
        pool.run(request_for(""))


def test_a_refused_tier_is_told_and_the_next_one_is_taken():
    refused = {"strict": "a reason"}
    worker = Worker(refused=refused, only_try=True)
    try:
        worker.wait_ready()
        assert worker.tier in ("restricted", "posix")
        assert worker.lacking["strict"] == "a reason"
        assert "a reason" in unmet(frozenset(("strict",)), worker.tier, worker.lacking)
    finally:
        worker.stop()


def test_unknown_names_are_wrong_usage(monkeypatch):
    with pytest.raises(UsageError, match="no_such"):
        required("no_read,no_such")
    monkeypatch.setenv("MLDEBUG_REQUIRE", "nonsense")
    with pytest.raises(UsageError, match="nonsense"):
        Pool()
    monkeypatch.setenv("MLDEBUG_TIER", "nonsense")
    with pytest.raises(UsageError, match="nonsense"):
        doctor()


def test_a_real_accelerator_lowers_the_tier_and_says_so(request_for, monkeypatch):
    monkeypatch.setenv("MLDEBUG_DEVICE", "cuda")
    assert highest_tier() == "posix"
    with Pool(require="strict") as pool, pytest.raises(RunnerError, match="a real accelerator"):
        pool.run(request_for(""))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_is_the_same_in_every_tier(pool_of, request_for, device):
    results = {}
    for tier in TIERS:
        try:
            pool = pool_of(tier)
        except pytest.skip.Exception:
            continue
        request = request_for(JOB, device=device, trace=True, collect=("metrics.json", "predictions.npz"))
        result = pool.run(request)
        assert set(result.artifacts) == {"metrics.json", "predictions.npz"}, result.stderr
        results[tier] = (result.outcome, result.stdout, result.stderr, result.artifacts, result.trace)
    assert len(results) >= 1
    assert all(one == results["posix"] for one in results.values())
    assert results["posix"][1].startswith(f"{device} /workspace /home /tmp /workspace/train.py\n")
    assert "(Pdb) 1" in results["posix"][1]
    assert "mat1 and mat2" in results["posix"][2]


@each_job("name", __name__)
def test_clean_jobs_work_in_strict_as_anywhere(pool_of, name):
    job = load_job(name)
    files = {file: text.encode() for file, text in sources(name)} | data_files(job.generate(1))
    request = RunRequest(files, job.files[0])
    strict, posix = pool_of("strict").run(request), pool_of("posix").run(request)
    assert strict.outcome == "ok", strict.stderr
    assert (strict.stdout, strict.artifacts, strict.trace) == (posix.stdout, posix.artifacts, posix.trace)
    assert len(strict.artifacts) == 2
