"""What the sandbox costs: `python -m mldebug.benchmark.perf.sandbox`.

One run prints everything: an empty script in every tier and behind a plain fork of the same warm interpreter,
taken in turns so that a busy machine slows all of them alike; and how many trivial scripts and real jobs two
workers get through in a second, against `python train.py` in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import click

from ...grader.runner import Pool, RunRequest
from ...grader.sandbox import TIERS

WANTED_MS = 5.0
"""Of `strict` over a plain fork, per run."""
EMPTY = RunRequest({"train.py": b""}, "train.py", trace=False, collect=())
REAL = b"""
import time
import torch
from torch import nn
model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x = torch.randn(256, 16)
y = x.sum(1, keepdim=True)
start = time.process_time()
while time.process_time() - start < 0.45:
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""
"""A job with 0.45 s of processor time of its own."""


def milliseconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def costs(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of an empty run in every tier that this machine gives, tier by tier in turns."""
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        pools = {tier: stack.enter_context(Pool(tier=tier)) for tier in TIERS}
        given = [tier for tier, pool in pools.items() if pool.run(EMPTY).tier == tier]
        for _ in range(rounds):
            for tier in given:
                found.setdefault(tier, []).append(milliseconds(lambda tier=tier: pools[tier].run(EMPTY)))  # type: ignore[misc]
    return found


def per_second(pool: Pool, source: bytes, count: int) -> float:
    """Runs a second with all workers of a pool busy."""
    requests = [RunRequest({"train.py": source}, "train.py", trace=False, collect=())] * count
    return count / (milliseconds(lambda: pool.map(requests)) / 1000)


def cold_per_second(source: bytes, count: int, workers: int) -> float:
    """The same in processes of their own, so many at a time."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_bytes(source)

        def once(_number: int) -> None:
            command = [sys.executable, str(script)]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

        with ThreadPoolExecutor(workers) as executor:
            return count / (milliseconds(lambda: list(executor.map(once, range(count)))) / 1000)


@click.command()
@click.option("--rounds", default=100, show_default=True, help="Empty runs in each tier.")
@click.option("--runs", default=24, show_default=True, help="Real jobs; cold, a third of it.")
@click.option("--workers", default=2, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(rounds: int, runs: int, workers: int, path: Path | None) -> None:
    """Measure the cost of each tier per run, and throughput against cold processes."""
    from tabulate import tabulate

    measured = costs(rounds)
    plain, fastest = median(measured["posix"]), min(measured["posix"])
    figures: dict[str, Any] = {
        "empty_run_ms": {tier: median(one) for tier, one in measured.items()},
        "empty_run_fastest_ms": {tier: min(one) for tier, one in measured.items()},
        "rounds": rounds,
    }
    rows = [["an empty run, a plain fork (posix)", f"{plain:.1f} ms, fastest {fastest:.1f} ms"]]
    for tier in TIERS[:-1]:
        if tier in measured:
            pairs = zip(measured[tier], measured["posix"], strict=True)
            more = median(mine - its for mine, its in pairs)
            figures[f"{tier}_over_plain_fork_ms"] = more
            wanted = f" (wanted {WANTED_MS:.0f})" if tier == "strict" else ""
            least = min(measured[tier]) - fastest
            times = f"{median(measured[tier]):.1f} ms: {more:+.1f} ms{wanted}, fastest runs {least:+.1f} ms"
            rows.append([f"the same in {tier}", times])
    with Pool(workers) as pool:
        tier = pool.map([EMPTY] * workers)[0].tier
        torch_only = b"import torch\n"
        for label, source, count in (("trivial script", torch_only, 8 * runs), ("0.45 s job", REAL, runs)):
            warm = per_second(pool, source, count)
            cold = cold_per_second(source, max(2, runs // 3), workers)
            figures[label] = {"tier": tier, "warm_per_second": warm, "cold_per_second": cold}
            rows.append(
                [
                    f"{label}, {workers} workers: {tier} / cold process",
                    f"{warm:.1f} /s / {cold:.2f} /s: {warm / cold:.1f} times",
                ]
            )
    click.echo(tabulate(rows, tablefmt="plain"))
    if path:
        path.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
