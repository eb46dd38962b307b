"""The command line: parses, calls, prints. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .benchmark.commands import bench
from .benchmark.export_commands import export
from .benchmark.report.command import report
from .benchmark.run_commands import COMMANDS
from .errors import MldebugError, UsageError
from .executors.options import JOBS, executor_of, executor_options
from .output.progress import progress

if TYPE_CHECKING:
    from .factory import Tally
    from .output.row_file import RowFile
    from .output.work import Work
    from .task_folder import OutputFolder

INTERRUPTED = 130

ROWS_SHOWN = 100
"""Of more variants than these, the table for people shows the first; the folder has all."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mldebug")
def cli() -> None:
    """Bugs in PyTorch training scripts: injected from a seed, proved by running them, with proven fixes."""


@cli.command()
@click.option("--bugs", required=True, help="Bug classes, e.g. `shape,device`, or a compound's name.")
@click.option("--seed", required=True, type=int, help="An integer from 0 on; the same seed, the same bytes.")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1), help="Independent variants.")
@click.option("--script", help="A job of the library; by default the seed chooses.")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="A script of your own, or its folder, instead of the library: proved by its trace.",
)
@click.option("--timeout", type=float, help="With --source: seconds of one run.  [default: 60]")
@click.option(
    "--setup",
    metavar="COMMAND",
    help="With --source: prepares data. Runs once, as you, outside of the sandbox, in a copy of the folder.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the tasks.  [default: mldebug-out]")
@click.option(
    "--jsonl", is_flag=True, help="One JSON object a line on stdout; no folder unless --out is given."
)
@click.option(
    "--jsonl-file",
    type=click.Path(path_type=Path),
    help="Write the same rows to this file, one by one, instead of folders.",
)
@click.option("--resume", is_flag=True, help="Go on with what this request began in --out or --jsonl-file.")
@click.option("--no-verify", is_flag=True, help="Do not execute anything: no alert, not marked as verified.")
@click.option("--jobs", default=1, show_default=True, type=JOBS, help="Runs at a time.")
@executor_options
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS...]")
def gen(
    bugs: str,
    seed: int,
    count: int,
    script: str | None,
    source: Path | None,
    timeout: float | None,
    setup: str | None,
    arguments: tuple[str, ...],
    out: Path | None,
    jsonl: bool,
    jsonl_file: Path | None,
    resume: bool,
    no_verify: bool,
    jobs: int,
    executor: str | None,
    ray_address: str | None,
    require: str | None,
) -> None:
    """Make broken training scripts, each proved broken and each with a proven fix.

    With --source they are made of a script of your own, which gets the ARGUMENTS. Nothing of yours is
    changed.
    """
    from .output.fill import Report, fill, without_variant
    from .output.row_file import RowFile, row_line
    from .task_folder import OutputFolder

    if jsonl_file is not None and (jsonl or out is not None):
        raise UsageError(
            "--jsonl-file goes with neither --jsonl nor --out; "
            "`mldebug materialize FILE` makes folders of its rows"
        )
    if resume and jsonl and out is None:
        raise UsageError("--resume: rows on stdout cannot be gone on with; write them with --jsonl-file")
    if source is None:
        if arguments or timeout is not None or setup is not None:
            raise UsageError(
                "--timeout, --setup and arguments behind `--` belong to a script named by --source"
            )
        work = library_work(bugs, seed, script, verify=not no_verify)
    else:
        if script is not None:
            raise UsageError("--script names a job of the library, --source one of your own: choose one")
        work = own_work(bugs, seed, source, timeout, setup, arguments, verify=not no_verify)
    where = executor_of(executor, jobs, require=require, ray_address=ray_address)
    target: OutputFolder | RowFile | None = None
    if jsonl_file is not None:
        target = RowFile(jsonl_file, work.asked, resume=resume, limit=count)
    elif out is not None or not jsonl:
        target = OutputFolder(out or Path("mldebug-out"), work.asked, resume=resume, limit=count)
    report = Report()
    rows: list[list[object]] = []
    try:
        with where, progress(count, "generating") as line:
            for variant, place in fill(target, work, count, report, line, executor=where):
                if jsonl:
                    click.echo(row_line(work.row(variant)))
                elif jsonl_file is None and len(rows) < ROWS_SHOWN:
                    rows.append(summary_row(variant, work.script(variant), place))
    finally:
        if target:
            target.close()
        if rows:
            click.echo(table(rows, ["index", "task", "bugs", "script", "verified", "alert"]))
            if more := report.tally.emitted - len(rows):
                click.echo(f"… and {more} more")
        if report.tally.attempted:
            click.echo(
                "not verified: nothing was executed" if no_verify else yield_line(report.tally), err=True
            )
        if report.same:
            click.echo(f"{report.same} of {count} are tasks of earlier indices: not written twice", err=True)
        if report.kept:
            click.echo(f"{report.kept} of {count} were done before", err=True)
    if report.skips.count:
        raise without_variant(work, count, report.skips, target)
    if target and not report.written:
        click.echo("unchanged: the same tasks were there already", err=True)


