"""Runs: neither order nor jobs nor a kill shows in the results, and trajectories replay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from click.testing import CliRunner

from mldebug.cli import bench

from ...written import rows

NAMES = ("shape-tabular-1", "eval-tabular-2")
AGENTS = "null,oracle,rules"


def files(folder: Path) -> dict[str, bytes]:
    found = [folder / "results.jsonl", *sorted(folder.glob("trajectories/*/*.jsonl"))]
    return {str(one.relative_to(folder)): one.read_bytes() for one in found}


def test_results_do_not_depend_on_how_they_came_about(tmp_path: Path) -> None:
    tasks = tmp_path / "rows.jsonl"
    tasks.write_text("".join(json.dumps(rows()[name]) + "\n" for name in NAMES))

    def run(*options: str, code: int = 0) -> str:
        got = CliRunner().invoke(bench, list(options), standalone_mode=False)
        assert got.exception is None and got.return_value == code, got.output
        return got.output

    first, second = tmp_path / "a", tmp_path / "b"
    run("run", str(tasks), "--agent", AGENTS, "--out", str(first))
    run("run", str(tasks), "--agent", AGENTS, "--out", str(second), "--jobs", "2", "--shuffle", "5")
    assert files(first) == files(second)
    results = [json.loads(one) for one in (first / "results.jsonl").read_text().splitlines()]
    assert [one["rung"] for one in results] == [0.20, 0.99, 0.99] * 2

    whole = files(second)
    (second / "results.jsonl").unlink()
    shutil.rmtree(second / "trajectories" / "rules")
    with (second / "times.jsonl").open("a") as times:
        times.write('{"half')
    run("run", str(tasks), "--agent", AGENTS, "--out", str(second), "--resume")
    assert files(second) == whole

    trajectory = next((second / "trajectories" / "rules").glob("*.jsonl"))
    assert "the same" in run("replay", str(trajectory))
    trajectory.write_text(trajectory.read_text().replace("import torch", "import t0rch"))
    assert "differs" in run("replay", str(trajectory), code=1)
