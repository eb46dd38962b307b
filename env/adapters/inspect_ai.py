"""Inspect: `inspect eval mldebug/debug -T tasks=rows.jsonl --model …`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import anyio

from ...errors import UsageError
from ...mutators.base import canonical_bugs
from ...task_folder import BUDGET
from ..debug_env import DebugEnv
from ..models import Observation
from ..services import Services
from ..tasks import Assignment, Listed, Prepared, Source, bugs_of
from .calls import NO_CALL, OVER, SYSTEM, action_of, functions

try:
    from inspect_ai import Task, task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import (
        ChatMessageSystem,
        ChatMessageTool,
        ChatMessageUser,
        execute_tools,
        get_model,
    )
    from inspect_ai.scorer import Score, Scorer, Target, grouped, mean, scorer, stderr
    from inspect_ai.solver import Generate, Solver, TaskState, solver
    from inspect_ai.tool import Tool, ToolCall, ToolDef, ToolParams
    from inspect_ai.util import Store
except ImportError:
    raise ImportError(
        "this needs inspect-ai, which is not installed: pip install 'mldebug[inspect]'"
    ) from None

RECORD = "mldebug"
"""Where a sample's store keeps how its episode stands; the scorers read nothing else."""


@dataclass(frozen=True)
class Item:
    """What one sample is about: a prepared task, or a seed that generates one. bugs: its classes."""

    id: str
    about: Prepared | Assignment
    bugs: tuple[str, ...]

    def sample(self) -> Sample:
        """Nothing in it is shown to a model: `opened` writes what it is told."""
        known = self.about.alert if isinstance(self.about, Prepared) else f"seed {self.about.seed}"
        return Sample(input=known, id=self.id, metadata={"bugs": "+".join(self.bugs)})


class Episode:
    """A sample's environment. store: the sample's, for the scorers."""

    def __init__(self, env: DebugEnv, store: Store) -> None:
        self._env = env
        self._store = store
        self.now: Observation | None = None

    def begin(self, about: Prepared | Assignment) -> Observation:
        if isinstance(about, Prepared):
            seen = self._env.reset(task=about)
        else:
            seen = self._env.reset(about.seed, about.bugs, script=about.script)
        return self._saw(seen)

    @property
    def over(self) -> bool:
        return self._env.done

    @property
    def step(self) -> int:
        return self.now.step if self.now else 0

    async def act(self, action: Any) -> str:
        """Take a step; what the model is told."""
        if self.over:
            return OVER
        return self._saw(await anyio.to_thread.run_sync(self._env.step, action)).text

    def _saw(self, seen: Observation) -> Observation:
        score = self._env.score
        self._store.set(
            RECORD,
            {
                "reward": seen.reward,
                "done": seen.done,
                "step": seen.step,
                "rung": score.rung if score else 0.0,
                "solved": bool(score and score.solved),
                "verdicts": [one.record() for one in self._env.verdicts],
            },
        )
        self.now = seen
        return seen

    def tools(self) -> list[Tool]:
        """The functions of the episode, as Inspect wants them."""
        return [self._tool(schema) for schema in functions(self._env)]

    def _tool(self, schema: dict[str, Any]) -> Tool:
        async def execute(**kwargs: Any) -> str:
            return await self.act(action_of(schema["name"], kwargs))

        return ToolDef(
            execute,
            name=schema["name"],
            description=schema["description"],
            parameters=ToolParams.model_validate(schema["parameters"]),
            parallel=False,
            max_output=0,  # what a tool says is bounded already
        ).as_tool()

    def close(self) -> None:
        self._env.close()


def debug_task(
    items: Iterable[Item],
    services: Services,
    *,
    budget: int = BUDGET,
    tools: Iterable[str] | None = None,
) -> Task:
    """The task of these items, on services that the caller ends. Another solver finds the functions in
    `state.tools`; what it lets a model call beside them costs no step.

    Raises:
        UsageError: no item, or unknown tools.
    """
    known = {one.id: one for one in items}
    if not known:
        raise UsageError("no task was given; `mldebug gen --jsonl` prints rows that hold tasks")
    chosen = None if tools is None else tuple(tools)
    DebugEnv(services, budget=budget, tools=chosen).close()  # wrong settings show now, not in every sample
    running: dict[str, Episode] = {}

    @solver(name="mldebug_episode")
    def opened() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            episode = Episode(DebugEnv(services, budget=budget, tools=chosen), state.store)
            running[state.uuid] = episode
            item = known[str(state.sample_id)]
            briefing = (await anyio.to_thread.run_sync(episode.begin, item.about)).text
            state.messages = [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=briefing)]
            state.tools = episode.tools()
            return state

        return solve

    @solver(name="mldebug_agent")
    def agent() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            episode = running[state.uuid]
            while not episode.over:
                state.output = await get_model().generate(state.messages, tools=state.tools)
                state.messages.append(state.output.message)
                calls = state.output.message.tool_calls or []
                for call in calls:
                    state.messages.append(await called(state, episode, call))
                if not calls:
                    await episode.act(None)
                    left = budget - episode.step
                    state.messages.append(ChatMessageUser(content=NO_CALL.format(left=left)))
            state.completed = True
            return state

        return solve

    async def ended(state: TaskState) -> None:
        if episode := running.pop(state.uuid, None):
            episode.close()

    return Task(
        dataset=MemoryDataset([one.sample() for one in known.values()], name="mldebug"),
        setup=opened(),
        solver=agent(),
        cleanup=ended,
        scorer=[reward(), solved()],
        name="debug",
    )


