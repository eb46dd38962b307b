"""What a run is asked for and what it left behind: frozen values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Device = Literal["cpu", "cuda"]
"""`cuda` is the simulated accelerator unless MLDEBUG_DEVICE=cuda names a real one."""

Outcome = Literal["ok", "error", "signal", "timeout", "memory"]
"""How a run ended: exit code 0 · another exit code · killed by a signal of its own making · the wall or
CPU limit · the memory limit."""

Probe = Literal["", "no_gradient", "no_backward", "shifted_device", "reseeded"]
"""What is done to a run on purpose, to learn what its results depend on: nothing · every gradient that the
autograd engine hands out is zero · those that it accumulates in `.grad` are · products and convolutions on
the simulated accelerator come out scaled · every seed that the script sets, or leaves unset, is another."""

PREDICTIONS = "predictions.npz"
METRICS = "metrics.json"


MOST_PATIENCE = 4
"""Times the wall limit after which a run is stopped in any case. Below, the time does not count that it
waited for a processor: a busy machine must not turn a slow job into one that does not finish."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one run. Seconds, MiB, counts and bytes."""

    wall_seconds: float = 30.0
    """Without the time in which the run waited for a processor (up to three times as much)."""
    cpu_seconds: int = 30
    memory_mib: int = 3072
    """Address space is no measure (torch maps gigabytes): resident memory of the whole process tree."""
    processes: int = 64
    output_bytes: int = 1 << 20
    """Kept of stdout and of stderr, each; what comes after is read and dropped."""
    file_bytes: int = 64 << 20
    """The largest file a run may write, and the largest artifact that is collected."""


@dataclass(frozen=True)
class RunRequest:
    """One run of one workspace.

    files: path relative to the workspace → content; sources and data alike.
    arguments: passed on to the entry point.
    trace: whether the run is observed from inside (its record is `RunResult.trace`).
    collect: paths to bring back, where the run wrote them as regular files.
    probe: an intervention, see `Probe`.
    inputs: whether the trace follows which rows are trained on and evaluated (see grader/trace/inputs).
    """

    files: Mapping[str, bytes]
    entrypoint: str
    arguments: tuple[str, ...] = ()
    device: Device = "cpu"
    trace: bool = True
    collect: tuple[str, ...] = (METRICS, PREDICTIONS)
    limits: Limits = field(default_factory=Limits)
    probe: Probe = ""
    inputs: bool = False


@dataclass(frozen=True)
class RunResult:
    """What one run left behind. Everything in it but `outcome`, `exit_code`, `signal`, and the times was
    written by the run itself and is to be read as hostile.

    artifacts: collected path → content. problems: path → why it was not collected (`missing`,
    `not a regular file`, `larger than … bytes`).
    trace: the record (see grader/trace), or None where it was not asked for or did not come.
    dropped_bytes: output beyond the limit.
    guarantees: the names of the guarantees that held for this run (see grader/sandbox/guarantees).
    tier: strict, restricted or posix. lacking: each other guarantee, and each stronger tier → why not.
    """

    outcome: Outcome
    exit_code: int | None
    signal: int | None
    stdout: str
    stderr: str
    artifacts: Mapping[str, bytes]
    problems: Mapping[str, str]
    trace: Mapping[str, Any] | None
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    dropped_bytes: int = 0
    guarantees: tuple[str, ...] = ()
    tier: str = ""
    lacking: Mapping[str, str] = field(default_factory=dict)
