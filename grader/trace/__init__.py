"""Observing a training script in its own process: `Recorder`."""

from .recorder import Recorder

__all__ = ["Recorder"]
