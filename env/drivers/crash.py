"""Nothing is attached but the ending: how the job left, with its traceback."""

from __future__ import annotations

from .attach import run, settings

run({}, settings()["entrypoint"])
