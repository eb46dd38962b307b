"""How fast variants are made: `python -m mldebug.benchmark.perf.generate`.

One run prints everything, both sides of every ratio: unverified variants per second on one core (cold start
and the cost of a styled base apart), verified variants per second, and the very same runs once behind the
warm zygote and once as a cold `python train.py` each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click

from .cold import cold_seconds

COLD_BOOTSTRAP = (
    "import sys, runpy; sys.path.insert(0, ''); sys.argv = sys.argv[1:]; "
    "from mldebug.grader.device import install; install(); runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""A cold process has no accelerator either: jobs that want one get the simulated one there too."""


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cold_start() -> float:
    """Seconds of a fresh process that makes one unverified variant, start-up and analysis included."""
    code = "import mldebug; mldebug.generate('shape', 1, verify=False)"
    return timed(lambda: subprocess.run([sys.executable, "-c", code], check=True))


def unverified(count: int) -> dict[str, float]:
    """All bases once, then `count` variants over all classes and pairs on them."""
    from itertools import combinations

    from mldebug.clean_scripts.library import job_names
    from mldebug.factory import Request
    from mldebug.factory import unverified as make
    from mldebug.mutators.base import bug_classes
    from mldebug.mutators.bases import STYLE_COUNT, base

    bases = [(name, style) for name in job_names() for style in range(STYLE_COUNT)]
    base_seconds = timed(lambda: [base(*one) for one in bases])
    sets = [*((bug,) for bug in bug_classes()), *combinations(bug_classes(), 2)]
    requests = [Request(sets[index % len(sets)], seed=index) for index in range(count)]
    for request in requests[: len(sets)]:
        make(request)
    start = time.process_time()
    for request in requests:
        make(request)
    return {
        "seconds_per_base": base_seconds / len(bases),
        "bases": len(bases),
        "variants": count,
        "per_second": count / (time.process_time() - start),
    }


def verified(count: int) -> tuple[dict[str, float], list[Any]]:
    """`count` verified variants on one worker, and every run that this took with its result."""
    from mldebug.factory import Request
    from mldebug.factory import verified as prove
    from mldebug.grader.runner import Pool, RunRequest
    from mldebug.mutators.base import bug_classes

    seen = []
    with Pool(1) as pool:
        empty = RunRequest({"train.py": b""}, "train.py", trace=False)
        start_up = timed(lambda: pool.run(empty))
        trivial = median(timed(lambda: pool.run(empty)) for _ in range(20))

        def run(request: Any) -> Any:
            start = time.perf_counter()
            result = pool.run(request)
            seen.append((request, time.perf_counter() - start))
            return result

        names = bug_classes()
        start = time.perf_counter()
        for index in range(count):
            prove(Request((names[index % len(names)],), seed=index // len(names)), run)
        seconds = time.perf_counter() - start
    return {
        "zygote_start_up": start_up,
        "trivial_run": trivial,
        "variants": count,
        "runs": len(seen),
        "per_second": count / seconds,
    }, seen


def cold(request: Any) -> float:
    """Seconds of the same job in a process of its own."""
    bootstrap = ("-c", COLD_BOOTSTRAP) if request.device == "cuda" else ()
    return cold_seconds(request.files, *bootstrap, request.entrypoint, check=False)


@click.command()
@click.option("--variants", default=2000, show_default=True, help="Unverified variants.")
@click.option("--proofs", default=12, show_default=True, help="Verified variants.")
@click.option("--cold-runs", default=24, show_default=True, help="Runs repeated in a cold process.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(variants: int, proofs: int, cold_runs: int, path: Path | None) -> None:
    """Measure generation: unverified, verified, and the same runs warm and cold."""
    from tabulate import tabulate

    figures: dict[str, Any] = {"cold_start": cold_start(), "unverified": unverified(variants)}
    figures["verified"], seen = verified(proofs)
    rows: list[list[object]] = [
        ["one unverified variant, cold process", f"{figures['cold_start']:.2f} s"],
        [
            "a styled base: made, analysed, all its sites found, once",
            f"{1000 * figures['unverified']['seconds_per_base']:.0f} ms",
        ],
        ["unverified variants, warm, one core", f"{figures['unverified']['per_second']:.0f} /s (wanted 200)"],
        ["zygote start-up, once", f"{figures['verified']['zygote_start_up']:.2f} s"],
        ["an empty run behind the zygote", f"{1000 * figures['verified']['trivial_run']:.0f} ms"],
        ["verified variants, one worker", f"{figures['verified']['per_second']:.2f} /s"],
        ["runs per verified variant", f"{len(seen) / proofs:.1f}"],
    ]
    for device, label, wanted in (("cpu", "CPU jobs", 6), ("cuda", "simulated accelerator", 2)):
        chosen = [one for one in seen if one[0].device == device]
        step = max(1, len(chosen) // max(1, cold_runs // 2))
        sample = chosen[::step]
        if not sample:
            continue
        pairs = [(warm, cold(request)) for request, warm in sample]
        ratio = median(slow / fast for fast, slow in pairs)
        figures[device] = {
            "runs": len(pairs),
            "warm_median": median(fast for fast, _ in pairs),
            "cold_median": median(slow for _, slow in pairs),
            "median_ratio": ratio,
        }
        rows.append(
            [
                f"{label}: warm / cold, median of {len(pairs)} runs",
                f"{figures[device]['warm_median']:.2f} s / {figures[device]['cold_median']:.2f} s: "
                f"{ratio:.1f} times faster (wanted {wanted})",
            ]
        )
    click.echo(tabulate(rows, tablefmt="plain"))
    if path:
        path.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
