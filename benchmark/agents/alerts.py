"""What an alert says before anything is looked at."""

from __future__ import annotations

from collections.abc import Sequence

CRASHING = ("shape_mismatch", "wrong_device")
"""Classes that end most of their jobs with an exception."""


def crashed(alert: str) -> bool:
    """Whether the job ended with an error."""
    return "failed" in alert


def fitting(alert: str, classes: Sequence[str]) -> list[str]:
    """All classes, those first that fit how the job ended; otherwise in the order in which they come."""
    ended = crashed(alert)
    return sorted(classes, key=lambda one: (one in CRASHING) is not ended)