async def called(state: TaskState, episode: Episode, call: ToolCall) -> ChatMessageTool:
    """Do one call. One that Inspect turns down costs a step, as what makes no sense does everywhere."""
    before = episode.step
    only = state.output.message.model_copy(update={"tool_calls": [call]})
    messages = (await execute_tools([*state.messages[:-1], only], state.tools)).messages
    answer = next(one for one in messages if isinstance(one, ChatMessageTool))
    if episode.step > before or episode.over:
        return answer
    if answer.error is None or answer.error.type != "parsing":  # an approver's no, for instance
        await episode.act(None)
        return answer
    arguments = "" if call.parse_error else call.arguments
    text = await episode.act(action_of(call.function, arguments))
    return answer.model_copy(update={"content": text, "error": None})


def _standing(state: TaskState) -> dict[str, Any]:
    return dict(state.store.get(RECORD) or {"reward": 0.0, "solved": False, "verdicts": []})


@scorer(metrics=[mean(), stderr(), grouped(mean(), "bugs", all=False)])
def reward() -> Scorer:
    """What the episode was paid: 0 to 1.338; 0 where it did not come to its end."""

    async def score(state: TaskState, target: Target) -> Score:
        standing = _standing(state)
        feedback = [one["feedback"] for one in standing["verdicts"]]
        return Score(value=standing["reward"], explanation="; ".join(feedback), metadata=standing)

    return score


@scorer(metrics=[mean(), stderr(), grouped(mean(), "bugs", all=False)])
def solved() -> Scorer:
    """1 where the episode was solved."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=int(_standing(state)["solved"]))

    return score


def items_of(tasks: Iterable[Source | Prepared]) -> Iterator[Item]:
    """One item for each task that was prepared ahead: variants, rows, folders."""
    for one in tasks:
        known = one if isinstance(one, Prepared) else Prepared.of(one)
        yield Item(known.task.id, known, known.task.bugs)


def items_of_seeds(seeds: Iterable[int], bugs: str | list[str] | None = None) -> Iterator[Item]:
    """One item for each seed: its task is generated when its sample begins, which takes some seconds."""
    names = None if bugs is None else canonical_bugs(bugs)
    for seed in seeds:
        about = Assignment(seed, names)
        yield Item(f"seed-{seed}", about, bugs_of(about))


@task
def debug(
    tasks: str | None = None,
    seeds: int | str | list[int | str] = 10,
    bugs: str | list[str] | None = None,
    budget: int = BUDGET,
    tools: str | list[str] | None = None,
    workers: int = 1,
    require: str | None = None,
) -> Task:
    """Repair broken PyTorch training jobs.

    Args:
        tasks: a JSONL file of rows, a task folder, or a folder of them. Without: each seed generates one.
        seeds: how many, from 0 on; or `5-9`, or a list of such.
        bugs: only tasks with just these classes; by default all that are listed, or what each seed draws.
        budget: steps of an episode. tools: those that a model has; all by default.
        workers: jobs that run at the same time. require: guarantees of the sandbox, e.g. `strict`.
    """
    source: Listed | None = None
    if tasks is not None:
        source = Listed.read(Path(tasks))
        items = items_of(source[place] for place in range(len(source)))
        if bugs is not None:
            wanted = canonical_bugs(bugs)
            items = (one for one in items if one.bugs == wanted)
    else:
        items = items_of_seeds(read_seeds(seeds), bugs)
    services = Services(source, workers=workers, require=require)
    return debug_task(items, services, budget=budget, tools=[tools] if isinstance(tools, str) else tools)


def read_seeds(seeds: int | str | list[int | str]) -> Iterator[int]:
    """The seeds that were asked for.

    Raises:
        UsageError: they are none.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        return iter(range(seeds))
    wanted = seeds if isinstance(seeds, list) else str(seeds).split(",")
    return chain.from_iterable(_stretch(str(one)) for one in wanted)


def _stretch(text: str) -> range:
    first, dash, last = text.strip().partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or len(text) > 40:
        raise UsageError(f"seeds must be a number, or like 5-9 or 1,4,7; got {text[:40]!r}")
    return range(int(first), int(last or first) + 1)