def library_work(bugs: str, seed: int, script: str | None, *, verify: bool) -> Work:
    from .factory import Request
    from .output.work import LibraryWork

    return LibraryWork(Request.of(bugs, seed, script=script), verify)


def own_work(
    bugs: str,
    seed: int,
    source: Path,
    timeout: float | None,
    setup: str | None,
    arguments: tuple[str, ...],
    *,
    verify: bool,
) -> Work:
    from .source.factory import TIMEOUT, OwnRequest
    from .source.folder import read_own
    from .source.work import OwnWork

    seconds = TIMEOUT if timeout is None else timeout
    first = OwnRequest.of(bugs, seed, arguments=arguments, timeout=seconds, setup=setup)
    return OwnWork.of(
        first, read_own(source), verify=verify, warn=lambda text: click.echo(f"warning: {text}", err=True)
    )


def summary_row(variant: Any, script: str, place: Path | None) -> list[object]:
    """One line of the table for people."""
    where = str(place) if place else variant.id
    shorts = ",".join(variant.bugs)
    return [
        variant.index,
        where,
        shorts,
        script,
        "yes" if variant.verified else "no",
        variant.alert or "-",
    ]


def yield_line(tally: Tally) -> str:
    """How many candidates were tried for what was emitted, and why the rest were discarded."""
    from .factory import counted

    share = 100 * tally.emitted / tally.attempted
    line = f"{tally.emitted} of {tally.attempted} candidates valid ({share:.0f}%)"
    if tally.reasons:
        line += "; discarded: " + counted(tally.reasons, ", ")
    return line


def table(rows: list[list[object]], headers: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=headers, maxcolwidths=[None] * (len(headers) - 1) + [60])


@cli.command("list")
@click.argument("what", required=False, type=click.Choice(["bugs", "scripts", "tools"]))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(what: str | None, as_json: bool) -> None:
    """What there is: bug classes, scripts, an agent's tools."""
    from .catalogue import bug_rows, script_rows, tool_rows

    found: dict[str, list[dict[str, Any]]] = {}
    if what in (None, "bugs"):
        found["bugs"] = bug_rows()
    if what in (None, "scripts"):
        found["scripts"] = script_rows()
    if what in (None, "tools"):
        found["tools"] = tool_rows()
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    for number, (title, rows) in enumerate(found.items()):
        if number:
            click.echo()
        click.echo(f"{title}\n")
        shown = [[", ".join(v) if isinstance(v, list) else v for v in row.values()] for row in rows]
        click.echo(table(shown, list(rows[0])))


