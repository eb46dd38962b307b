"""Where the band of a job lies: its honest alternatives, run on many data seeds.

    python -m mldebug.grader.calibrate JOB [--seeds 20] [--workers 1] [--json FILE]

prints one line an alternative and, from all of them, a proposal for `Band(floor, margin)`.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ..clean_scripts.alternatives import Alternative, alternatives
from ..clean_scripts.data import data_files
from ..clean_scripts.library import job_names, load_job, sources
from ..clean_scripts.spec import JobData, JobSpec
from ..errors import MldebugError
from ..mutators.workspace import Workspace
from .evidence import Observer
from .oracles.gradient_not_zeroed import curve_factor
from .runner.request import PREDICTIONS, RunRequest, RunResult

REFERENCE = "reference"

SLACK = 0.01
"""Taken off the lowest honest value: seeds that were not tried may lie lower still."""

MACHINE_NOISE = 0.003
"""How far the metric of one job on one data seed may move between machines that round differently: five times
what was seen between torch's AVX-512 and its baseline kernels (0.0006, tabular_classifier, 8 data seeds)."""

NOISE_FACTOR = 10
"""The margin is at least this many times the machine noise, so that noise alone never crosses it."""

MapRuns = Callable[[Sequence[RunRequest]], Sequence[RunResult]]


@dataclass(frozen=True)
class Line:
    """One alternative: its metric on the scoring rows of each data seed, in the order of the seeds.

    worst_drop: how far it fell below the reference on the same data seed at most (negative: never did).
    """

    alternative: str
    values: tuple[float, ...]
    worst_drop: float

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def lowest(self) -> float:
        return min(self.values)


@dataclass(frozen=True)
class Calibration:
    """Every alternative of a job, the reference first, on the same data seeds."""

    job: str
    metric: str
    seeds: tuple[int, ...]
    lines: tuple[Line, ...]

    @property
    def floor(self) -> float:
        """The lowest honest value less the slack, rounded down to hundredths."""
        lowest = min(line.lowest for line in self.lines)
        return float(np.floor(round((lowest - SLACK) * 100, 6)) / 100)

    @property
    def margin(self) -> float:
        """The larger of ten times the machine noise and the largest spread seen, rounded up to hundredths."""
        widest = max([NOISE_FACTOR * MACHINE_NOISE, *(line.deviation for line in self.lines)])
        return float(np.ceil(round(widest * 100, 6)) / 100)

    def table(self) -> str:
        rows = [(one.alternative, one.mean, one.deviation, one.lowest, one.worst_drop) for one in self.lines]
        head = ("alternative", f"mean {self.metric}", "sd", "min", "worst drop")
        return tabulate(rows, head, floatfmt=".4f")

    def record(self) -> dict[str, object]:
        """The same as JSON-able values."""
        return asdict(self) | {"floor": self.floor, "margin": self.margin}


def calibrate(job: str, seeds: Sequence[int], run: MapRuns) -> Calibration:
    """Run the reference and every alternative of a job on every data seed.

    Raises:
        UsageError: there is no job of that name.
        MldebugError: an alternative does not apply, does not finish or leaves no scores.
    """
    spec = load_job(job)
    data = [spec.generate(seed) for seed in seeds]
    versions = {REFERENCE: dict(sources(job))}
    for one in alternatives(job):
        versions[one.name] = one.applied(versions[REFERENCE])
    lines: list[Line] = []
    for name, texts in versions.items():
        code = {path: text.encode() for path, text in texts.items()}
        results = run([RunRequest(code | data_files(one), spec.entrypoint, trace=False) for one in data])
        values = tuple(measure(spec, one, name, result) for one, result in zip(data, results, strict=True))
        baseline = lines[0].values if lines else values
        drop = max(before - value for before, value in zip(baseline, values, strict=True))
        lines.append(Line(name, values, drop))
    return Calibration(job, spec.metric.name, tuple(seeds), tuple(lines))


SEED_ALTERNATIVE = "other seed"
RESEEDINGS, RESEEDED_DATA = 5, 3


def reseeded(job: str, run: Callable[[RunRequest], RunResult]) -> float:
    """How far another random seed alone moves a job's training loss: the largest mean factor along the curve
    (`curve_factor`) of 5 seeds on each of 3 data seeds. What `JobSpec.reseed_factor` states.

    Raises:
        MldebugError: a run failed, or the job declares no alternative "other seed" that ends in a number.
    """
    spec, original = load_job(job), dict(sources(job))
    found = [one for one in alternatives(job) if one.name == SEED_ALTERNATIVE]
    if not found or not re.search(r"\d+\D*$", found[0].replacements[0][2]):
        raise MldebugError(f"{job}: needs an alternative {SEED_ALTERNATIVE!r} whose new text holds the seed")
    (file, old, new), *rest = found[0].replacements
    observer = Observer(run, spec, "cpu")
    farthest = 1.0
    for data_seed in range(RESEEDED_DATA):
        data = spec.generate(data_seed)
        reference = observer.observe(Workspace.of(original, spec.entrypoint), data)
        for seed in range(101, 101 + RESEEDINGS):
            text = re.sub(r"\d+(?=\D*$)", str(seed), new)
            changed = Alternative(SEED_ALTERNATIVE, ((file, old, text), *rest)).applied(original)
            seen = observer.observe(Workspace.of(changed, spec.entrypoint), data)
            if not seen.finished:
                raise MldebugError(f"{job}, seed {seed}: {seen.result.stderr[-2000:]}")
            farthest = max(farthest, curve_factor(seen, reference))
    return farthest


def measure(spec: JobSpec, data: JobData, name: str, result: RunResult) -> float:
    """The metric of one run's scores.

    Raises:
        MldebugError: the run failed or wrote no scores.
    """
    if result.outcome != "ok" or PREDICTIONS not in result.artifacts:
        raise MldebugError(
            f"{spec.name}, {name}: the run ended as {result.outcome!r}, expected 'ok' and {PREDICTIONS}; "
            f"its last words: {result.stderr[-2000:]}"
        )
    with np.load(io.BytesIO(result.artifacts[PREDICTIONS]), allow_pickle=False) as arrays:
        return spec.metric.compute(arrays["score"], data.score_labels)


def main(arguments: Sequence[str] | None = None) -> int:
    from .runner import Pool

    parser = argparse.ArgumentParser(prog="python -m mldebug.grader.calibrate", description=__doc__)
    parser.add_argument("job", metavar="JOB", help=f"one of: {', '.join(job_names())}")
    parser.add_argument("--seeds", type=int, default=20, help="how many data seeds (from 0 on)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.workers < 1:
        parser.error("--seeds and --workers take numbers from 1 on")
    try:
        with Pool(workers=options.workers) as pool:
            found = calibrate(options.job, range(options.seeds), pool.map)
            factor = reseeded(options.job, pool.run)
    except MldebugError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(found.table())
    print(f"proposed: floor={found.floor:.2f}, margin={found.margin:.2f}, reseed_factor={factor:.2f}")
    if options.json:
        options.json.write_text(json.dumps(found.record(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
