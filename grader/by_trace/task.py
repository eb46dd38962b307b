"""A task made of somebody's own script."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...mutators.workspace import Workspace
from .job import OwnJob


@dataclass(frozen=True)
class OwnTask:
    """What a grader has to know of it; `grader.task.Task` is its counterpart for jobs of the library.

    broken, reference: all sources, with the bugs and without (the script as it was given).
    """

    id: str
    bugs: tuple[str, ...]
    job: OwnJob
    broken: Workspace
    reference: Workspace
    causes: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)

    def key(self, workspace: Workspace) -> str:
        """A hash of everything that a run of this workspace follows from."""
        job = self.job
        data = sorted((name, hashlib.sha256(content).hexdigest()) for name, content in job.data.items())
        parts = [data, job.device, job.arguments, job.timeout, workspace.entrypoint, workspace.sources]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
