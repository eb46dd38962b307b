"""The Gymnasium wrapper: its own checker, and the same episodes as without it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

pytest.importorskip("gymnasium", reason="the extra `gymnasium` is not installed")

import gymnasium
from gymnasium.utils.env_checker import check_env

from mldebug.env import DebugEnv, Services
from mldebug.env.adapters.gymnasium import ID, DebugGym
from mldebug.errors import UsageError
from mldebug.grader.runner import Pool

from ...written import rows
from .scripted import NAMES, actions, played, shared


@pytest.fixture
def services(pool: Pool) -> Services:
    return shared(pool)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(rows()[name]) + "\n" for name in NAMES))
    return path


def test_gymnasiums_own_checker_has_nothing_to_say(services: Services, listed: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gymnasium.make(ID, tasks=str(listed), disable_env_checker=False)
        check_env(made.unwrapped)
        check_env(DebugGym(services=services, budget=3), skip_render_check=True)
    made.close()


@pytest.mark.parametrize("name", NAMES)
def test_rewards_and_texts_are_those_of_the_environment(services: Services, name: str) -> None:
    begun, *seen = played(services, name)
    env = DebugGym(services=services)
    observation, info = env.reset(options={"task": rows()[name]})
    assert observation["text"] == begun["text"]
    assert [one["name"] for one in info.pop("schemas")] == info["tools"]
    assert info == begun
    for action, expected in zip(actions(name), seen, strict=True):
        observation, reward, terminated, truncated, info = env.step(json.dumps(action))
        assert observation in env.observation_space and json.dumps(action) in env.action_space
        assert (reward, terminated, truncated) == (expected["reward"], expected["done"], False)
        assert info == expected
    assert terminated and reward >= 0.99


def test_a_seed_is_the_environments_and_begins_the_next_ones(services: Services) -> None:
    wrapped, plain = DebugGym(services=services), DebugEnv(services)
    met: list[list[str]] = []
    for _ in range(2):
        ids = [wrapped.reset(seed=11)[1]["task"]] + [wrapped.reset()[1]["task"] for _ in range(8)]
        met.append(ids)
    assert met[0] == met[1] and len(set(met[0])) > 1
    for seed in range(6):
        assert wrapped.reset(seed=seed)[1]["task"] == plain.reset(seed).task


def test_spent_steps_terminate(services: Services) -> None:
    env = DebugGym(services=services, budget=2, render_mode="ansi")
    env.reset(seed=1)
    assert env.step("[" * 100_000)[1:4] == (0.0, False, False)
    observation, reward, terminated, truncated, info = env.step("{}")
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert observation["refused"] == 1 and info["refused"]
    assert env.render() == f"[2 of 2] {info['text']}"
    with pytest.raises(UsageError, match="reset"):
        env.step("{}")


def test_what_is_not_ascii_stands_as_an_escape(services: Services) -> None:
    env = DebugGym(services=services)
    env.reset(options={"task": rows()[NAMES[0]]})
    env.step({"type": "fix", "bugs": ["shape"], "script": "print('naïve ☃')\n"})
    observation, *_, info = env.step('{"type": "inspect", "tool": "run_code"}')
    assert "naïve ☃" in info["text"] and "na\\xefve \\u2603" in observation["text"]
    assert observation in env.observation_space


def test_wrong_settings_are_refused(services: Services, listed: Path) -> None:
    env = DebugGym(services=services)
    for wrong in ({"bug": "shape"}, {"bugs": "none"}, {"bugs": "leakage"}):
        with pytest.raises(UsageError):
            env.reset(seed=1, options=wrong)
    with pytest.raises(UsageError, match="not both"):
        DebugGym(listed, services=services)
    with pytest.raises(UsageError, match="render_mode"):
        DebugGym(services=services, render_mode="human")
    env.close()
    with pytest.raises(UsageError, match="closed"):
        env.reset(seed=1)
