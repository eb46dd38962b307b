"""`mldebug bench run`, `replay`, `agents` and `init-llm`: parse, call, print. Heavy imports stay inside."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..executors.options import JOBS, executor_of, executor_options


@click.command()
@click.argument("tasks", type=click.Path(path_type=Path))
@click.option(
    "--agent", "agents", metavar="NAME[,NAME…]", help="Who plays; `mldebug bench agents` lists them."
)
@click.option("--out", type=click.Path(path_type=Path), default="bench-out", show_default=True)
@click.option("--seed", type=click.IntRange(0), help="What agents draw from.  [default: 0]")
@click.option("--budget", type=click.IntRange(1, 1000), help="Steps of an episode.  [default: 5]")
@click.option("--limit", type=click.IntRange(1), help="Only the first tasks of the file.")
@click.option("--jobs", type=JOBS, help="Episodes beside each other.  [default: 1]")
@executor_options
@click.option("--shuffle", type=click.IntRange(0), help="Play in another order; the results do not show it.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--strict-seed-scoring",
    is_flag=True,
    default=None,
    help="Pay a silent bug that was left alone 0.60 instead of 0.20.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="A YAML file with these options and agents' settings."
)
@click.option(
    "-p", "overrides", multiple=True, metavar="KEY=VALUE", help="Over the file, e.g. debug.temperature=0.5."
)
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
@click.option("--json", "as_json", is_flag=True, help="The summary for programs.")
def run(
    tasks: Path,
    agents: str | None,
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    require: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Let agents play the TASKS of a JSONL file, and sum up what they were paid. Exit code 1: an episode
    could not be played."""
    from ..output.progress import progress
    from .running.folder import RunFolder, read_times
    from .running.options import asked
    from .running.plan import Plan, Rules
    from .running.report import summary
    from .running.rows import TaskFile
    from .running.run import run as play

    wanted = asked(config, {"agents": agents, **options}, overrides)
    said = wanted.run
    rules = Rules(checked(said, "budget", 5, 1), bool(said.get("strict_seed_scoring", False)))
    most = checked(said, "limit", 1, 1) if "limit" in said else None
    jobs = checked(said, "jobs", 1, 1)
    shuffle = checked(said, "shuffle", 0, 0) if "shuffle" in said else None
    names = said.get("agents") or []
    if not names:
        raise UsageError(
            "--agent: name who plays, e.g. --agent rules,null; `mldebug bench agents` lists them"
        )
    plan = Plan.of(TaskFile(tasks, most), names, wanted.agents, seed=checked(said, "seed", 0, 0), rules=rules)
    executor = said.get("executor")
    if plan.alone and executor == "ray":
        raise UsageError("--executor ray: an agent of these plays at this terminal; leave it out")
    where = executor_of(
        executor, 1 if plan.alone else jobs, require=require, ray_address=said.get("ray_address")
    )
    folder = RunFolder(out, plan, resume=resume)
    try:
        with where, progress(len(plan.episodes()), "playing") as line:
            outcome = play(plan, folder, line, executor=where, shuffle=shuffle)
        show(summary(outcome.results, read_times(out / "times.jsonl")), as_json)
    finally:
        folder.close()
        gc.freeze()  # or the interpreter goes through millions of objects once more before it ends
    if outcome.missing:
        click.echo(
            f"{outcome.missing} of {len(plan.episodes())} episodes are missing, so there is no "
            "results.jsonl; "
            "--resume plays them",
            err=True,
        )
        return 1
    click.echo(f"results: {out / 'results.jsonl'}", err=True)
    return 0


def checked(said: dict[str, Any], name: str, default: int, least: int) -> int:
    """A number that may have come from a file."""
    value = said.get(name, default)
    if value < least:
        raise UsageError(f"{name} must be {least} or more, got {value}")
    return int(value)


def show(records: list[dict[str, Any]], as_json: bool) -> None:
    from tabulate import tabulate

    from .running.report import HEADERS, rows_of

    if as_json:
        click.echo(json.dumps(records, indent=2, sort_keys=True))
    elif records:
        click.echo(tabulate(rows_of(records), headers=HEADERS, disable_numparse=True))


@click.command()
@click.argument("trajectories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--tasks", type=click.Path(path_type=Path), help="The rows they are about.  [default: those of their run]"
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Runs at a time.")
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
def replay(trajectories: tuple[Path, ...], tasks: Path | None, jobs: int, require: str | None) -> int:
    """Play TRAJECTORIES again and compare every observation. Exit code 1: something differs."""
    from ..grader.runner import Pool
    from .running.replay import replay as play

    differing = 0
    with Pool(jobs, require=require) as pool:
        for path in trajectories:
            found = play(path, tasks, pool)
            differing += bool(found)
            click.echo(f"{path}: {'the same' if not found else 'differs'}")
            for one in found:
                click.echo(f"  {one}")
    return 1 if differing else 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def agents(as_json: bool) -> None:
    """Who can play: agents, what they do, and their settings."""
    from .agents.base import registered

    rows: list[dict[str, Any]] = [
        {"name": one.name, "about": one.about, "settings": dict(one.settings)}
        for one in registered().values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, sort_keys=True))
        return
    from tabulate import tabulate

    shown = [[one["name"], one["about"], settings_text(one["settings"])] for one in rows]
    click.echo(tabulate(shown, headers=["agent", "what it does", "settings"], maxcolwidths=[None, 60, 50]))


def settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in settings.items()) or "-"


@click.command("init-llm")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace the file that is there.")
def init_llm(path: Path | None, force: bool) -> None:
    """Write a template of llm.yaml, which says where language models are reached.  [default: the user's
    configuration folder, or where MLDEBUG_LLM_CONFIG says]"""
    from .agents.llm_config import begin, place

    target = path or place()
    begin(target, force=force)
    click.echo(f"{target}: edit it; then `mldebug bench run TASKS --agent debug -p debug.llm_name=local`")


COMMANDS = (run, replay, agents, init_llm)
