"""Scripted agents reach the same rewards through every adapter as in the environment itself, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mldebug.env import DebugEnv, Services
from mldebug.env.tasks import Listed
from mldebug.grader.runner import Pool

from ...written import rows, task

BUDGET = 3
SEEDS = 12
MANY_SEEDS = 60
NAMES = (
    "shape-tabular-2",
    "device-tabular-2",
    "zero_grad-tabular-1",
    "leakage-tabular-1",
    "eval-leakage-glyph-1",
    "collapse-tabular-1",
)

Rewards = Callable[[list[int]], list[float]]


@pytest.fixture(scope="module")
def services(pool: Pool) -> Services:
    return Services((rows()[name] for name in NAMES), pool=pool)


def script(services: Services, seed: int) -> list[dict[str, Any]]:
    """What the agent does in the episode of a seed: one of six ways, some of which end early."""
    listed = services.tasks
    assert isinstance(listed, Listed)
    with DebugEnv(services) as env:
        known = next(task(name) for name in NAMES if task(name).id == env.reset(seed).task)
    look = {"type": "inspect", "tool": "view_source", "arguments": {}}
    bugs, files = list(known.bugs), dict(known.reference.files)
    crash = {"type": "fix", "bugs": bugs, "script": "raise SystemExit(3)\n"}
    return [
        [look, {"type": "fix", "bugs": bugs, "files": files, "diagnosis": "The loop is wrong."}],
        [crash, look, {"type": "fix", "bugs": bugs, "files": files}],
        [look, look, {"type": "fix", "bugs": ["shape_mismatch", "data_leakage"], "files": files}],
        [{"type": "inspect", "tool": "view", "arguments": {"path": "nothing.py"}}, look, look],
        [look, {"type": "fix", "bugs": bugs, "files": {"../x.py": "1"}}, crash],
        [{"type": "fix", "bugs": bugs, "patch": "@@"}, {"type": "fix", "bugs": bugs[:1]}, look],
    ][seed % 6]


def in_process(services: Services) -> Rewards:
    def run(seeds: list[int]) -> list[float]:
        found = []
        for seed in seeds:
            env = DebugEnv(services, budget=BUDGET)
            seen = env.reset(seed)
            for action in script(services, seed):
                seen = env.step(action)
            assert seen.done
            found.append(seen.reward)
        return found

    return run


def through_gymnasium(services: Services, _: Path) -> Rewards:
    adapter = pytest.importorskip("mldebug.env.adapters.gymnasium", exc_type=ImportError)

    def run(seeds: list[int]) -> list[float]:
        import json

        env = adapter.DebugGym(services=services, budget=BUDGET)
        found = []
        for seed in seeds:
            env.reset(seed=seed)
            for action in script(services, seed):
                _, reward, terminated, _, _ = env.step(json.dumps(action))
            assert terminated
            found.append(reward)
        return found

    return run


def through_trl(services: Services, _: Path) -> Rewards:
    pytest.importorskip("trl")
    from mldebug.env.adapters.trl import TRLSpec

    def run(seeds: list[int]) -> list[float]:
        environment = TRLSpec(services, budget=BUDGET).environment_factory()
        found = []
        for seed in seeds:
            environment.reset(seed=seed)
            for action in script(services, seed):
                if action["type"] == "fix":
                    environment.fix(**{name: value for name, value in action.items() if name != "type"})
                else:
                    getattr(environment, action["tool"])(**action["arguments"])
            found.append(environment.get_reward())
        return found

    return run


def through_openenv(services: Services, _: Path) -> Rewards:
    pytest.importorskip("openenv")
    from mldebug.env.adapters.openenv import DebugAction, DebugClient
    from mldebug.env.adapters.openenv.host import Host, Settings, TaskLists

    from .openenv_serving import serving

    def run(seeds: list[int]) -> list[float]:
        host = Host(Settings(budget=BUDGET), services=services, lists=TaskLists({}))
        found = []
        with serving(host) as address, DebugClient(address).sync() as client:
            for seed in seeds:
                client.reset(seed=seed)
                for action in script(services, seed):
                    result = client.step(DebugAction(**action))
                assert result.done
                found.append(result.reward)
        return found

    return run


def through_inspect(services: Services, folder: Path) -> Rewards:
    pytest.importorskip("inspect_ai")
    from inspect_ai import eval as evaluate
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.tool import ToolCall

    from mldebug.env.adapters.inspect_ai import debug_task, items_of_seeds

    def outputs(seeds: list[int]) -> Iterator[ModelOutput]:
        for seed in seeds:
            for action in script(services, seed):
                name = action.get("tool", "fix")
                arguments = action.get("arguments") or {k: v for k, v in action.items() if k != "type"}
                output = ModelOutput.for_tool_call("mockllm", "none", {})
                call = ToolCall("call", name, arguments if name != "view_source" else {})
                output.choices[0].message.tool_calls = [call]
                output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
                yield output

    def run(seeds: list[int]) -> list[float]:
        made = debug_task(items_of_seeds(seeds), services, budget=BUDGET)
        model = get_model("mockllm/model", custom_outputs=outputs(seeds), memoize=False)
        (log,) = evaluate(made, model=model, log_dir=str(folder), display="none", max_samples=1)
        assert log.status == "success", log.error
        by_id = {one.id: one.scores["reward"].value for one in log.samples or [] if one.scores}
        return [float(by_id[f"seed-{seed}"]) for seed in seeds]

    return run


ADAPTERS = [through_gymnasium, through_trl, through_openenv, through_inspect]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_rewards_are_the_same(services: Services, tmp_path: Path, adapter: Any) -> None:
    seeds = list(range(SEEDS))
    expected = in_process(services)(seeds)
    assert len(set(expected)) > 3
    assert adapter(services, tmp_path)(seeds) == pytest.approx(expected, abs=1e-12)


@pytest.mark.deep
def test_rewards_are_the_same_on_many_seeds(
    services: Services, tmp_path: Path, evidence: Callable[[str, dict[str, Any]], None]
) -> None:
    seeds = list(range(MANY_SEEDS))
    expected = in_process(services)(seeds)
    same = {
        adapter.__name__.removeprefix("through_"): adapter(services, tmp_path)(seeds)
        == pytest.approx(expected, abs=1e-12)
        for adapter in ADAPTERS
    }
    evidence(
        "same_rewards",
        {"seeds": MANY_SEEDS, "different_rewards": len(set(expected)), "same_as_in_process": same},
    )
    assert all(same.values())
