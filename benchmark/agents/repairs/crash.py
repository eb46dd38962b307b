"""What a traceback says."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from .job import File, Job

_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+)(?:, in (.+))?$', re.MULTILINE)
_ERROR = re.compile(r"^(?:[\w.]*\.)?(\w*(?:Error|Exception|Interrupt))(?:: (.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Crash:
    """frames: (file of the job, line), from the outside in. kind: of the exception; message: its first
    line."""

    frames: tuple[tuple[str, int], ...]
    kind: str
    message: str

    @classmethod
    def read(cls, text: str, job: Job) -> Crash | None:
        """From what `get_traceback` says; None if there was no exception."""
        errors = _ERROR.findall(text)
        if not errors:
            return None
        known = {file.path for file in job.files}
        frames = []
        for path, line, _ in _FRAME.findall(text):
            name = next((one for one in known if path == one or path.endswith(f"/{one}")), None)
            if name is not None:
                frames.append((name, int(line)))
        return cls(tuple(frames), errors[-1][0], errors[-1][1])

    @property
    def about_devices(self) -> bool:
        text = self.message
        return (
            "device" in text
            or ("cuda" in text.lower() and "numpy" in text)
            or "weight type" in text
            or ("torch.cuda" in text)
        )


def statements_at(job: Job, path: str, line: int) -> list[tuple[File, ast.stmt]]:
    """The innermost statements that a line belongs to."""
    found = []
    for file in job.files:
        if file.path != path:
            continue
        for node in file.nodes:
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
                found.append((file, node))
    return found[-1:]
