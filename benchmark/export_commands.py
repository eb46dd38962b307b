"""`mldebug bench export`: parses, calls, prints. Heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path

import click

from .exporters.registry import exported, names


@click.command()
@click.argument("format", type=click.Choice(names()))
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new or empty folder.")
def export(format: str, source: Path, out: Path) -> None:
    """Write tasks in the FORMAT of another tool. SOURCE is a release, a file of one of its splits, or a file
    of rows that `mldebug gen` wrote. docs/exporters.md says how each tool is then called.
    """
    from .exporters.bundle import read_bundle
    from .exporters.writing import check_target, write

    check_target(out)
    bundle = read_bundle(source)
    count, size = write(exported(format, bundle), out)
    click.echo(f"{out}: {len(bundle.entries)} tasks, {count} files, {size / 1e6:.1f} MB; see README.md there")
