"""The folder of a run.

    run.json                          what the run is; written first
    trajectories/<agent>/<task>.jsonl one for each episode that was played, whole or not there
    results.jsonl                     one line an episode, once all are there
    times.jsonl                       what differs from run to run, in the order in which episodes ended

A trajectory is put in place in one step, so a run that was killed has lost only the episodes it was playing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from ...errors import UsageError
from ...output.whole_file import put_whole
from ...task_folder import canonical_json
from .episode import Played
from .plan import Episode, Plan, line


class RunFolder:
    """Args:
        path: the folder, made if need be. resume: go on with what lies there.

    Raises:
        UsageError: another run lies there, nothing does though it should, somebody else is writing there, or
            it cannot be written.
    """

    def __init__(self, path: Path, plan: Plan, *, resume: bool = False) -> None:
        self.path = path
        self._plan = plan
        mark = path / "run.json"
        try:
            if resume and not mark.is_file():
                raise UsageError(
                    f"--resume: no run was begun in {path} (there is no run.json); run without --resume"
                )
            if not resume and path.exists() and any(path.iterdir()):
                there = (
                    "a run was begun there; --resume goes on with it" if mark.is_file() else "it is not empty"
                )
                raise UsageError(f"--out {path}: {there}, or name another folder")
            path.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            if resume:
                self._same(mark)
            else:
                record = {"run": plan.mark(), "tasks_file": str(plan.tasks.path.absolute())}
                put_whole(mark, canonical_json(record).encode())
            for one in plan.agents:
                (path / "trajectories" / one.name).mkdir(parents=True, exist_ok=True)
            self._times = _appended(path / "times.jsonl")
        except OSError as error:
            raise UsageError(
                f"--out {path}: cannot write there ({error.strerror or error}); name a folder you may write "
                "to"
            ) from None

    def _locked(self) -> IO[bytes]:
        lock = (self.path / ".lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise UsageError(f"--out {self.path}: another process is running there; wait for it") from None
        return lock

    def _same(self, mark: Path) -> None:
        before, now = read_json(mark).get("run", {}), self._plan.mark()
        for name in now:
            if before.get(name) != now[name]:
                raise UsageError(
                    f"--resume {self.path}: another run lies there: its {name} are {before.get(name)!r}, not "
                    f"{now[name]!r}; name another folder"
                )

    def close(self) -> None:
        self._times.close()
        self._lock.close()

    def result(self, episode: Episode) -> dict[str, Any] | None:
        """The result of an episode that was played; None if it was not.

        Raises:
            UsageError: its trajectory is not one that this run wrote.
        """
        path = self.path / episode.file
        if not path.is_file():
            return None
        lines = read_trajectory(path)
        if lines[0] != json.loads(line(self._plan.header(episode))):
            raise UsageError(f"{path}: is of another run; remove it, and --resume plays it again")
        found: dict[str, Any] = lines[-1]["result"]
        return found

    def keep(self, episode: Episode, played: Played) -> None:
        """Put a trajectory in place, whole."""
        put_whole(self.path / episode.file, played.text.encode())
        self._times.write(line(played.times))
        self._times.flush()

    def finish(self, results: Iterable[Mapping[str, Any]]) -> Path:
        """Write the results: of every episode of the plan, in its order."""
        path = self.path / "results.jsonl"
        put_whole(path, "".join(map(line, results)).encode())
        return path


def read_trajectory(path: Path) -> list[dict[str, Any]]:
    """The lines of a trajectory: at least its header, the first observation, and the result.

    Raises:
        UsageError: it is none, or not whole.
    """
    try:
        found = [json.loads(one) for one in path.read_text("utf-8").splitlines()]
        whole = (
            all(isinstance(one, dict) for one in found)
            and isinstance(found[-1]["result"], dict)
            and all(name in found[0] for name in ("agent", "task", "row", "rules"))
            and "observation" in found[1]
            and all("action" in one and "observation" in one for one in found[2:-1])
        )
    except (OSError, ValueError, RecursionError, LookupError) as error:
        raise UsageError(f"{path}: no trajectory that `mldebug bench run` wrote ({error})") from None
    if not whole:
        raise UsageError(f"{path}: no whole trajectory that `mldebug bench run` wrote")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Raises:
    UsageError: it holds no JSON object.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: must hold a JSON object")
    return found


def read_times(path: Path) -> list[dict[str, Any]]:
    """What `times.jsonl` holds, but for lines that are none: only seconds that are shown follow."""
    found = []
    try:
        lines = path.read_text("utf-8", "replace").split("\n")[:-1]
    except FileNotFoundError:
        return []
    for text in lines:
        with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
            one = json.loads(text)
            found.append({"agent": one["agent"], "task": one["task"], "seconds": float(one["seconds"])})
    return found


def _appended(path: Path) -> IO[str]:
    """A file to append lines to; a last line that a killed run left half written is cut off."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8")
