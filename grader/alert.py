"""What monitoring would say of a run that was really made."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .evidence import Observed, Run

SIGNIFICANT = 2
"""Digits shown of a figure: what processors round differently stays out of sight."""


def alert_text(run: Observed) -> str:
    """One or two sentences, borne out by the run: how it ended, and its last figures."""
    return ending_text(run, run.final)


def ending_text(run: Run, final: Mapping[str, float]) -> str:
    """How a run ended, and if it did, figures by their names."""
    result = run.result
    if result.outcome == "timeout":
        return f"Training job was stopped after {result.wall_seconds:.0f} s without finishing."
    if result.outcome == "memory":
        return "Training job was stopped: it ran out of memory."
    if result.outcome == "signal":
        return f"Training job was killed by signal {result.signal}."
    if result.outcome == "error":
        steps = int((run.exception or {}).get("steps_before", 0) or 0)
        when = "after training had begun" if steps else "before the first training step"
        return f"Training job failed with exit code {result.exit_code}, {when}."
    figures = [f"Final {name.replace('_', ' ')}: {figure(value)}." for name, value in final.items()]
    return " ".join(["Training job finished.", *figures])


def figure(value: float) -> str:
    """Two significant digits, `nan` and `inf` spelled as Python does.

    >>> figure(0.9637), figure(123.4), figure(float("nan"))
    ('0.96', '120', 'nan')
    """
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    digits = SIGNIFICANT - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:.{max(digits, 0)}f}" if abs(rounded) < 1e6 else f"{rounded:.1e}"
