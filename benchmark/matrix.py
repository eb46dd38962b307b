"""Which oracle fires on which bug: executed candidates, discarded ones among them, with one bug each.

    python -m mldebug.benchmark.matrix [--candidates 600] [--from FILE] [--jobs 2] [--json FILE] [--svg FILE]

Each oracle should fire on every candidate of its own class, and on hardly any of another.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..factory import Request, draft
from ..grader.evidence import Observer
from ..grader.oracles.base import Case, oracles
from ..grader.runner import Pool
from ..mutators.base import bug_classes, mutator
from ..mutators.compose import NoCompositionError

CONFIDENCE = 0.95


@dataclass
class Matrix:
    """candidates: class → how many were executed. fired: (class, oracle) → on how many it fired.

    unclear: class → how many showed an effect below the floor of their own oracle (discarded as such).
    missed: `class seed` of those on which their own oracle did not fire, the unclear ones left out.
    drawn: requests that were tried; some compose nothing.
    """

    candidates: Counter[str] = field(default_factory=Counter)
    unclear: Counter[str] = field(default_factory=Counter)
    fired: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    drawn: int = 0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Matrix:
        """The matrix that a record was made from."""
        fired = {(bug, one): count for bug, row in record["fired"].items() for one, count in row.items()}
        missed = list(record.get("missed", ()))
        candidates, unclear = Counter(record["candidates"]), Counter(record["unclear"])
        return cls(candidates, unclear, Counter(fired), missed, record["drawn"])

    def off_diagonal(self) -> tuple[int, int]:
        """How often an oracle fired on another class, and how often it was asked."""
        wrong = sum(count for (bug, oracle), count in self.fired.items() if bug != oracle)
        return wrong, sum(self.candidates.values()) * (len(bug_classes()) - 1)

    def record(self) -> dict[str, Any]:
        wrong, asked = self.off_diagonal()
        return {
            "candidates": dict(self.candidates),
            "unclear": dict(self.unclear),
            "fired": {bug: {one: self.fired[bug, one] for one in bug_classes()} for bug in bug_classes()},
            "missed": self.missed,
            "drawn": self.drawn,
            "off_diagonal": {"fired": wrong, "asked": asked, "upper_bound": upper_bound(wrong, asked)},
        }


def upper_bound(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided Clopper–Pearson bound of a share, by bisection."""
    if hits >= trials:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        below = sum(
            math.exp(
                math.lgamma(trials + 1)
                - math.lgamma(k + 1)
                - math.lgamma(trials - k + 1)
                + k * math.log(share)
                + (trials - k) * math.log1p(-share)
            )
            for k in range(hits + 1)
        )
        low, high = (share, high) if below > 1 - confidence else (low, share)
    return high


def requests() -> Iterator[Request]:
    """Single bugs of every class in turn, seed after seed, without end."""
    seed = 0
    while True:
        for bug in bug_classes():
            yield Request.of([bug], 10_000 + seed)
        seed += 1


def judge(pool: Pool, request: Request) -> dict[str, tuple[bool, bool]] | None:
    """Oracle → (fired, unclear) for the request's first candidate; None where nothing can be composed."""
    try:
        candidate = draft(request, 0).candidate()
    except NoCompositionError:
        return None
    observer = Observer(pool.run, candidate.spec, candidate.device)
    seeds = candidate.visible_seed, candidate.hidden_seed
    reference = observer.gather(candidate.reference, *seeds)
    case = Case(candidate.spec, observer.gather(candidate.broken, *seeds), reference)
    findings = {bug: oracle(case) for bug, oracle in oracles().items()}
    return {bug: (finding.present, finding.unclear) for bug, finding in findings.items()}


def measure(
    count: int, jobs: int, advance: Callable[[int], None] = lambda done: None, matrix: Matrix | None = None
) -> Matrix:
    """Execute candidates, `jobs` at a time, until there are `count`; with those of a matrix that is given."""
    matrix = matrix or Matrix()
    source = islice(requests(), matrix.drawn, None)
    with Pool(jobs) as pool, ThreadPoolExecutor(jobs) as threads:
        while (missing := count - sum(matrix.candidates.values())) > 0:
            wanted = list(islice(source, missing))
            found = threads.map(lambda request: judge(pool, request), wanted)
            for request, fired in zip(wanted, found, strict=True):
                (bug,) = request.bugs
                matrix.drawn += 1
                if fired is not None:
                    matrix.candidates[bug] += 1
                    matrix.unclear[bug] += fired[bug][1]
                    matrix.fired.update((bug, oracle) for oracle, (present, _) in fired.items() if present)
                    if not any(fired[bug]):
                        matrix.missed.append(f"{bug} {request.seed}")
                advance(sum(matrix.candidates.values()))
    return matrix


def table(matrix: Matrix) -> str:
    shorts = [mutator(bug).short for bug in bug_classes()]
    rows: list[list[object]] = []
    for bug in bug_classes():
        counts = [matrix.fired[bug, oracle] for oracle in bug_classes()]
        rows.append([mutator(bug).short, matrix.candidates[bug], *counts, matrix.unclear[bug]])
    wrong, asked = matrix.off_diagonal()
    share = wrong / asked if asked else math.nan
    return (
        tabulate(rows, ["bug", "executed", *(f"oracle {short}" for short in shorts), "unclear"])
        + f"\noff the diagonal: {wrong} of {asked} ({share:.2%}), "
        f"at most {upper_bound(wrong, asked):.2%} with {CONFIDENCE:.0%} confidence"
    )


def picture(matrix: Matrix) -> str:
    """The same as an SVG: shares of executed candidates on which an oracle fired."""
    cell, left, top = 74, 110, 70
    side = cell * len(bug_classes())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + side + 20}" height="{top + side + 20}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left + side / 2}" y="20" text-anchor="middle">oracle that fires</text>',
    ]
    for row, bug in enumerate(bug_classes()):
        y = top + row * cell
        label = f'<text x="{left - 8}" y="{y + cell / 2 + 4}" text-anchor="end">{mutator(bug).short}</text>'
        parts.append(label)
        x = left + row * cell + cell / 2
        parts.append(f'<text x="{x}" y="{top - 10}" text-anchor="middle">{mutator(bug).short}</text>')
        for column, oracle in enumerate(bug_classes()):
            share = matrix.fired[bug, oracle] / max(matrix.candidates[bug], 1)
            shade = round(255 - 175 * share)
            ink = "white" if share > 0.6 else "black"
            x = left + column * cell
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 3}" height="{cell - 3}" '
                f'fill="rgb({shade},{shade},255)" stroke="#ccc"/>'
                f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle" '
                f'fill="{ink}">{share:.0%}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mldebug.benchmark.matrix", description=__doc__)
    parser.add_argument("--candidates", type=int, default=600)
    parser.add_argument(
        "--from", dest="record", type=Path, metavar="FILE", help="go on from an earlier --json"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.candidates < 1 or options.jobs < 1:
        parser.error("--candidates and --jobs take numbers from 1 on")

    def advance(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {options.candidates}", end="", file=sys.stderr)

    known = None
    if options.record:
        record = json.loads(options.record.read_text("utf-8"))
        known = Matrix.of(record.get("figures", record))
    matrix = measure(options.candidates, options.jobs, advance, known)
    print(table(matrix))
    if options.json:
        options.json.write_text(json.dumps(matrix.record(), indent=1) + "\n", "utf-8")
    if options.svg:
        options.svg.write_text(picture(matrix), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
