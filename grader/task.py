"""What a grader has to know of a task; made from a variant, a task folder or a row of a JSONL file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..clean_scripts.spec import JobSpec
from ..mutators.workspace import Workspace
from .runner.request import Device


@dataclass(frozen=True)
class Task:
    """A broken job, its reference, and where to run them.

    bugs: canonical classes, sorted. visible_seed: data an agent sees. hidden_seed: data it is graded on.
    causes: class → what was done to it, a sentence. places: class → where (`train.py:110 in main`).
    """

    id: str
    bugs: tuple[str, ...]
    spec: JobSpec
    device: Device
    visible_seed: int
    hidden_seed: int
    broken: Workspace
    reference: Workspace
    causes: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)

    def key(self, workspace: Workspace) -> str:
        """A hash of everything that a run of this workspace, on this task's data, follows from."""
        parts = [
            self.spec.name,
            self.spec.generator,
            self.device,
            self.visible_seed,
            self.hidden_seed,
            workspace.entrypoint,
            workspace.sources,
        ]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
