"""Episodes per second and core: one run, both sides.

    python -m mldebug.benchmark.perf.episodes [--tasks 6] [--group 8] [--json FILE]

An episode here is a reset, two inspections that run the job (`run_code`, `inspect_gradients`), and a
graded fix (the reference with a comment of its own, so that no verdict is recalled). The first seed's way of
the same steps is a cold `python train.py` each: two for the inspections, one for the fix (on the plain CPU: a
cold process has no simulated accelerator). Counted are

- *alone*: every episode on a task that nobody met before;
- *group*: `--group` episodes on each task, as GRPO makes them, each with a fix of its own;
- *group, same fix*: the same, all with one fix;
- *live*: what generating and proving a task adds to a reset.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from ...env import DebugEnv, Prepared, Services
from ...env.tasks import default_sets
from ...factory import generate
from ...grader.judge import OfflineJudge
from ...grader.runner import Pool
from .cold import cold_seconds

TOOLS = ("run_code", "inspect_gradients")

SEED = 200
"""With which half of the tasks run on the plain CPU."""


@dataclass(frozen=True)
class Times:
    """Seconds an episode took, one core, each a mean over one task's episodes."""

    task: str
    device: str
    live: float
    alone: float
    group: float
    same: float
    cold: float


def play(env: DebugEnv, prepared: Prepared, mark: str) -> float:
    """Seconds of one episode; the fix is the reference with a comment that holds `mark`."""
    started = time.perf_counter()
    env.reset(task=prepared)
    for tool in TOOLS:
        env.step({"type": "inspect", "tool": tool})
    known = prepared.task
    files = {name: f"{text}\n# {mark}\n" for name, text in known.reference}
    seen = env.step({"type": "fix", "bugs": list(known.bugs), "files": files})
    seconds = time.perf_counter() - started
    if not seen.done:
        raise RuntimeError(f"task {known.id}: its reference was not accepted: {seen.text}")
    return seconds


def measure(pool: Pool, bugs: tuple[str, ...], seed: int, group: int) -> Times:
    started = time.perf_counter()
    prepared = Prepared.of(generate(bugs, seed, pool=pool))
    live = time.perf_counter() - started
    services = Services([prepared], pool=pool, judge=OfflineJudge())
    env = DebugEnv(services)
    alone = play(env, prepared, "first")
    rest = [play(env, prepared, f"member {index}") for index in range(1, group)]
    again = Services([prepared], pool=pool, judge=OfflineJudge())
    same = [play(DebugEnv(again), prepared, "same") for _ in range(group)]
    sources = {name: text.encode() for name, text in prepared.task.reference}
    files = sources | services.data(prepared.task)
    once = cold_seconds(files, prepared.task.reference.entrypoint)
    return Times(
        prepared.task.id,
        prepared.task.device,
        live,
        alone,
        statistics.fmean([alone, *rest]),
        statistics.fmean(same),
        (len(TOOLS) + 1) * once,
    )


def table(found: Sequence[Times], group: int) -> str:
    rows: list[list[object]] = []
    for device in ("cpu", "cuda"):
        here = [one for one in found if one.device == device]
        if not here:
            continue
        cold_mean = statistics.fmean(one.cold for one in here)
        for kind, label in (
            ("alone", "alone"),
            ("group", f"group of {group}"),
            ("same", f"group of {group}, same fix"),
        ):
            seconds = statistics.fmean(getattr(one, kind) for one in here)
            rows.append([device, label, 1 / seconds, 1 / cold_mean, cold_mean / seconds])
        live = statistics.fmean(one.live for one in here)
        rows.append([device, f"(live generation adds {live:.1f} s to a reset)", None, None, None])
    return tabulate(rows, ["device", "episodes", "a second", "first seed's way", "times"], floatfmt=".2f")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mldebug.benchmark.perf.episodes", description=__doc__)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.tasks < 1 or options.group < 2:
        parser.error("--tasks takes numbers from 1 on, --group from 2 on")
    sets = default_sets()
    with Pool(1) as pool:
        found = [
            measure(pool, sets[index % len(sets)], SEED + index, options.group)
            for index in range(options.tasks)
        ]
    print(table(found, options.group))
    if options.json:
        options.json.write_text(json.dumps([one.__dict__ for one in found], indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
