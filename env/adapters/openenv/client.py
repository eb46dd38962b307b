"""The typed client of a server."""

from __future__ import annotations

from typing import Any

from openenv.core.client_types import StepResult  # type: ignore[import-untyped]
from openenv.core.env_client import EnvClient  # type: ignore[import-untyped]

from .models import DebugAction, DebugState, parsed

LONGEST_STEP_SECONDS = 600.0
"""How long an answer is waited for: grading a fix on a busy server takes a minute at times."""


class DebugClient(EnvClient):  # type: ignore[misc]
    """One session of a server. Asynchronous; `.sync()` for plain code.

    `reset(seed=…, bugs=…)` or `reset(split=…, index=…)`, then `step(DebugAction(…))`; both give a
    `StepResult` with `observation`, `reward` and `done`. `state()` says which step it is.
    """

    def __init__(
        self, base_url: str | None = None, *, message_timeout_s: float = LONGEST_STEP_SECONDS, **options: Any
    ) -> None:
        super().__init__(base_url, message_timeout_s=message_timeout_s, **options)

    def _step_payload(self, action: DebugAction) -> dict[str, Any]:
        return action.payload()

    def _parse_result(self, payload: dict[str, Any]) -> StepResult:
        observation = parsed(payload)
        return StepResult(observation, observation.reward, observation.done)

    def _parse_state(self, payload: dict[str, Any]) -> DebugState:
        return DebugState(**payload)
