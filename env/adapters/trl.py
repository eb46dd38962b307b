"""Training with TRL 1.16: one object that holds what `GRPOTrainer` asks for. `docs/trl.md` shows how."""

from __future__ import annotations

import inspect
import keyword
import logging
import math
import operator
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import RunnerError, UsageError
from ...mutators.base import canonical_bugs
from ...task_folder import BUDGET
from ..curriculum import Scheduler
from ..debug_env import DebugEnv
from ..services import Services
from ..tasks import Assignment, Listed, Prepared, Source
from ..tools.base import MOST_CHARACTERS, shortened, toolbox
from .calls import FIX, SYSTEM

USER = "A job needs you.\n\n"
"""`reset` adds the briefing of the task to it."""

MOST_REWARD = 1.4
LEAST_CHARACTERS = 200
MOST_SEED = (1 << 63) - 1
"""What a column of integers holds."""

HINTS: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list[str],
    "object": dict[str, str],
}

log = logging.getLogger(__name__)


class TRLSpec:
    """What `GRPOTrainer` needs to train on this environment: `.train_dataset`, `.environment_factory`,
    `.reward_funcs`.

    A row holds the seed of a task, so the completions of a group, which share a row, meet the same task. With
    a `scheduler` the rows are drawn while training goes on, each from what was reported up to then (a batch
    is drawn while the one before it is trained on). Then set in `GRPOConfig`

    - `shuffle_dataset=False`: or a buffer draws a thousand tasks before the first is met;
    - `max_steps`: there is no end otherwise;
    - `ignore_data_skip=True` where a run is resumed, and `restore` the scheduler's own state.

    One process only: each process would have a scheduler of its own, and they would drift apart.

    In any case let `max_completion_length` be enough for all tool results of an episode: TRL ends a rollout
    silently at a result that does not fit. `max_tool_calling_iterations` may stay unset: after the last step
    tools only say that the episode is over, and calls of functions that do not exist end with the length.

    Args:
        services: what runs, grades and prepares tasks; by default its own, ended by `close()`.
        tasks: shorthand for services of tasks prepared ahead: variants, rows or folders, or the path of a
            JSONL file or of a folder of them. A seed chooses one. Without, each seed generates one, which
            takes some seconds.
        seeds: one row each, by default 0 to 999; not with a scheduler. bugs: classes of all tasks; by default
            each seed draws them.
        budget: steps of an episode. tools: names of those a model has; all by default.
        result_characters: the most that one call answers.

    Raises:
        UsageError: arguments that make no sense, or a tool whose name no method can have.
    """

    def __init__(
        self,
        services: Services | None = None,
        *,
        tasks: Collection[Source | Prepared] | str | os.PathLike[str] | None = None,
        seeds: Iterable[int] | None = None,
        bugs: str | Collection[str] | None = None,
        budget: int = BUDGET,
        scheduler: Scheduler | None = None,
        tools: Collection[str] | None = None,
        result_characters: int = MOST_CHARACTERS,
    ) -> None:
        if services is not None and tasks is not None:
            raise UsageError("give services or tasks, not both: services hold the tasks")
        if scheduler is not None and (seeds is not None or bugs is not None):
            raise UsageError("a scheduler chooses seeds and bugs; give either it or them")
        if result_characters < LEAST_CHARACTERS:
            raise UsageError(f"result_characters must be {LEAST_CHARACTERS} at least")
        self._seeds = tuple(_seed(one) for one in (range(1000) if seeds is None else seeds))
        if not self._seeds:
            raise UsageError("no seed was given: each makes one row")
        self._bugs = None if bugs is None else ",".join(_classes(bugs))
        self._scheduler = scheduler
        self._budget = budget
        self._tools = None if tools is None else tuple(tools)
        self._most = result_characters
        self._methods = {one["name"]: _method(one) for one in [*toolbox(self._tools).schemas(), FIX]}
        self._owns_services = services is None
        prepared = Listed.read(Path(tasks)) if isinstance(tasks, str | os.PathLike) else tasks
        self.services = services or Services(prepared)

    @cached_property
    def train_dataset(self) -> Any:
        """Rows with `prompt` (messages) and `seed`, and `bugs` where they are given; with a scheduler an
        endless `IterableDataset`, with `script` as well.

        Raises:
            UsageError: `datasets` is not installed; or several processes want one scheduler.
        """
        try:
            import datasets
        except ImportError:
            raise UsageError("training with TRL needs the extra `trl`: pip install 'mldebug[trl]'") from None
        if self._scheduler is not None:
            if int(os.environ.get("WORLD_SIZE") or 1) > 1:
                raise UsageError("a scheduler serves one process; train with seeds, or with one process")
            return datasets.IterableDataset.from_generator(Drawn(self._scheduler))
        rows: dict[str, list[Any]] = {
            "prompt": [_prompt() for _ in self._seeds],
            "seed": list(self._seeds),
        }
        if self._bugs is not None:
            rows["bugs"] = [self._bugs] * len(self._seeds)
        return datasets.Dataset.from_dict(rows)

    @cached_property
    def environment_factory(self) -> Callable[[], Any]:
        """A class without arguments: `reset`, `get_reward`, and one method a tool."""
        return type("MldebugEnvironment", (Rollout,), {**self._methods, "_spec": self})

    @property
    def reward_funcs(self) -> list[Callable[..., Any]]:
        """None: the environment's `get_reward` is the reward, and one of these would be added to it."""
        return []

    def close(self) -> None:
        """End the services, if they were started here."""
        if self._owns_services:
            self.services.close()

    def __enter__(self) -> TRLSpec:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


