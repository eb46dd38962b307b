"""The agent's working copy of a job, and ways to run it."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from ..grader.runner.request import Limits, RunRequest, RunResult
from ..grader.task import Task
from .services import Services

LIMITS = Limits(wall_seconds=30.0, cpu_seconds=20, output_bytes=64 << 10, file_bytes=16 << 20)
"""Of a run that a tool makes."""

DRIVER, SHARED = "_driver.py", "_attach.py"
REPORT = "_report.json"
MOST_REPORT_BYTES = 1 << 20


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
    wants to remember within the episode, by the tool's name (breakpoints, for instance).
    """

    task: Task
    services: Services
    files: dict[str, str]
    data: Mapping[str, bytes]
    notes: dict[str, Any] = field(default_factory=dict)

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
    """The files of a driver: itself, and what all drivers share."""
    folder = resources.files(__package__) / "drivers"
    shared, own = ((folder / f"{one}.py").read_text("utf-8") for one in ("attach", name))
    return {
        SHARED: shared.encode(),
        DRIVER: own.replace("from .attach import", "from _attach import").encode(),
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