@cli.command()
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def sites(script: Path, as_json: bool) -> int:
    """What could be injected into SCRIPT (a file or a folder), where, and why the rest could not. Nothing
    runs and nothing is written. Exit code 1: there is no site at all."""
    from .mutators.analysis import analyse
    from .mutators.survey import survey
    from .source.folder import read_sources

    found = survey(analyse(read_sources(script)))
    reasons = found.reasons()
    if as_json:
        shown = {
            "sites": [
                {
                    "bug": one.bug_class,
                    "manifestation": one.manifestation,
                    "file": one.site.file,
                    "line": one.line,
                    "bytes": [one.site.start, one.site.end],
                    "function": one.site.qualname,
                    "choices": one.site.choices,
                    "snippet": one.snippet,
                }
                for one in found.found
            ],
            "without_sites": reasons,
            "missing": [
                {
                    "bug": one.bug_class,
                    "manifestation": one.manifestation,
                    "summary": one.summary,
                    "looked_for": one.pattern,
                    "failed": one.failed or None,
                }
                for one in found.missing
            ],
        }
        click.echo(json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False))
        return 0 if found.found else 1
    rows: list[list[object]] = [
        [one.bug_class, one.manifestation, f"{one.site.file}:{one.line}", one.snippet] for one in found.found
    ]
    if rows:
        click.echo(table(rows, ["class", "manifestation", "place", "source"]))
    if reasons:
        click.echo(("\n" if rows else "") + "no site for:\n")
        click.echo("\n".join(f"  {bug}: {reason}" for bug, reason in reasons.items()))
    if not rows:
        click.echo(f"{script}: nothing can be injected here", err=True)
    return 0 if rows else 1


@cli.command()
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def explain(task: Path, as_json: bool) -> None:
    """The truth about a task: its bugs, the fix as a diff, and the evidence. A spoiler."""
    from .catalogue import explanation
    from .task_folder import read_task

    records = read_task(task)
    click.echo(json.dumps(records, indent=2, sort_keys=True) if as_json else explanation(records))


@cli.command()
@click.argument("task", type=click.Path(path_type=Path))
@click.option(
    "--submission",
    required=True,
    type=click.Path(path_type=Path),
    help="The fixed job: a file (the entry point) or a folder.",
)
@click.option("--bugs", required=True, help="The classes it claims to have fixed, e.g. shape,device.")
@click.option("--diagnosis", default="", help="What was wrong, in words.")
@click.option("--step", type=click.IntRange(1), help="Which step of an episode this is.")
@click.option(
    "--strict-seed-scoring", is_flag=True, help="Pay a silent bug that was left alone 0.60 instead of 0.20."
)
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
@click.option("--json", "as_json", is_flag=True, help="For programs. Names the true classes.")
def grade(
    task: Path,
    submission: Path,
    bugs: str,
    diagnosis: str,
    step: int | None,
    strict_seed_scoring: bool,
    require: str | None,
    as_json: bool,
) -> int:
    """Judge a submission by what the fixed job does. Exit code 0: solved; 1: not solved."""
    from .grader.runner import Pool
    from .grading import grade as judge
    from .mutators.base import canonical_bugs

    canonical_bugs(bugs)  # a claim of a person: a misspelt class is a usage error here
    if not submission.exists():
        raise UsageError(f"--submission {submission}: there is no such file or folder")
    with Pool(1, require=require) as pool:
        verdict = judge(
            task,
            submission,
            bugs,
            diagnosis,
            step=step,
            strict_seed_scoring=strict_seed_scoring,
            pool=pool,
        )
    if as_json:
        click.echo(json.dumps(verdict.record(), indent=2, sort_keys=True))
    else:
        rows: list[list[object]] = [
            ["score", f"{verdict.score:.3f}"],
            ["rung", f"{verdict.rung:.2f}{' (solved)' if verdict.solved else ''}"],
            ["claim", verdict.claim],
            ["feedback", verdict.feedback],
            ["rests on", verdict.trust],
        ]
        rows += [["against it", str(problem)] for problem in verdict.problems]
        if verdict.judgement:
            rows.append(["diagnosis", f"+{verdict.bonus:.3f} ({verdict.judgement.reason})"])
        rows.append(["cost", f"{verdict.runs} runs, {verdict.seconds:.1f} s"])
        click.echo(table(rows, []))
    return 0 if verdict.solved else 1


@cli.command()
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
def play(task: Path, require: str | None) -> int:
    """Debug a task yourself, with an agent's tools and your own editor. Exit code 0: solved, or left before
    the end; 1: the steps are spent."""
    from .env.play import play as begin

    return begin(task, require=require)


