"""The agent's working copy of a job, and ways to run it."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from ..grader.predictions import Problem
from ..grader.runner.request import Limits, RunRequest, RunResult
from ..grader.submission import workspace_of
from ..grader.task import Task
from .models import ActionRefused
from .services import Services

LIMITS = Limits(wall_seconds=30.0, cpu_seconds=20, output_bytes=64 << 10, file_bytes=16 << 20)
"""Of a run that a tool makes."""

DRIVER = "_driver.py"
SHARED = ("attach", "describe", "watch", "pdb_output", "pdb_places")
"""Modules that drivers import."""
REPORT = "_report.json"
MOST_REPORT_BYTES = 1 << 20
_OWN = {DRIVER, REPORT, *(f"_{name}.py" for name in SHARED)}
"""Names in the job's folder that are not the job's."""


@dataclass(frozen=True)
class Driven:
    """A run with something attached. report: what the attachment wrote, None if nothing usable came of it;
    written in the job's own process, so no more to be trusted than its output."""

    result: RunResult
    report: Any


@dataclass
class Workbench:
    """One episode's working copy.

    files: path → text, as the agent has edited them. data: path → content, read-only. notes: what a tool
    wants to remember within the episode, by the tool's name (breakpoints, for instance). listeners: called
    with (workbench, path, text before, text after) after each change of a file.
    """

    task: Task
    services: Services
    files: dict[str, str]
    data: Mapping[str, bytes]
    notes: dict[str, Any] = field(default_factory=dict)
    listeners: list[Callable[[Workbench, str, str, str], None]] = field(default_factory=list)

    @property
    def entrypoint(self) -> str:
        return self.task.broken.entrypoint

    def hidden(self, path: str) -> bool:
        """Whether `.debugignore` keeps a file from the agent's eyes."""
        return _matches(self.task.broken.files.get(".debugignore"), path)

    def read_only(self, path: str) -> bool:
        """Whether the agent may not change a file: data, what `.debugreadonly` names, and what is hidden."""
        own = path.startswith("data/") or path in (".debugignore", ".debugreadonly")
        return own or self.hidden(path) or _matches(self.task.broken.files.get(".debugreadonly"), path)

    def visible_files(self) -> dict[str, str]:
        """The sources that the agent may see."""
        return {path: text for path, text in sorted(self.files.items()) if not self.hidden(path)}

    def change(self, changes: Mapping[str, str]) -> None:
        """Change files of the working copy, path → new text: all of them or none; listeners are told.

        Raises:
            ActionRefused: one may not be changed, or cannot be a file of a job.
        """
        new = {path: text for path, text in changes.items() if self.files.get(path) != text}
        for path in new:
            if path.split("/")[0] in _OWN or self.read_only(path):
                raise ActionRefused(f"{path[:80]!a} may not be changed")
        found = workspace_of(self.task, self.files | new)
        if isinstance(found, Problem):
            raise ActionRefused(found.text)
        for path, after in new.items():
            before = self.files.get(path, "")
            self.files[path] = after
            for listener in self.listeners:
                listener(self, path, before, after)

    def run(self) -> RunResult:
        """Run the working copy as `python train.py` would."""
        return self.services.run(
            RunRequest(
                self._content(),
                self.entrypoint,
                device=self.task.device,
                trace=False,
                collect=(),
                limits=LIMITS,
            )
        )

    def drive(self, driver: str, **settings: Any) -> Driven:
        """Run the working copy with `drivers/<driver>.py` attached; settings reach it as JSON."""
        settings = {"entrypoint": self.entrypoint, **settings}
        result = self.services.run(
            RunRequest(
                self._content() | _driver(driver),
                DRIVER,
                arguments=(json.dumps(settings, sort_keys=True),),
                device=self.task.device,
                trace=False,
                collect=(REPORT,),
                limits=LIMITS,
            )
        )
        return Driven(result, _report(result.artifacts.get(REPORT)))

    def _content(self) -> dict[str, bytes]:
        sources = {path: text.encode("utf-8", "surrogatepass") for path, text in self.files.items()}
        return sources | dict(self.data)


@cache
def _driver(name: str) -> dict[str, bytes]:
    """The files of a driver: itself, and what drivers share; in the job's folder they are no package."""
    folder = resources.files(__package__) / "drivers"
    files = {f"_{one}.py": folder / f"{one}.py" for one in SHARED} | {DRIVER: folder / f"{name}.py"}
    return {
        path: re.sub(
            r"^from \.(\w+) import", r"from _\1 import", file.read_text("utf-8"), flags=re.M
        ).encode()
        for path, file in files.items()
    }


def _report(content: bytes | None) -> Any:
    if content is None or len(content) > MOST_REPORT_BYTES:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _matches(patterns: str | None, path: str) -> bool:
    """Whether a path matches one of the lines of a `.debugignore`: shell patterns, of the path, of its name,
    or of a folder above it."""
    for line in (patterns or "").splitlines():
        pattern = line.strip().rstrip("/")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if any(fnmatch.fnmatchcase(one, pattern) for one in [*above, *parts]):
            return True
    return False
