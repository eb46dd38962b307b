"""Big counts: machinery killed at random moments, and thousands of runs in one process. `pytest --deep`."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from mldebug.clean_scripts.data import data_files
from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.errors import RunnerError
from mldebug.grader.runner import Limits, Pool, RunRequest
from mldebug.grader.runner.processes import children_of, tree_below

pytestmark = pytest.mark.deep

VALIDATIONS = 300
TRIVIAL, REAL = 10_000, 500
SEED = 3


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder of its own: others on this machine have theirs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def state(pool: Pool) -> dict[str, object]:
    """What must not grow: of this process, and of the machine as far as it can be seen."""
    temporary = Path(tempfile.gettempdir())
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "mounts": Path("/proc/self/mountinfo").read_text().count("\n"),
        "folders": len(list(temporary.glob("mldebug-*"))) - len([*pool._idle, *pool._busy]),
        "threads": threading.active_count(),
    }


def families(pool: Pool) -> list[dict[str, list[int]]]:
    """Warden, zygote, and the rest (usher, cells' first processes, runs) of every worker."""
    found = []
    for worker in [*pool._idle, *pool._busy]:
        warden = worker._process.pid
        zygotes = sorted(children_of(warden)[0])
        below = sorted(tree_below(warden).pids - set(zygotes))
        found.append({"warden": [warden], "zygote": zygotes, "below": below})
    return found


def test_machinery_killed_at_random_moments(evidence):
    """Warden, zygote (which holds the watchdog), usher, cells and runs, while a job is validated."""
    job = load_job("tabular_classifier")
    files = {file: text.encode() for file, text in sources(job.name)} | data_files(job.generate(1))
    request = RunRequest(files, job.files[0], limits=Limits(wall_seconds=120))
    draw = random.Random(SEED)
    over = threading.Event()
    killed: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    with Pool(2, tier="strict") as pool:
        right = pool.run(request)
        before = state(pool)

        def kill() -> None:
            while not over.wait(draw.uniform(1.0, 8.0)):
                choices = [
                    (kind, pid) for one in families(pool) for kind, pids in one.items() for pid in pids
                ]
                if choices:
                    kind, pid = draw.choice(choices)
                    killed[kind] += 1
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        killed["gone already"] += 1

        killer = threading.Thread(target=kill)
        killer.start()
        wrong = []

        def validate(count: int) -> None:
            for _ in range(count):
                try:
                    result = pool.run(request)
                except RunnerError:
                    outcomes["runner error"] += 1
                    continue
                outcomes[result.outcome] += 1
                if result.outcome == "ok" and (result.stdout, result.artifacts, result.trace) != (
                    right.stdout,
                    right.artifacts,
                    right.trace,
                ):
                    wrong.append(result)
                if result.outcome not in ("ok", "signal"):
                    wrong.append(result)

        threads = [threading.Thread(target=validate, args=(VALIDATIONS // 2,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        killer.join()
        assert pool.run(request).artifacts == right.artifacts
        after = state(pool)
    assert wrong == []
    assert after["mounts"] == before["mounts"]
    assert after["folders"] == before["folders"]
    left = len([pid for pid in tree_below(os.getpid()).pids if "zygote" in command(pid)])
    assert left == 0
    evidence(
        "sandbox_killed",
        {
            "validations": VALIDATIONS,
            "kills": dict(killed),
            "outcomes": dict(outcomes),
            "wrong_results": len(wrong),
            "processes_left": left,
            "before": before,
            "after": after,
        },
    )


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_thousands_of_runs_in_one_process(evidence):
    trivial = RunRequest({"train.py": b"print('x')"}, "train.py", trace=False, collect=())
    jobs = []
    for name in job_names():
        job = load_job(name)
        files = {file: text.encode() for file, text in sources(name)} | data_files(job.generate(1))
        jobs.append(RunRequest(files, job.files[0], limits=Limits(wall_seconds=120)))
    samples = []
    with Pool(2, tier="strict") as pool:
        right = pool.map(jobs)
        assert [result.outcome for result in right] == ["ok"] * len(jobs)
        pool.map([trivial] * 4)
        started = time.monotonic()
        wrong = 0
        for index in range(20):
            results = pool.map([trivial] * (TRIVIAL // 20))
            wrong += sum((one.outcome, one.stdout) != ("ok", "x\n") for one in results)
            requests = [jobs[at % len(jobs)] for at in range(REAL // 20)]
            for at, result in enumerate(pool.map(requests)):
                same = right[at % len(jobs)]
                wrong += (result.stdout, result.artifacts) != (same.stdout, same.artifacts)
            zygotes = [pid for one in families(pool) for pid in one["zygote"]]
            samples.append(
                state(pool)
                | {
                    "runs": (index + 1) * (TRIVIAL + REAL) // 20,
                    "caller_mib": round(resident_mib(os.getpid()), 1),
                    "zygotes_mib": round(max(map(resident_mib, zygotes)), 1),
                    "processes": len(
                        [pid for pid in tree_below(os.getpid()).pids if "zygote" in command(pid)]
                    ),
                }
            )
        seconds = time.monotonic() - started
    assert wrong == 0
    first, last = samples[1], samples[-1]
    assert (last["mounts"], last["folders"], last["threads"]) == (
        first["mounts"],
        first["folders"],
        first["threads"],
    )
    assert last["descriptors"] <= first["descriptors"] + 4
    assert last["caller_mib"] < first["caller_mib"] + 50
    left = len([pid for pid in tree_below(os.getpid()).pids if "zygote" in command(pid)])
    assert left == 0
    evidence(
        "sandbox_endurance",
        {
            "trivial_runs": TRIVIAL,
            "real_runs": REAL,
            "seconds": round(seconds),
            "wrong_results": wrong,
            "processes_left": left,
            "samples": samples,
        },
    )
