"""What goes over the wire, as OpenEnv wants it declared.

The truth about a task is in none of these: whatever a model holds reaches the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from openenv.core.env_server.types import Action, Observation, State  # type: ignore[import-untyped]
from pydantic import Field, SkipValidation, model_validator

from ...models import Observation as Seen

FIELDS = ("type", "tool", "arguments", "bugs", "diagnosis", "script", "files", "patch")


class DebugAction(Action):  # type: ignore[misc]
    """Use a tool (`type="inspect"`) or hand in a fix (`type="fix"`).

    The values are not looked at before the environment's `step` does: there a wrong one is an answer to the
    agent, which costs a step like any other, while an error here would come out of the protocol. Unknown
    fields are refused here.
    """

    type: SkipValidation[Literal["inspect", "fix"]] = Field(description="what to do")
    tool: SkipValidation[str | None] = Field(None, description="inspect: the tool's name")
    arguments: SkipValidation[dict[str, Any] | None] = Field(None, description="inspect: its parameters")
    bugs: SkipValidation[list[str] | str | None] = Field(None, description="fix: the classes it repairs")
    diagnosis: SkipValidation[str | None] = Field(None, description="fix: what was wrong, in words")
    script: SkipValidation[str | None] = Field(None, description="fix: the whole text of the entry point")
    files: SkipValidation[dict[str, str] | None] = Field(None, description="fix: path to whole text")
    patch: SkipValidation[str | None] = Field(None, description="fix: a unified diff")

    @model_validator(mode="before")
    @classmethod
    def _type_may_be_missing(cls, value: Any) -> Any:
        return {"type": None} | value if isinstance(value, dict) else value

    def payload(self) -> dict[str, Any]:
        """The fields that are set, as `env.models.read_action` reads them."""
        found = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in found.items() if value is not None}


class DebugObservation(Observation):  # type: ignore[misc]
    """What the agent sees after `reset` and after each step: see `env.models.Observation`."""

    reward: float = Field(0.0, description="0 until the episode is done, then what it is paid")
    text: str = Field(description="after reset the briefing, after a step what came of it")
    alert: str = Field(description="what monitoring said")
    task: str = Field(description="an opaque id")
    entrypoint: str = Field(description="the file that starts the job")
    step: int = Field(description="steps that are spent")
    budget: int = Field(description="steps there are")
    tools: list[str] = Field(description="names of the tools")
    refused: bool = Field(False, description="the action made no sense; the text says why")

    @classmethod
    def of(cls, seen: Seen) -> DebugObservation:
        return cls(**seen.record())

    def seen(self) -> Seen:
        """The observation of an environment in the same process."""
        values = {name: getattr(self, name) for name in Seen.__dataclass_fields__}
        return Seen(**values | {"tools": tuple(self.tools)})


class DebugState(State):  # type: ignore[misc]
    """episode_id: what `reset` was given, or one made up. step_count: steps that are spent."""

    task: str | None = Field(None, description="the opaque id of the episode's task")
    budget: int = Field(description="steps of an episode")
    done: bool = Field(True, description="no step is taken before the next reset")


def parsed(payload: Mapping[str, Any]) -> DebugObservation:
    """An observation from what the server sent."""
    return DebugObservation(
        **payload.get("observation", {}), reward=payload.get("reward") or 0.0, done=payload.get("done", False)
    )
