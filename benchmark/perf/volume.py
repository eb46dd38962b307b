"""Whether memory grows with the count: `python -m mldebug.benchmark.perf.volume`.

Makes unverified rows as `mldebug gen --no-verify --jsonl-file` does, in one process, and prints the memory
that the process holds, and its rate, whenever a power of ten (times 1, 2 and 5) of rows is written.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click


def resident_mib() -> float:
    """What this process holds in memory now."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def measure(bugs: str, count: int, script: str | None = None) -> Iterator[dict[str, float]]:
    """Rows made so far, MiB held and rows a second of processor time, at each mark."""
    from mldebug.executors.local import Local
    from mldebug.factory import Request
    from mldebug.output.fill import Report, fill
    from mldebug.output.progress import progress
    from mldebug.output.row_file import RowFile
    from mldebug.output.work import LibraryWork

    work = LibraryWork(Request.of(bugs, 1, script=script), verify=False)
    marks = {base * 10**power for base in (1, 2, 5) for power in range(2, 9)} | {count}
    with tempfile.TemporaryDirectory() as folder, progress(count, "writing") as line:
        rows = RowFile(Path(folder) / "rows.jsonl", work.asked, limit=count)
        start = time.process_time()
        made = fill(rows, work, count, Report(), line, executor=Local())
        for variant, _place in made:
            done = variant.index + 1
            if done in marks:
                seconds = time.process_time() - start
                yield {"rows": done, "mib": resident_mib(), "per_second": done / seconds}
        rows.close()


@click.command()
@click.option("--bugs", default="shape,eval", show_default=True)
@click.option("--count", default=100_000, show_default=True, type=click.IntRange(1))
@click.option("--script", help="One job of the library; by default all of them.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(bugs: str, count: int, script: str | None, path: Path | None) -> None:
    """Measure memory and rate while many unverified rows are written."""
    found = []
    for one in measure(bugs, count, script):
        found.append(one)
        click.echo(f"{one['rows']:>9,.0f} rows  {one['mib']:7.0f} MiB  {one['per_second']:6.0f} /s")
        sys.stdout.flush()
    if path:
        path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
