"""The wall limit does not count the time in which a run was ready and had no processor."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from mldebug.grader.runner import Limits, supervise
from mldebug.grader.runner.processes import seconds_waited
from mldebug.grader.runner.request import MOST_PATIENCE

BURN = """
import time
end = time.process_time() + 0.6
while time.process_time() < end:
    pass
print(1, flush=True)
input()
"""


def watch(passed: float) -> supervise._Watch:
    """Of a run that began so many seconds ago and may take ten."""
    made = supervise._Watch(os.getpid(), time.monotonic() - passed, Limits(wall_seconds=10), None)  # type: ignore[arg-type]
    made._next = time.monotonic() + 1000
    return made


@pytest.mark.parametrize(
    ("passed", "waited", "reason"),
    [
        (9.0, 0.0, None),
        (11.0, 0.0, "timeout"),
        (11.0, 5.0, None),
        (16.0, 5.0, "timeout"),
        (10.0 * MOST_PATIENCE - 1, 1e9, None),
        (10.0 * MOST_PATIENCE + 1, 1e9, "timeout"),
    ],
)
def test_waiting_puts_the_deadline_off_within_bounds(
    passed: float, waited: float, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "seconds_waited", lambda pid: waited)
    assert watch(passed).look() == reason


def test_two_processes_on_one_processor_wait_for_each_other() -> None:
    one_processor = {min(os.sched_getaffinity(0))}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", BURN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, one_processor),
        )
        for _ in range(2)
    ]
    try:
        for process in both:
            assert process.stdout is not None and process.stdout.readline() == b"1\n"
        assert sum(seconds_waited(process.pid) for process in both) > 0.3
        assert seconds_waited(2**22 + 1) == 0.0
    finally:
        for process in both:
            process.communicate(b"\n")
