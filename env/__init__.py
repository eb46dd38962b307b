"""The environment: an alert, a budget of steps that buys evidence, and a fix that is graded."""

from __future__ import annotations

from .debug_env import DebugEnv
from .models import Fix, Inspect, Observation
from .services import Services
from .tasks import Assignment, Prepared

__all__ = ["Assignment", "DebugEnv", "Fix", "Inspect", "Observation", "Prepared", "Services"]
