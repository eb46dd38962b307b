"""What a zygote answers, as parts of a result. All of it was written by the run."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from .request import Outcome


def content(descriptor: int, largest: int) -> bytes:
    """The first bytes of an anonymous file."""
    pieces = []
    position = 0
    while position < largest and (piece := os.pread(descriptor, min(1 << 20, largest - position), position)):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)


def plain(output: bytes, folder: str) -> str:
    """Output as text, with the folder's random name taken out of paths: `/workspace/train.py`."""
    if folder:
        output = output.replace(os.fsencode(folder), b"")
    return output.decode(errors="replace")


def outcome(answer: dict[str, Any]) -> tuple[Outcome, int | None, int | None]:
    status, reason = answer["status"], answer["reason"]
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if number is None else None
    if reason in ("timeout", "memory"):
        return reason, None, number
    if reason == "processes":
        return "signal", None, number or int(signal.SIGKILL)
    if number is not None:
        return "signal", None, number
    return ("ok" if code == 0 else "error"), code, None


def record(content: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
