"""`mldebug bench …`: parses, calls, prints. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from .release.freeze import Frozen
    from .release.verify import Report

SECRET = "MLDEBUG_PRIVATE_SEED"

SHARE = 4
"""The secret part is a quarter of the public one, unless --private-count says otherwise."""


@click.group()
def bench() -> None:
    """The benchmark: frozen releases, agents that play them, and what they did."""


@bench.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", required=True, type=int, help="An integer from 0 on, which all tasks follow from.")
@click.option("--count", required=True, type=click.IntRange(1), help="Tasks of the public part.")
@click.option(
    "--bugs",
    multiple=True,
    help="A set of classes, e.g. shape,device; may be repeated.  [default: all classes and all pairs]",
)
@click.option(
    "--held-out", metavar="SCRIPTS", help="For `test_new_scripts` only, e.g. a,b.  [default: the seed draws]"
)
@click.option(
    "--outcomes",
    multiple=True,
    type=click.Path(path_type=Path),
    help="How agents fared, for the levels: a folder of `bench run`, or JSON, {task id: {agent: rung}}; may "
    "be repeated.",
)
@click.option(
    "--private",
    type=click.Path(path_type=Path),
    help=f"Folder for a secret part, made of {SECRET}; the release is committed to its hash.",
)
@click.option("--private-count", type=click.IntRange(1), help="Its tasks.  [default: a quarter of --count]")
@click.option("--notes", default="", help="What the changelog says of this release.")
@click.option(
    "--previous", type=click.Path(path_type=Path), help="The release before: its changelog goes on."
)
@click.option("--withdraw", multiple=True, metavar="ID", help="A task to leave out; may be repeated.")
@click.option("--date", help="Of the release, YYYY-MM-DD.  [default: today]")
@click.option("--resume", is_flag=True, help="Go on with what this command began.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Runs at a time.")
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def freeze(
    folder: Path,
    seed: int,
    count: int,
    bugs: tuple[str, ...],
    held_out: str | None,
    outcomes: tuple[Path, ...],
    private: Path | None,
    private_count: int | None,
    notes: str,
    previous: Path | None,
    withdraw: tuple[str, ...],
    date: str | None,
    resume: bool,
    jobs: int,
    require: str | None,
    as_json: bool,
) -> None:
    """Make a release in FOLDER, which is named for its version, e.g. releases/v1.0. Every task is executed.

    FOLDER appears whole or not at all; what an interrupted run did is kept beside it, for --resume.
    """
    from ..output.progress import progress
    from .release.difficulty import read_outcomes
    from .release.freeze import PARTIAL, Secret
    from .release.freeze import freeze as make
    from .release.plan import PRIVATE, Plan

    plan = Plan.of(
        folder.name, seed, count, _date(date), bugs=bugs, held_out=held_out, notes=notes, withdrawn=withdraw
    )
    secret = None
    if private is None and private_count is not None:
        raise UsageError("--private-count: belongs to --private")
    if private is not None:
        text = os.environ.get(SECRET)
        if text is None:
            raise UsageError(f"--private: needs {SECRET}, the secret that its tasks follow from")
        if private.name != plan.release + PRIVATE:
            raise UsageError(f"--private {private}: its folder must be named {plan.release}{PRIVATE}")
        more = private_count or max(count // SHARE, len(plan.sets))
        secret = Secret(plan.secret_part(text, more), private)
    agents = read_outcomes(outcomes)
    total = count + (secret.plan.count if secret else 0)
    try:
        with progress(total, "freezing") as line:
            done = make(
                plan,
                folder,
                line,
                secret=secret,
                agents=agents,
                previous=previous,
                jobs=jobs,
                resume=resume,
                require=require,
            )
    except KeyboardInterrupt:
        if line.done:
            click.echo(
                f"\n{line.done} of {total} tasks are kept in {folder.parent / (PARTIAL + folder.name)}"
                f"{' and beside ' + str(private) if private else ''}; go on with --resume",
                err=True,
            )
        raise
    for id in done.unknown:
        click.echo(f"warning: --withdraw {id}: no request of this plan gives that task", err=True)
    click.echo(json.dumps(_frozen(done), indent=2, sort_keys=True) if as_json else _frozen_text(done))


def _date(text: str | None) -> str:
    from datetime import UTC, date, datetime

    if text is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f"--date {text}: must be a day, YYYY-MM-DD") from None


def _frozen(done: Frozen) -> dict[str, Any]:
    return {
        "folder": str(done.folder),
        "release": done.content.plan.release,
        "root": done.root,
        "counts": done.content.counts(),
        "private": done.content.private,
    }


def _frozen_text(done: Frozen) -> str:
    from tabulate import tabulate

    counts = done.content.counts()
    rows = [
        ["tasks", counts["tasks"]],
        ["splits", _listed(counts["splits"])],
        ["levels", _listed(counts["levels"])],
        ["scripts", _listed(counts["scripts"])],
        ["discarded", _listed(counts["discarded_candidates"]) or "none"],
        ["root hash", done.root],
    ]
    if done.content.private is not None:
        rows.append(["secret part", f"{done.content.private['tasks']} tasks, committed to"])
    return f"{done.folder}\n" + str(tabulate(rows, tablefmt="plain"))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


@bench.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--sample", type=click.IntRange(0), metavar="N", help="Execute N tasks; 0: none.  [default: all of them]"
)
@click.option("--sample-seed", default=0, show_default=True, help="Which N.")
@click.option("--root", metavar="HASH", help="The root hash that was published.")
@click.option("--private", type=click.Path(path_type=Path), help="The secret part, if it was shown.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Runs at a time.")
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(
    folder: Path,
    sample: int | None,
    sample_seed: int,
    root: str | None,
    private: Path | None,
    jobs: int,
    require: str | None,
    as_json: bool,
) -> int:
    """Check the release in FOLDER: all hashes, every task made again byte for byte, and executed again.

    Exit code 1: something is not as it was frozen; each such thing is named.
    """
    from .release.verify import verify as check

    report = check(
        folder,
        sample=sample,
        sample_seed=sample_seed,
        secret=private,
        root=root,
        jobs=jobs,
        require=require,
    )
    click.echo(json.dumps(report.record(), indent=2, sort_keys=True) if as_json else _report_text(report))
    return 1 if report.problems else 0


def _report_text(report: Report) -> str:
    lines = [
        f"{report.release or 'release'}: {report.tasks} tasks, {report.files} files, root "
        f"{report.root or '-'}"
    ]
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"WRONG {problem}" for problem in report.problems]
    lines.append(f"made again, byte for byte: {report.regenerated} of {report.tasks} tasks")
    if report.executed:
        lines.append(
            f"executed again: {report.executed} tasks, the outcomes of {report.repeated} repeat; "
            "largest deviation "
            f"of a metric {report.deviations.metric:.4f}, of an effect {report.deviations.effect:.1%}"
        )
        lines.append(f"{report.seconds:.1f} s, {report.tasks_per_second:.2f} tasks/s")
    else:
        lines.append(f"executed again: none; {report.seconds:.1f} s")
    lines.append(
        "as it was frozen"
        if not report.problems
        else f"NOT as it was frozen: {len(report.problems)} problems"
    )
    return "\n".join(lines)
