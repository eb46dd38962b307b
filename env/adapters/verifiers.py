"""verifiers 0.4 (`verifiers.v1`): a taskset whose tool server holds the episodes.

verifiers finds a taskset by the name of a module of one part. Two lines make one, `mldebug_tasks.py`:

    from mldebug.env.adapters.verifiers import DebugTaskset
    __all__ = ["DebugTaskset"]

It needs an interpreter of its own: openenv 0.10 and verifiers 0.4 do not go together.
"""

from __future__ import annotations

import asyncio
import inspect
import keyword
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import WithJsonSchema

from ...errors import UsageError
from ...grader.grade import Fix
from ...task_folder import BUDGET
from ..debug_env import DebugEnv
from ..services import Services
from ..tasks import Listed
from .calls import OVER, SYSTEM, action_of, functions

try:
    import verifiers.v1 as vf
except ImportError:
    raise ImportError(
        "this needs verifiers 0.4, which is not installed: pip install 'verifiers==0.4.*'"
    ) from None

__all__ = ["DebugTaskset"]

MOST_EPISODES = 4096
"""Held by one tool server at a time; the oldest ends when there are more."""


class DebugData(vf.TaskData):
    """place: of the task in the file or folder. Nothing here tells the bug."""

    place: int


class EpisodeState(vf.State):
    """How a rollout's episode stands. episode: which one it is; place: of its task."""

    episode: str = ""
    place: int = 0
    step: int = 0
    done: bool = False
    reward: float = 0.0
    rung: float = 0.0
    solved: bool = False


class DebugConfig(vf.TasksetConfig):
    """tasks: a JSONL file of rows, a task folder, or a folder of them. workers: jobs that run at a time."""

    tasks: Path = Path("tasks.jsonl")
    budget: int = BUDGET
    workers: int = 1


class ToolsConfig(vf.SharedToolsetConfig):
    tasks: Path = Path("tasks.jsonl")
    budget: int = BUDGET
    workers: int = 1


class DebugTask(vf.Task[DebugData, EpisodeState, vf.TaskConfig]):
    """One broken job."""

    source: tuple[Path, int]

    async def setup(self, trace: vf.Trace, runtime: vf.Runtime) -> None:
        trace.state.episode, trace.state.place = str(trace.id), self.data.place

    async def validate(self, runtime: vf.Runtime) -> bool:
        """Whether the reference solves the task, and the broken job does not."""
        path, workers = self.source
        services, tasks = held(path, workers)
        task = tasks[self.data.place].task

        def both() -> bool:
            grade = services.grader.grade
            return (
                grade(task, Fix(task.reference.files, task.bugs)).solved
                and not grade(task, Fix(task.broken.files, task.bugs)).solved
            )

        return await asyncio.to_thread(both)

    @vf.reward
    async def reward(self, trace: vf.Trace) -> float:
        """What the episode was paid; 0 where it did not come to its end."""
        return float(trace.state.reward)

    @vf.metric
    async def episode(self, trace: vf.Trace) -> dict[str, float]:
        state = trace.state
        return {"solved": float(state.solved), "rung": state.rung, "steps": float(state.step)}


@dataclass
class Running:
    """An episode of the tool server, one call at a time."""

    env: DebugEnv
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class DebugTools(vf.Toolset[ToolsConfig, EpisodeState]):
    """The functions of all episodes: a call belongs to the rollout whose state comes with it."""

    TOOL_PREFIX = None

    async def setup(self) -> None:
        self._services, self._tasks = held(self.config.tasks, self.config.workers)
        self._running: OrderedDict[str, Running] = OrderedDict()

    def register(self, mcp: Any) -> None:
        for schema in functions(DebugEnv(self._services, budget=self.config.budget)):
            mcp.add_tool(
                self._with_state(self._function(schema)),
                name=schema["name"],
                description=schema["description"],
                structured_output=False,
            )

    def _function(self, schema: dict[str, Any]) -> Callable[..., Any]:
        async def call(**arguments: Any) -> str:
            given = {name: value for name, value in arguments.items() if value is not None}
            return await self.act(action_of(schema["name"], given))

        call.__name__ = schema["name"]
        call.__signature__ = signature(schema)  # type: ignore[attr-defined]
        return call

    async def act(self, action: dict[str, Any]) -> str:
        """Take a step of the calling rollout's episode; what the model is told."""
        state: EpisodeState = self.state
        running = self._of(state)
        if running is None:
            return OVER
        async with running.lock:
            if running.env.done:
                return OVER
            seen = await asyncio.to_thread(running.env.step, action)
            state.step, state.done, state.reward = seen.step, seen.done, seen.reward
            if score := running.env.score:
                state.rung, state.solved = score.rung, score.solved
            if seen.done:
                self._running.pop(state.episode, None)
            return seen.text

    def _of(self, state: EpisodeState) -> Running | None:
        """The rollout's episode, begun with its first call; None where it is over."""
        if state.done or not state.episode:
            return None
        if state.episode not in self._running:
            if state.step:
                return None
            env = DebugEnv(self._services, budget=self.config.budget)
            env.reset(task=self._tasks[state.place])
            self._running[state.episode] = Running(env)
            while len(self._running) > MOST_EPISODES:
                self._running.popitem(last=False)[1].env.close()
        return self._running[state.episode]


class DebugTaskset(vf.Taskset[DebugTask, DebugConfig]):
    """Tasks that were prepared ahead, e.g. by `mldebug gen --jsonl`."""

    def load(self) -> Iterable[DebugTask]:
        path = self.config.tasks.resolve()
        services, tasks = held(path, self.config.workers)
        with DebugEnv(services, budget=self.config.budget) as env:
            for place in range(len(tasks)):
                begun = env.reset(task=tasks[place])
                data = DebugData(name=begun.task, prompt=begun.text, system_prompt=SYSTEM, place=place)
                task = DebugTask(data, self.config.task)
                task.source = (path, self.config.workers)
                yield task

    @classmethod
    def toolsets(cls, config: DebugConfig) -> list[vf.Toolset]:
        path = config.tasks.resolve()
        return [DebugTools(ToolsConfig(tasks=path, budget=config.budget, workers=config.workers))]


@cache
def held(path: Path, workers: int) -> tuple[Services, Listed]:
    """The services of this process for tasks on disk."""
    tasks = Listed.read(path)
    return Services(tasks, workers=workers), tasks


def signature(schema: dict[str, Any]) -> inspect.Signature:
    """Parameters that show the schema and take anything: the environment says what does not fit, at the cost
    of a step. What must be given comes first.

    Raises:
        UsageError: a parameter's name can be no argument of a function.
    """
    parameters, required = schema["parameters"]["properties"], schema["parameters"]["required"]
    found = []
    for name in sorted(parameters, key=lambda name: name not in required):
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise UsageError(f"the tool {schema['name']!r} has a parameter {name!r}, which is no plain name")
        found.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if name in required else None,
                annotation=Annotated[Any, WithJsonSchema(parameters[name])],
            )
        )
    return inspect.Signature(found, return_annotation=str)


if __name__ == "__main__":  # how verifiers starts a tool server
    DebugTools.run()