class Drawn:
    """Rows of what a scheduler hands out. `datasets` copies its generators, and hashes them by pickling what
    they hold: of this one there are no copies, and nothing of it is pickled."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def __call__(self) -> Iterator[dict[str, Any]]:
        while True:
            one = self._scheduler.next()
            bugs = None if one.bugs is None else ",".join(one.bugs)
            yield {"prompt": _prompt(), "seed": one.seed, "bugs": bugs, "script": one.script}

    def __deepcopy__(self, memo: Any) -> Drawn:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _elsewhere, (id(self),)


def _elsewhere(_: int) -> Any:
    raise UsageError(
        "a scheduler's rows cannot be read in another process: leave dataloader_num_workers at 0"
    )


class Rollout:
    """One episode after another, as TRL wants it: it makes instances as it needs them and uses them again.

    Whatever arguments a model gives reach the environment, which refuses them in words and counts the step.
    """

    _spec: TRLSpec

    def __init__(self) -> None:
        spec = self._spec
        self._env = DebugEnv(spec.services, budget=spec._budget, tools=spec._tools)
        self._unreported: Assignment | None = None

    def reset(self, /, **row: Any) -> str:
        """Begin the episode of a row; the briefing, which TRL adds to the prompt."""
        if row.get("seed") is None:
            raise UsageError("a row needs a seed: use the spec's train_dataset, or its columns")
        bugs = row.get("bugs")
        assignment = Assignment(
            _seed(row["seed"]), None if bugs is None else _classes(bugs), row.get("script")
        )
        self._unreported = None
        first = self._env.reset(assignment.seed, assignment.bugs, script=assignment.script)
        self._unreported = assignment
        return self._bounded(first.text)

    def get_reward(self) -> float:
        """What the episode is paid: the best fix so far if it was left before its end; 0 without any."""
        if self._env.score is not None:
            found = self._env.score.score
        else:
            found = max((verdict.rung for verdict in self._env.verdicts), default=0.0)
        reward = min(MOST_REWARD, max(0.0, found)) if math.isfinite(found) else 0.0
        if self._spec._scheduler is not None and self._unreported is not None:
            self._spec._scheduler.report(self._unreported, reward)
        self._unreported = None
        return reward

    def _take(self, action: Mapping[str, Any]) -> str:
        if self._env.done:
            return "The episode is over: no further step is taken."
        try:
            seen = self._env.step(action)
        except RunnerError:
            log.exception("a step failed in the machinery; it was not counted")
            return "This could not be done now, and cost no step."
        end = "; the episode is over" if seen.done else ""
        return self._bounded(seen.text, f"\n\n(step {seen.step} of {seen.budget}{end})")

    def _bounded(self, text: str, end: str = "") -> str:
        room = self._spec._most - len(end)
        return (shortened(text, room - 80) if len(text) > room else shortened(text, room)) + end


def _prompt() -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]


def _seed(value: Any) -> int:
    try:
        found = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = -1
    if not 0 <= found <= MOST_SEED:
        raise UsageError(f"a seed is an integer from 0 to 2**63 − 1, got {str(value)[:60]!a}")
    return found


def _classes(bugs: str | Collection[str]) -> tuple[str, ...]:
    return canonical_bugs(bugs if isinstance(bugs, str) else list(bugs))


def _method(schema: Mapping[str, Any]) -> Callable[..., str]:
    """A method as TRL reads tools: a typed signature and a Google-style docstring.

    It takes whatever it is called with. The signature is only what it shows, so that a model's wrong
    argument is answered by the environment rather than by Python.
    """
    name = schema["name"]
    if (
        not name.isidentifier()
        or keyword.iskeyword(name)
        or name.startswith("_")
        or name in ("reset", "get_reward")
        or (name == "fix" and schema is not FIX)
    ):
        raise UsageError(f"a tool named {name!r} cannot be a method of a TRL environment; leave it out")
    if schema is FIX:

        def method(self: Rollout, /, **arguments: Any) -> str:
            return self._take({**arguments, "type": "fix"})
    else:

        def method(self: Rollout, /, **arguments: Any) -> str:
            return self._take({"type": "inspect", "tool": name, "arguments": arguments})

    shown, hints = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)], dict[str, Any]()
    lines = [_line(schema["description"])]
    properties, required = schema["parameters"]["properties"], schema["parameters"]["required"]
    if properties:
        lines += ["", "Args:"]
    for one, about in properties.items():
        hint, default, said = HINTS[about["type"]], inspect.Parameter.empty, _line(about["description"])
        if one not in required:
            default = about.get("default")
            if default is None:
                hint = hint | None
            elif default not in ("", [], ()):
                said = f"{said} (default: {default})"
        shown.append(inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
        hints[one] = hint
        lines.append(f"    {one}: {said}")
    method.__name__ = name
    method.__qualname__ = f"MldebugEnvironment.{name}"
    method.__doc__ = "\n".join(lines)
    method.__annotations__ = {**hints, "return": str}
    method.__signature__ = inspect.Signature(shown, return_annotation=str)  # type: ignore[attr-defined]
    return method


def _line(text: str) -> str:
    """Text that no reader of docstrings takes for a section."""
    return re.sub(r"\b(Args|Returns|Raises):", r"\1 -", " ".join(text.split()))
