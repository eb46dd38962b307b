"""`mldebug bench report`: parse, call, print. Heavy imports stay inside."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import click


@click.command()
@click.argument("runs", metavar="RUN_FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="One page with everything.")
@click.option(
    "--png", type=click.Path(path_type=Path), metavar="FOLDER", help="The plots as pictures, for papers."
)
@click.option("--json", "as_json", is_flag=True, help="The tables for programs.")
def report(runs: tuple[Path, ...], html: Path | None, png: Path | None, as_json: bool) -> None:
    """What the finished runs in RUN_FOLDERs came to: a leaderboard with intervals, and what was solved class
    by class.

    The page needs nothing but itself: it opens without network, and what agents wrote is text in it.
    """
    from .reading import read
    from .targets import Target, check_page

    if html is not None:
        check_page(html)
    if png is not None:
        from .pictures import pictures, require_matplotlib

        require_matplotlib()
    found = read(runs)
    targets: list[Target] = []
    if html is not None:
        from .page import page

        targets.append(Target(html, page(found).encode("ascii")))
    if png is not None:
        targets += [Target(png / name, content) for name, content in pictures(found).items()]
    from .targets import write
    from .texts import for_programs, terminal

    write(targets, png)
    click.echo(json.dumps(for_programs(found), indent=2, sort_keys=True) if as_json else terminal(found))
    for one in targets:
        click.echo(f"written: {one.path}", err=True)
    gc.freeze()  # or the interpreter goes through many objects once more before it ends
