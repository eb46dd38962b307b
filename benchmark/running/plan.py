"""What a run is: all that its results follow from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import UsageError
from ...grader.ladder import EFFICIENCY_CAP
from ...seeds import Draw
from ...task_folder import BUDGET
from ...versions import made_by, run_by
from ..agents.base import Agent, agent, settled
from .rows import Entry, TaskFile

SCHEMA = 1


@dataclass(frozen=True)
class Playing:
    """An agent with its settings, complete."""

    kind: type[Agent]
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.kind.name


@dataclass(frozen=True)
class Rules:
    """Of every episode. strict_seed_scoring: see `grader.ladder.rung_of`. cap: see
    `grader.ladder.efficiency`."""

    budget: int = BUDGET
    strict_seed_scoring: bool = False
    cap: float = EFFICIENCY_CAP


@dataclass(frozen=True)
class Episode:
    """One agent on one task."""

    playing: Playing
    entry: Entry

    @property
    def file(self) -> str:
        """Where its trajectory lies in the folder of the run."""
        return f"trajectories/{self.playing.name}/{self.entry.id}.jsonl"


@dataclass(frozen=True)
class Plan:
    """Agents over tasks. The bytes of the results follow from this alone."""

    tasks: TaskFile
    agents: tuple[Playing, ...]
    seed: int = 0
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def of(
        cls,
        tasks: TaskFile,
        names: Sequence[str],
        settings: Mapping[str, Mapping[str, Any]],
        *,
        seed: int = 0,
        rules: Rules | None = None,
    ) -> Plan:
        """Agents by their names; settings: name → what differs from the defaults.

        Raises:
            UsageError: an agent is unknown, named twice, or has no such setting; or there is none.
        """
        if not names:
            raise UsageError("name at least one agent")
        if twice := sorted(one for one in set(names) if list(names).count(one) > 1):
            raise UsageError(f"the agent {twice[0]!r} is named twice")
        kinds = [agent(one) for one in sorted(names)]
        playing = tuple(Playing(one, settled(one, settings.get(one.name, {}))) for one in kinds)
        if unused := sorted(set(settings) - set(names)):
            raise UsageError(f"settings for {unused[0]!r}, which is not among the agents: {', '.join(names)}")
        for one in playing:
            one.kind.check(one.settings)
        return cls(tasks, playing, seed, rules or Rules())

    @property
    def alone(self) -> bool:
        """Whether episodes cannot be played beside each other, as a person answers."""
        return any(one.kind.needs_terminal(one.settings) for one in self.agents)

    def episodes(self) -> list[Episode]:
        """In the order of the results: task by task, the agents by name."""
        return [Episode(playing, entry) for entry in self.tasks.entries for playing in self.agents]

    def in_order_of(self, shuffle: int | None) -> list[Episode]:
        """In the order in which they are played; it changes nothing but when what is done."""
        found = self.episodes()
        return found if shuffle is None else Draw("order of a run", shuffle).shuffled(found)

    def mark(self) -> dict[str, Any]:
        """As `run.json` holds it, but for the path of the tasks."""
        digests = "".join(one.sha256 for one in self.tasks.entries)
        return {
            "schema": SCHEMA,
            "tasks": {"count": len(self.tasks), "sha256": hashlib.sha256(digests.encode()).hexdigest()},
            "agents": {one.name: dict(one.settings) for one in self.agents},
            "seed": self.seed,
            "rules": vars(self.rules),
            "versions": made_by() | run_by(),
        }

    def header(self, episode: Episode) -> dict[str, Any]:
        """The first line of a trajectory: all that the episode follows from."""
        playing = episode.playing
        return {
            "schema": SCHEMA,
            "agent": playing.name,
            "settings": dict(playing.settings),
            "task": episode.entry.id,
            "row": episode.entry.sha256,
            "seed": self.seed if playing.kind.draws else None,
            "tools": None if playing.kind.tools is None else list(playing.kind.tools),
            "rules": vars(self.rules),
            "versions": made_by() | run_by(),
        }


def line(value: Mapping[str, Any]) -> str:
    """One line of canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"
