"""What a verdict costs: one run, both sides, ratios.

    python -m mldebug.benchmark.perf.grade [--tasks 6] [--json FILE]

For correct submissions, on CPU jobs and on the simulated accelerator: the seconds of a verdict (its runs with
trace and sandbox, and everything around them); against as many runs of the same job in a warm child without
a trace, and as many cold `python train.py` (on the plain CPU: a cold process has no simulated accelerator).
Beside them the first seed's way of grading the same submission: one cold run, whose output it reads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate

from ...clean_scripts.data import data_files
from ...factory import generate
from ...grader.evidence import job_data
from ...grader.grade import Fix, Grader
from ...grader.judge import OfflineJudge
from ...grader.runner import Pool
from ...grader.runner.request import RunRequest
from ...grader.task import Task
from ...grading import task_of_variant
from ...mutators.base import all_mutators
from .cold import cold_seconds


@dataclass(frozen=True)
class Line:
    """One task. Seconds; warm and cold are of as many runs as the verdict made."""

    task: str
    device: str
    runs: int
    verdict: float
    warm: float
    cold: float


def measure(pool: Pool, task: Task) -> Line:
    """A replayed verdict on the reference with a comment more (so that nothing is recalled)."""
    grader = Grader(pool.run, judge=OfflineJudge())
    files = {name: text + "\n# another\n" for name, text in task.reference}
    grader.grade(task, Fix({name: text + "\n# warm\n" for name, text in task.reference}, task.bugs))
    verdict = grader.grade(task, Fix(files, task.bugs))
    data = data_files(job_data(task.spec, task.hidden_seed))
    sources = {name: text.encode() for name, text in files.items()} | data
    request = RunRequest(sources, task.reference.entrypoint, device=task.device, trace=False)
    warm = statistics.median(pool.run(request).wall_seconds for _ in range(3))
    cold = cold_seconds(sources, task.reference.entrypoint)
    return Line(task.id, task.device, verdict.runs, verdict.seconds, warm * verdict.runs, cold * verdict.runs)


def table(lines: Sequence[Line]) -> str:
    rows = []
    for device in ("cpu", "cuda"):
        here = [line for line in lines if line.device == device]
        if not here:
            continue
        columns = (
            [line.verdict for line in here],
            [line.runs for line in here],
            [line.verdict / line.warm for line in here],
            [line.cold / line.verdict for line in here],
            [line.cold / line.runs for line in here],
        )
        rows.append([device, len(here), *(statistics.median(one) for one in columns)])
    head = ["device", "verdicts", "median s", "runs", "verdict / same runs, untraced"]
    head += ["cold subprocesses / verdict", "first seed's way, s"]
    return tabulate(rows, head, floatfmt=".2f")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mldebug.benchmark.perf.grade", description=__doc__)
    parser.add_argument("--tasks", type=int, default=6, help="tasks, one for each class in turn")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    lines = []
    with Pool(1) as pool:
        bugs = [one.bug_class for one in all_mutators()]
        for index in range(options.tasks):
            task = task_of_variant(generate([bugs[index % len(bugs)]], index, verify=False))
            for device in ("cpu", "cuda"):
                if device == "cpu" and "wrong_device" in task.bugs:
                    continue
                lines.append(measure(pool, replace(task, device=device)))
    print(table(lines))
    if options.json:
        options.json.write_text(json.dumps([line.__dict__ for line in lines], indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