@cli.command()
@click.argument("rows", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default="mldebug-out", show_default=True)
def materialize(rows: Path, out: Path) -> None:
    """Make task folders again from the rows of a JSONL file, or of a release's file of tasks."""
    import hashlib

    from .source.task import is_own, own_row_files
    from .task_folder import OutputFolder, read_rows, row_files

    if not rows.is_file():
        raise UsageError(f"{rows}: there is no such file; name one that `mldebug gen --jsonl` printed")
    folder = OutputFolder(out, {"rows": hashlib.sha256(rows.read_bytes()).hexdigest()})
    written = 0
    try:
        for row in read_rows(rows):
            made = own_row_files(row) if is_own(row.get("truth")) else row_files(row)
            place, new = folder.place(*made)
            written += new
            click.echo(str(place))
    finally:
        folder.close()
    if not written:
        click.echo("unchanged: the same tasks were there already", err=True)


@cli.command()
@click.option("--require", help="Guarantees that must hold, e.g. `strict` or `no_network,no_read`.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(require: str | None, as_json: bool) -> int:
    """What this machine's sandbox can guarantee, found out by trying. Exit code 1: something required is not
    there (`--require`, or MLDEBUG_REQUIRE)."""
    from .grader.sandbox.doctor import doctor as examine

    found = examine()
    missing = found.unmet(require)
    click.echo(found.json() if as_json else found.text())
    if missing:
        click.echo(f"required and not there: {missing}", err=True)
    return 1 if missing else 0


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any.")
@click.option(
    "--tasks",
    multiple=True,
    metavar="[SPLIT=]PATH",
    help="A JSONL file of rows, or a folder of tasks; may be repeated.  [default: generated from seeds]",
)
@click.option(
    "--sessions", default=64, show_default=True, type=click.IntRange(1, 1024), help="The most at one time."
)
@click.option(
    "--budget", default=5, show_default=True, type=click.IntRange(1, 1000), help="Steps of an episode."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Runs at a time.")
@click.option("--require", help="Guarantees of the sandbox without which nothing runs, e.g. strict.")
@click.option(
    "--grade-token-env",
    metavar="NAME",
    help="Offer /grade to those who show the token that this environment variable holds.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    envvar="MLDEBUG_SERVE_NAMES",
    show_envvar=True,
    help="A name by which browsers may reach the server, beside addresses and localhost; may be repeated.",
)
def serve(
    host: str,
    port: int,
    tasks: tuple[str, ...],
    sessions: int,
    budget: int,
    workers: int,
    require: str | None,
    grade_token_env: str | None,
    names: tuple[str, ...],
) -> int:
    """Serve the environment to OpenEnv clients, and to people under /play, until interrupted."""
    from .env.adapters.openenv import require_openenv

    require_openenv()
    from .env.adapters.openenv.host import Settings, names_of, token_of
    from .env.adapters.openenv.server import serve as run_server

    token = None if grade_token_env is None else token_of(grade_token_env)
    known = names_of(names)
    settings = Settings(tasks, sessions, budget, workers, require, grade_token=token, names=known)
    try:
        run_server(settings, host, port)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.freeze()  # or the interpreter goes through millions of objects once more before it ends
    return 0


for command in (*COMMANDS, export, report):
    bench.add_command(command)
cli.add_command(bench)


def run(arguments: list[str] | None, command: click.Command, name: str) -> int:
    """Run a command; errors become a message on stderr and an exit code, never a traceback."""
    try:
        result = command.main(arguments, prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except MldebugError as error:
        click.echo(f"{name}: error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            f"\n{name}: interrupted; what is finished is whole, run the same command again to go on", err=True
        )
        return INTERRUPTED
    except OSError as error:
        where = f" {error.filename}:" if error.filename else ""
        click.echo(
            f"{name}: error:{where} {error.strerror or error}; is the disk full or the limit low?", err=True
        )
        return 1
    except SystemExit:  # click's own way out when nobody reads the pipe any more
        return 0


def main(arguments: list[str] | None = None) -> None:
    """`mldebug`."""
    sys.exit(run(arguments, cli, "mldebug"))


def main_gen(arguments: list[str] | None = None) -> None:
    """`mldebug-gen`, the same as `mldebug gen`."""
    sys.exit(run(arguments, gen, "mldebug-gen"))


if __name__ == "__main__":
    main()
