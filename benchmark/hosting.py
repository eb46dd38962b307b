"""What a clean job hosts: each place where each bug can be put, executed, and why any of them is no bug.

    python -m mldebug.benchmark.hosting JOB [--style 17] [--most N] [--jobs 1] [--json FILE]

For authors of jobs and of manifestations: the mutants of one style of the job, one bug each, judged by all
oracles against the reference. Exit code 1 where the reference itself does not pass or a tenth of the mutants
show something else than their own class.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

from ..clean_scripts.library import job_names, load_job
from ..errors import MldebugError
from ..grader.evidence import Evidence, Observer
from ..grader.oracles.base import Case, oracles
from ..grader.runner import Device, Pool
from ..grader.validate import passes
from ..mutators.base import Manifestation, Site, all_mutators
from ..mutators.bases import base
from ..mutators.workspace import splice
from ..seeds import Draw

DATA_SEEDS = 5, 6
MOST_DUDS = 0.1


@dataclass(frozen=True)
class Tried:
    """One bug at one place, executed. wrong: why it is no good as a mutant; empty if it is."""

    bug_class: str
    manifestation: str
    file: str
    line: int
    choice: int
    wrong: str


Place = tuple[str, Manifestation, Site, int]


class Hosting:
    """The mutants of one style of a job."""

    def __init__(self, job: str, pool: Pool, style: int = 17) -> None:
        self.script, self.spec = base(job, style).script, load_job(job)
        self._observers: dict[Device, Observer] = {
            device: Observer(pool.run, self.spec, device) for device in ("cpu", "cuda")
        }
        self._references: dict[Device, Evidence] = {}

    def places(self) -> list[Place]:
        """Every class, manifestation, site and choice."""
        return [
            (owner.bug_class, one, site, choice)
            for owner in all_mutators()
            for one in owner.manifestations
            for site in one.sites(self.script)
            for choice in range(site.choices)
        ]

    def prepare(self) -> None:
        """Run the reference, on the CPU and on the accelerator.

        Raises:
            MldebugError: it does not pass: nothing that is injected into this job could be proved.
        """
        for device, observer in self._observers.items():
            evidence = observer.gather(self.script.workspace, *DATA_SEEDS)
            if why := passes(Case(self.spec, evidence, evidence)):
                raise MldebugError(f"{self.spec.name}, {device}: the reference does not pass: {why}")
            self._references[device] = evidence

    def judge(self, place: Place) -> Tried:
        """Execute one mutant (runs 0 to 2)."""
        bug, one, site, choice = place
        device: Device = "cuda" if bug == "wrong_device" else "cpu"
        broken = splice(self.script.workspace, one.edits(self.script, site, choice))
        case = Case(self.spec, self._observers[device].gather(broken, *DATA_SEEDS), self._references[device])
        findings = {name: oracle(case) for name, oracle in oracles().items()}
        others = [name for name in findings if name != bug and findings[name].present]
        wrong = "" if findings[bug].present else findings[bug].reason
        if others:
            wrong += f" fires: {', '.join(f'{name} ({findings[name].reason})' for name in others)}"
        text = dict(self.script.workspace.sources)[site.file].encode()
        line = text[: site.start].count(b"\n") + 1
        return Tried(bug, one.name, site.file, line, choice, wrong.strip())


def tried(job: str, *, style: int = 17, most: int | None = None, jobs: int = 1) -> Iterator[Tried]:
    """The mutants of one style of a job, executed; `most` of each class, drawn evenly, None for all.

    Raises:
        MldebugError: the reference does not pass.
    """
    with Pool(jobs) as pool, ThreadPoolExecutor(jobs) as threads:
        hosting = Hosting(job, pool, style)
        places = hosting.places()
        if most is not None:
            drawn: Counter[str] = Counter()
            kept = []
            for place in Draw("hosting", job, style).shuffled(places, "places"):
                drawn[place[0]] += 1
                kept += [place] * (drawn[place[0]] <= most)
            places = kept
        hosting.prepare()
        yield from threads.map(hosting.judge, places)


def table(found: Sequence[Tried]) -> str:
    """Bug classes and manifestations with how many mutants were tried and how many are no good."""
    tried_of = Counter((one.bug_class, one.manifestation) for one in found)
    wrong_of = Counter((one.bug_class, one.manifestation) for one in found if one.wrong)
    rows = [(*key, count, wrong_of[key]) for key, count in sorted(tried_of.items())]
    return tabulate(rows, ("class", "manifestation", "tried", "no good"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mldebug.benchmark.hosting", description=__doc__)
    parser.add_argument("job", metavar="JOB", help=f"one of: {', '.join(job_names())}")
    parser.add_argument("--style", type=int, default=17, help="which of the job's styles")
    parser.add_argument("--most", type=int, help="how many mutants of each class; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every mutant there too")
    options = parser.parse_args(arguments)
    found: list[Tried] = []
    try:
        for one in tried(options.job, style=options.style, most=options.most, jobs=options.jobs):
            found.append(one)
            if one.wrong:
                place = f"{one.file}:{one.line} choice {one.choice}"
                print(f"{one.bug_class}/{one.manifestation} {place}: {one.wrong}", flush=True)
    except MldebugError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(found))
    wrong = sum(bool(one.wrong) for one in found)
    print(f"{len(found)} mutants, {wrong} no good")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return int(wrong > MOST_DUDS * len(found))


if __name__ == "__main__":
    sys.exit(main())
