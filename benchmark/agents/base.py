"""What an agent is, and where agents are registered.

One agent, one module of this folder: a subclass of `Agent` with a name, a sentence for people, and `act`.
Every module in this folder is found by itself; agents of other packages by the entry point `mldebug.agents`.
An instance plays one episode. It is given the observations of the environment and nothing else; whatever it
draws, it draws from `brief.draw`, so that what it does depends on neither order nor company.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, ClassVar

from ...env.announced import kinds
from ...env.models import Observation
from ...errors import MldebugError, UsageError
from ...seeds import Draw


class AgentFailed(MldebugError):
    """What the agent needs outside of the environment failed (an endpoint, a terminal), not the agent. The
    episode counts as not played; `--resume` plays it again."""


@dataclass(frozen=True)
class Solution:
    """The truth of a task, for agents that say so (`Agent.is_told`). files: path → text of the reference."""

    bugs: tuple[str, ...]
    files: Mapping[str, str]


@dataclass(frozen=True)
class Brief:
    """What an agent knows before the first observation.

    tools: name, description and parameters of each, as function calling wants them. classes: canonical names
    of the bug classes there are. draw: of this agent, task and run seed. settings: by name, complete.
    solution: None, but for agents that are told it.
    """

    tools: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    draw: Draw
    settings: Mapping[str, Any] = field(default_factory=dict)
    solution: Solution | None = None


@dataclass
class Usage:
    """What a language model was asked for: answered requests, and tokens as the endpoint counted them.

    dollars: by the prices of `llm.yaml`; 0 where it has none. uncounted: answers that came without a count.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    dollars: float = 0.0

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"dollars": round(self.dollars, 9)}


@dataclass(frozen=True)
class Turn:
    """action: as `DebugEnv.step` takes it. note: whatever a reader of the trajectory should know about how it
    came about; JSON, the same in every run."""

    action: Mapping[str, Any]
    note: Any = None


class Agent(ABC):
    """Plays one episode.

    Args:
        brief: see `Brief`.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    """For people: what it does, in a sentence."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Its settings with their defaults; a value that is given must be of the kind of its default."""
    tools: ClassVar[tuple[str, ...] | None] = None
    """Those it is given; all if None."""
    is_told: ClassVar[bool] = False
    """Whether it gets the solution."""
    draws: ClassVar[bool] = False
    """Whether what it does depends on the run's seed."""

    def __init__(self, brief: Brief) -> None:
        self.brief = brief
        self.usage: Usage | None = None

    @classmethod
    def needs_terminal(cls, settings: Mapping[str, Any]) -> bool:
        """Whether episodes may not be played beside each other, as a person answers."""
        return False

    @classmethod  # noqa: B027
    def check(cls, settings: Mapping[str, Any]) -> None:
        """Find out before a run whether it can be played with these settings.

        Raises:
            UsageError: it cannot.
        """

    @abstractmethod
    def act(self, seen: Observation) -> Turn:
        """The next action, after the latest observation. Called until the episode is done.

        Raises:
            AgentFailed: what it needs failed.
        """

    def heard(self, seen: Observation) -> None:  # noqa: B027
        """The last observation, after which nothing is asked any more."""


def inspect(tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The action of using a tool."""
    return {"type": "inspect", "tool": tool, "arguments": arguments}


def fix(
    bugs: tuple[str, ...] | list[str], files: Mapping[str, str] | None = None, diagnosis: str = ""
) -> dict[str, Any]:
    """The action of handing in files; None: the working copy as it is."""
    found: dict[str, Any] = {"type": "fix", "bugs": sorted(bugs), "diagnosis": diagnosis}
    return found if files is None else found | {"files": dict(files)}


@cache
def registered() -> Mapping[str, type[Agent]]:
    """All agents there are, by name.

    Raises:
        UsageError: an announced one cannot be loaded, or two have one name.
    """
    found = kinds(Agent, __package__, "mldebug.agents", "agent")  # type: ignore[type-abstract]
    return dict(sorted(found.items()))


def agent(name: str) -> type[Agent]:
    """The agent of a name.

    Raises:
        UsageError: there is none.
    """
    known = registered()
    if name not in known:
        raise UsageError(f"unknown agent {name!r}; choose from: {', '.join(known)}")
    return known[name]


def settled(kind: type[Agent], given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of an agent: its defaults, and over them those that are given.

    Raises:
        UsageError: it has no such setting, or the value is of another kind than the default.
    """
    found = dict(kind.settings)
    for name, value in given.items():
        if name not in found:
            takes = ", ".join(sorted(found)) or "none"
            raise UsageError(f"{kind.name} has no setting {name!r}; it has: {takes}")
        default = found[name]
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise UsageError(
                f"{kind.name}.{name} must be of the kind of {default!r} ({type(default).__name__}), "
                f"got {value!r}"
            )
        found[name] = value
    return found
