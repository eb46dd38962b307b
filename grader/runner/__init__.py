"""Runs workspaces: fast (one child of a warm interpreter each), bounded, and without leaving anything."""

from __future__ import annotations

from .pool import Pool
from .request import METRICS, PREDICTIONS, Device, Limits, Outcome, RunRequest, RunResult

__all__ = ["METRICS", "PREDICTIONS", "Device", "Limits", "Outcome", "Pool", "RunRequest", "RunResult"]
