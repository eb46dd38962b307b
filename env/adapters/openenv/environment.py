"""One session: OpenEnv's verbs around a `DebugEnv`."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from openenv.core.env_server.interfaces import Environment  # type: ignore[import-untyped]
from openenv.core.env_server.types import EnvironmentMetadata  # type: ignore[import-untyped]

from ....errors import MldebugError, NoValidVariantError, UsageError
from ....mutators.base import canonical_bugs
from ...debug_env import DebugEnv
from ...models import Observation
from ...tasks import Assignment, Prepared
from .host import Host, any_seed, public
from .models import DebugAction, DebugObservation, DebugState

NAME = "mldebug"
LONGEST_ID = 255
LONGEST_NAMES = 1000
MOST_LISTED = 1000
"""Tasks of one answer; `get_task_range` goes on from there."""

log = logging.getLogger("mldebug.serve")


class ServerFault(MldebugError):
    """The machinery failed, not the client. What happened is in the server's log."""


class DebugEnvironment(Environment):  # type: ignore[misc]
    """A session of the server; many share a `host`. Made cheaply: nothing starts before `reset`.

    Also a task provider where the host has lists of tasks: `list_splits`, `list_tasks`, `num_tasks`,
    `get_task`, `get_task_range`, then `reset(split=…, index=…)`.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._env: DebugEnv | None = None
        self._seen: Observation | None = None
        self._episode: str | None = None
        self._closed = False
        host.opened(1)

    def reset(
        self,
        /,
        seed: int | None = None,
        episode_id: str | None = None,
        bugs: str | list[str] | None = None,
        script: str | None = None,
        split: str | None = None,
        index: int | None = None,
        **unknown: Any,
    ) -> DebugObservation:
        """Begin an episode.

        Args:
            seed: chooses the task, the same one each time; it has nothing to choose where `index` is given.
            episode_id: a label for `state`; nothing is found by it.
            bugs, script: what the task is to be about.
            split: of the listed tasks. index: which one of it.

        Raises:
            UsageError: unknown or contradicting options, or the session is closed.
            ServerFault: no task could be made.
        """
        if unknown:
            takes = "seed, episode_id, bugs, script, split, index"
            raise UsageError(f"reset has no option {min(map(str, unknown))[:60]!a}; it takes: {takes}")
        with self._told():
            _check_label(episode_id)
            names = _bugs(bugs)
            if script is not None and not isinstance(script, str):
                raise UsageError("script must be the name of a job, as text")
            task = self._listed(seed, names, script, split, index)
            env = self._ready()
            self._episode, self._seen = None, None
            self._seen = env.reset(seed, names, script=script) if task is None else env.reset(task=task)
            self._episode = episode_id or uuid.uuid4().hex
            return DebugObservation.of(self._seen)

    def step(self, action: DebugAction, timeout_s: float | None = None) -> DebugObservation:
        """Use a tool or hand in a fix. timeout_s: not needed, every run has its own limits.

        Raises:
            UsageError: there is no episode, it is over, or the session is closed.
            ServerFault: nothing could be run; the step is not counted.
        """
        with self._told():
            if self._seen is None and not self._closed:
                raise UsageError("no episode is going on; call reset()")
            self._seen = self._ready().step(action.payload())
            return DebugObservation.of(self._seen)

    @property
    def state(self) -> DebugState:
        seen = self._seen
        return DebugState(
            episode_id=self._episode,
            step_count=seen.step if seen else 0,
            task=seen.task if seen else None,
            budget=self._host.settings.budget,
            done=seen.done if seen else True,
        )

    def get_metadata(self) -> EnvironmentMetadata:
        return EnvironmentMetadata(
            name=NAME,
            description="Find and repair the bug in a PyTorch training job, from an alert and a few steps.",
            version=metadata.version("mldebug"),
        )

    def close(self) -> None:
        """End the session; another `step` or `reset` is refused."""
        if not self._closed:
            self._closed = True
            self._host.opened(-1)
        if self._env is not None:
            self._env.close()

    def list_splits(self) -> list[dict[str, Any]]:
        """Name, type and size of each split; none where tasks are generated."""
        return self._host.lists.splits()

    def num_tasks(self, split: str) -> int:
        """How many tasks a split has."""
        return len(self._host.lists.split(split))

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """The first tasks of a split, a thousand at most."""
        return self.get_task_range(split)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One task: id, alert, entry point, budget, and where it stands."""
        return public(self._host.lists.chosen(split, index), split, index, self._host.settings.budget)

    def get_task_range(
        self, split: str, start: int | None = None, stop: int | None = None
    ) -> list[dict[str, Any]]:
        """Tasks as a slice counts them, a thousand at most."""
        places = range(self.num_tasks(split))[start:stop][:MOST_LISTED]
        return [self.get_task(split, index) for index in places]

    def _ready(self) -> DebugEnv:
        if self._closed:
            raise UsageError("this session is closed (idle for too long?); connect again")
        if self._env is None:
            self._env = DebugEnv(self._host.services, budget=self._host.settings.budget)
        return self._env

    def _listed(
        self, seed: Any, bugs: tuple[str, ...] | None, script: str | None, split: Any, index: Any
    ) -> Prepared | None:
        """The listed task that was asked for, by place or by seed; None: nothing about lists was said."""
        if split is None and index is None:
            return None
        if index is None:
            seed = any_seed() if seed is None else seed
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise UsageError(f"seed must be an integer from 0 on, got {str(seed)[:60]!a}")
            return self._host.lists.drawn(split, Assignment(seed, bugs, script))
        if bugs is not None or script is not None:
            raise UsageError("an index names one task: bugs and script have nothing to choose")
        return self._host.lists.chosen(split, index)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors in words for the client; what else is known goes to the log."""
        try:
            yield
        except UsageError:
            raise
        except NoValidVariantError:
            raise UsageError("no task could be proved for these options; try another seed") from None
        except Exception as error:
            log.error("%s", error, exc_info=not isinstance(error, MldebugError))
            raise ServerFault("the server could not run the job; nothing was counted, try again") from None


def _check_label(episode_id: Any) -> None:
    usable = episode_id is None or (
        isinstance(episode_id, str) and len(episode_id) <= LONGEST_ID and episode_id.isprintable()
    )
    if not usable:
        raise UsageError(f"episode_id must be text of at most {LONGEST_ID} printable characters")


def _bugs(bugs: Any) -> tuple[str, ...] | None:
    """Canonical names of classes, from a list or a text with commas."""
    if bugs is None:
        return None
    texts = isinstance(bugs, str) or (isinstance(bugs, list) and all(isinstance(one, str) for one in bugs))
    if not texts or sum(map(len, bugs)) > LONGEST_NAMES:
        raise UsageError("bugs must be a list of class names, or names separated by commas")
    return canonical_bugs(bugs)
