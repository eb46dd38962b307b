"""Gymnasium: actions are JSON text, observations text with the step.

import gymnasium
env = gymnasium.make("mldebug.env.adapters.gymnasium:mldebug/Debug-v0", tasks="rows.jsonl")
observation, info = env.reset(seed=7)
observation, reward, terminated, truncated, info = env.step('{"type": "inspect", "tool": "run_code"}')
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ...errors import UsageError
from ...task_folder import BUDGET
from ..curriculum import Scheduler
from ..debug_env import DebugEnv
from ..models import MOST_ACTION_CHARACTERS, Action, Observation
from ..services import Services
from ..tasks import Listed, Prepared, Source
from ..tools.base import shortened

try:
    import gymnasium
    from gymnasium import spaces
except ImportError:
    raise ImportError(
        "this needs Gymnasium, which is not installed: pip install 'mldebug[gymnasium]'"
    ) from None

ID = "mldebug/Debug-v0"
LONGEST_ACTION = 1 << 16
"""Characters of an action that the space holds: the sources of any job of the library, twice."""
LONGEST_TEXT = 16_000
CHARACTERS = frozenset(string.printable)
"""A finite set, as `Text` needs one. JSON can say everything in it; observations are escaped to fit."""


class DebugGym(gymnasium.Env[dict[str, Any], str]):
    """`DebugEnv` behind Gymnasium's two verbs.

    An action is the JSON of an `Inspect` or a `Fix` (an object is taken as well). An observation holds
    `text`, in ASCII (what is none stands as an escape), `step`, and `refused`. info: the whole observation,
    its text as it is (`Observation.record()`); after `reset` also `schemas`, the tools as function calling
    wants them.

    An episode terminates when it is solved or its steps are spent: the budget is a rule of the task, which
    the agent is told, and what the episode is paid comes with its last step. It is never truncated.

    Args:
        tasks: a path to a JSONL file or a folder of tasks, or variants, rows or folders; by default each seed
            generates its task.
        services: shared ones, instead of tasks.
        budget, tools, scheduler: as `DebugEnv` has them.
        render_mode: `ansi`, or None.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(
        self,
        tasks: str | os.PathLike[str] | Collection[Source | Prepared] | None = None,
        *,
        services: Services | None = None,
        budget: int = BUDGET,
        tools: Collection[str] | None = None,
        scheduler: Scheduler | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise UsageError(f"render_mode must be 'ansi' or None, got {render_mode!r}")
        self._owned = None
        if services is None:
            self._owned = Services(
                Listed.read(Path(tasks)) if isinstance(tasks, str | os.PathLike) else tasks
            )
        elif tasks is not None:
            raise UsageError("give services or tasks, not both: services hold the tasks")
        self.debug_env = DebugEnv(services or self._owned, budget=budget, tools=tools, scheduler=scheduler)
        self._scheduled = scheduler is not None
        self._seen: Observation | None = None
        self.render_mode = render_mode
        self.action_space = spaces.Text(LONGEST_ACTION, min_length=0, charset=CHARACTERS)
        self.observation_space = spaces.Dict(
            {
                "text": spaces.Text(2 * LONGEST_TEXT, min_length=0, charset=CHARACTERS),
                "step": spaces.Discrete(budget + 1),
                "refused": spaces.Discrete(2),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode: that of `DebugEnv.reset(seed)`. Without a seed the scheduler chooses, else the
        generator that the last seed began.

        Args:
            options: `bugs`, `script` or `task`, as `DebugEnv.reset` takes them.

        Raises:
            UsageError: an unknown option, or what `DebugEnv.reset` refuses.
        """
        super().reset(seed=seed)
        asked = dict(options or {})
        if unknown := sorted(set(asked) - {"bugs", "script", "task"}):
            raise UsageError(f"unknown option {unknown[0]!r}; reset takes: bugs, script, task")
        if seed is None and (asked or not self._scheduled):
            seed = int(self.np_random.integers(1 << 32))
        self._seen = self.debug_env.reset(seed, **asked)
        return self._observed(self._seen), self._seen.record() | {"schemas": self.debug_env.tools}

    def step(
        self, action: str | Action | Mapping[str, Any]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take one step; what is no action costs one as well."""
        self._seen = seen = self.debug_env.step(_read(action))
        return self._observed(seen), seen.reward, seen.done, False, seen.record()

    def _observed(self, seen: Observation) -> dict[str, Any]:
        shown = seen.text.encode("ascii", "backslashreplace").decode()
        return {"text": shortened(shown, LONGEST_TEXT), "step": seen.step, "refused": int(seen.refused)}

    def render(self) -> str | None:  # type: ignore[override]
        """What the agent saw last, with render mode `ansi`."""
        if self.render_mode is None or self._seen is None:
            return None
        return f"[{self._seen.step} of {self._seen.budget}] {self._seen.text}"

    def close(self) -> None:
        """End the environment, and the services if they were started here."""
        self.debug_env.close()
        if self._owned is not None:
            self._owned.close()


def _read(action: str | Action | Mapping[str, Any]) -> Any:
    """What the text says; what is no JSON stays text, which the environment refuses."""
    if not isinstance(action, str) or len(action) > MOST_ACTION_CHARACTERS:
        return action
    try:
        return json.loads(action)
    except (ValueError, RecursionError):
        return action


if ID not in gymnasium.registry:
    gymnasium.register(id=ID, entry_point=f"{__name__}:DebugGym")
