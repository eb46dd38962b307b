"""Episodes: what they cost, what they pay, what they refuse, and that they tell nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldebug.env import Assignment, DebugEnv, Observation, Prepared, Services
from mldebug.env.models import Fix, Inspect
from mldebug.env.tasks import Listed, bugs_of
from mldebug.errors import RunnerError, UsageError
from mldebug.factory import generate
from mldebug.grader.judge import OfflineJudge
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes
from mldebug.mutators.workspace import unified_patch
from mldebug.task_folder import json_row, row_files

from ..written import rows, task

NAMES = ("eval-tabular-2", "device-tabular-1", "shape-machine-1", "eval-leakage-glyph-1")
LOOK = {"type": "inspect", "tool": "view_source"}


@pytest.fixture(scope="module")
def services(pool: Pool) -> Iterator[Services]:
    yield Services((rows()[name] for name in NAMES), pool=pool, judge=OfflineJudge())


@pytest.fixture
def env(services: Services) -> DebugEnv:
    return DebugEnv(services)


def repaired(name: str, **more: Any) -> dict[str, Any]:
    """The reference as a fix."""
    known = task(name)
    return {"type": "fix", "bugs": list(known.bugs), "files": dict(known.reference.files), **more}


def test_an_episode_from_alert_to_reward(env: DebugEnv) -> None:
    first = env.reset(task=rows()[NAMES[0]])
    assert first.alert == rows()[NAMES[0]]["alert"] and first.alert in first.text
    assert (first.step, first.budget, first.reward, first.done) == (0, 5, 0.0, False)
    assert "import torch" not in first.text
    looked = env.step(Inspect("run_code"))
    assert looked.text.startswith("The job ended with exit code 0.") and looked.step == 1
    last = env.step(repaired(NAMES[0]))
    assert (last.done, last.step) == (True, 2)
    assert last.reward == pytest.approx(0.99 * 1.2)
    assert env.score is not None and env.score.solved
    assert [verdict.rung for verdict in env.verdicts] == [0.99]
    with pytest.raises(UsageError, match="reset"):
        env.step(LOOK)


@pytest.mark.parametrize(("step", "factor"), [(2, 1.2), (3, 1.1), (4, 1.0), (5, 1.0)])
def test_solving_early_is_paid_more(env: DebugEnv, step: int, factor: float) -> None:
    env.reset(task=rows()[NAMES[0]])
    for _ in range(step - 1):
        assert env.step(LOOK).reward == 0.0
    assert env.step(repaired(NAMES[0])).reward == pytest.approx(0.99 * factor)


def test_the_best_fix_is_paid_once_at_the_end(env: DebugEnv) -> None:
    name = NAMES[0]
    env.reset(task=rows()[name])
    poor = env.step({"type": "fix", "bugs": ["eval"], "script": "print(1)\n"})
    assert not poor.done and poor.reward == 0.0 and not poor.refused
    wrong = env.step(repaired(name, bugs=["shape"]))
    assert not wrong.done and wrong.reward == 0.0
    for _ in range(2):
        env.step(LOOK)
    last = env.step(LOOK)
    assert last.done and last.reward == max(verdict.rung for verdict in env.verdicts)
    assert 0.01 <= last.reward <= 0.60


def test_an_episode_without_a_fix_is_paid_nothing(env: DebugEnv) -> None:
    env.reset(task=rows()[NAMES[0]])
    seen = [env.step(LOOK) for _ in range(5)]
    assert [one.done for one in seen] == [False] * 4 + [True]
    assert seen[-1].reward == 0.0


@pytest.mark.parametrize("form", ["files", "script", "patch", "submit"])
def test_every_form_of_a_fix_is_worth_the_same(env: DebugEnv, form: str) -> None:
    known = task(NAMES[0])
    env.reset(task=rows()[NAMES[0]])
    entrypoint = known.broken.entrypoint
    assert list(known.broken.files) == [entrypoint]
    action: dict[str, Any] = {"type": "fix", "bugs": "eval"}
    if form == "files":
        action["files"] = dict(known.reference.files)
    elif form == "patch":
        action["patch"] = unified_patch(known.broken.files, known.reference.files)
    elif form == "script":
        action["script"] = known.reference.files[entrypoint]
    else:
        text = known.reference.files[entrypoint]
        env.step({"type": "inspect", "tool": "rewrite", "arguments": {"path": entrypoint, "text": text}})
        action = {"type": "inspect", "tool": "submit", "arguments": {"bugs": ["missing_eval_mode"]}}
    assert env.step(action).reward == pytest.approx(0.99 * 1.2)


def test_a_fix_stays_in_the_working_copy(env: DebugEnv) -> None:
    env.reset(task=rows()[NAMES[0]])
    env.step({"type": "fix", "bugs": ["eval"], "script": "print('mine')\n"})
    assert env.step(LOOK).text.strip() == "print('mine')"
    env.reset(task=rows()[NAMES[0]])
    assert "mine" not in env.step(LOOK).text


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (None, '"inspect" or "fix"'),
        ({"type": "inspect"}, "names its tool"),
        ({"type": "inspect", "tool": "rm"}, "there is no tool 'rm'"),
        ({"type": "inspect", "tool": "view_source", "arguments": {"x": 1}}, "no parameter"),
        ({"type": "inspect", "tool": "view_source", "arguments": [1]}, "must be an object"),
        ({"type": "fix", "bugs": 3}, "list of class names"),
        ({"type": "fix", "bugs": [], "script": "x", "patch": "y"}, "one way"),
        ({"type": "fix", "bugs": [], "script": 7}, "must be text"),
        ({"type": "fix", "bugs": [], "files": {"data/train.npz": ""}}, "may not be changed"),
        ({"type": "fix", "bugs": [], "script": "x" * (3 << 20)}, "larger than"),
        ({"type": "fix", "bugs": [], "patch": "hello"}, "patch"),
        ({"type": "fix", "bugs": [], "scripts": "x"}, "there is no 'scripts'; it has: type, bugs"),
        ({"type": "inspect", "tool": "view_source", "path": "x"}, "there is no 'path'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_costs_a_step(env: DebugEnv, action: Any, told: str) -> None:
    env.reset(task=rows()[NAMES[0]])
    seen = env.step(action)
    assert seen.refused and told in seen.text, seen.text
    assert seen.step == 1 and not env.verdicts


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SHAPED = st.fixed_dictionaries(
    {"type": st.sampled_from(["inspect", "fix", "x"])},
    optional={
        "tool": st.sampled_from(["submit", "nothing", "view_source"]) | JSON,
        "arguments": JSON,
        "bugs": JSON,
        "diagnosis": JSON,
        "patch": st.text(max_size=30) | JSON,
    },
)


@given(st.lists(JSON | SHAPED, min_size=1, max_size=5))
@settings(max_examples=60)
def test_whatever_is_sent_there_is_an_observation(pool: Pool, actions: list[Any]) -> None:
    with DebugEnv(Services([rows()[NAMES[0]]], pool=pool), tools=["submit", "view_source"]) as env:
        env.reset(seed=1)
        for action in actions:
            seen = env.step(action)
            assert isinstance(seen, Observation)
            json.dumps(seen.record(), allow_nan=False).encode()
            assert len(seen.text) < 9_000


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    """With another hash seed, another working directory, and after other episodes."""
    code = """
import json, sys
from mldebug.env import DebugEnv
with DebugEnv() as env:
    for seed in json.loads(sys.argv[1]):
        seen = [env.reset(seed=seed)]
        for tool in ("run_code", "view_source", "inspect_data", "print_shapes"):
            seen.append(env.step({"type": "inspect", "tool": tool}))
print(json.dumps([one.record() for one in seen]))
"""
    outputs = []
    for seeds, hash_seed, place in (([11], "1", "/"), ([4, 11], "2", "/tmp")):
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(seeds)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=place,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]


def test_one_run_serves_a_whole_group(pool: Pool) -> None:
    runs = []

    class Counting:
        def run(self, request: Any) -> Any:
            runs.append(request)
            return pool.run(request)

    shared = Services([rows()[NAMES[1]]], pool=Counting())  # type: ignore[arg-type]
    seen: list[str] = []

    def member() -> None:
        env = DebugEnv(shared)
        env.reset(seed=5)
        seen.append(env.step(Inspect("run_code")).text)

    threads = [threading.Thread(target=member) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6 and len(set(seen)) == 1 and len(runs) == 1


def test_a_failure_of_the_machinery_costs_no_step(services: Services, pool: Pool) -> None:
    class Broken:
        def run(self, request: Any) -> Any:
            raise RunnerError("the pool is closed")

    env = DebugEnv(Services([rows()[NAMES[0]]], pool=Broken()))  # type: ignore[arg-type]
    env.reset(seed=0)
    with pytest.raises(RunnerError):
        env.step(Inspect("run_code"))
    assert env.step(LOOK).step == 1


def test_a_task_that_was_never_proved_is_refused(services: Services) -> None:
    row = json_row(generate(["eval"], 3, verify=False))
    with pytest.raises(UsageError, match="never executed"):
        DebugEnv(services).reset(task=row)
    with pytest.raises(UsageError, match="no task was given"):
        Services([])


def test_a_folder_made_from_a_row_is_a_task(services: Services, tmp_path: Path) -> None:
    id, files = row_files(rows()[NAMES[0]])
    for path, content in files.items():
        place = tmp_path / id / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    env = DebugEnv(services)
    assert env.reset(task=tmp_path / id) == env.reset(task=rows()[NAMES[0]])


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": True}, {"seed": "7"}, {"bugs": ["nope"]}])
def test_bad_arguments_of_reset(env: DebugEnv, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        env.reset(**arguments)
    with pytest.raises(UsageError, match="no episode"):
        env.step(LOOK)


def test_bad_arguments_of_an_environment(services: Services) -> None:
    for arguments in ({"budget": 0}, {"budget": True}, {"tools": ["nope"]}):
        with pytest.raises(UsageError):
            DebugEnv(services, **arguments)
    with pytest.raises(UsageError, match="not both"):
        DebugEnv(services, tasks=[rows()[NAMES[0]]])


def test_a_closed_environment_refuses(env: DebugEnv) -> None:
    env.reset(task=rows()[NAMES[0]])
    env.close()
    for call in (lambda: env.step(LOOK), lambda: env.reset(seed=1)):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_a_scheduler_chooses_and_is_told(services: Services) -> None:
    told: list[tuple[Assignment, float]] = []

    class Fixed:
        def next(self) -> Assignment:
            return Assignment(9, ("missing_eval_mode",))

        def report(self, assignment: Assignment, score: float) -> None:
            told.append((assignment, score))

    env = DebugEnv(services, scheduler=Fixed(), budget=1)  # type: ignore[arg-type]
    assert env.reset().task == task(NAMES[0]).id
    env.step(repaired(NAMES[0]))
    env.reset(seed=3)
    env.step(LOOK)
    assert [score for _, score in told[:1]] == [pytest.approx(0.99 * 1.2)]
    assert told[0][0] == Assignment(9, ("missing_eval_mode",))


def test_tasks_of_a_seed() -> None:
    listed = Listed(rows()[name] for name in NAMES)
    assert {listed.task(Assignment(seed)).task.id for seed in range(40)} == {task(n).id for n in NAMES}
    assert listed.task(Assignment(3, ("shape_mismatch",))).task.id == task("shape-machine-1").id
    with pytest.raises(UsageError, match="none of the 4 tasks"):
        listed.task(Assignment(3, ("training_collapse",)))
    drawn = {bugs_of(Assignment(seed)) for seed in range(200)}
    assert {(bug,) for bug in bug_classes()} < drawn and len(drawn) == 8


def test_nothing_that_is_sent_holds_the_truth(services: Services) -> None:
    """But for the classes that every briefing lists: no class, no hidden seed, no name of a task."""
    for name in NAMES:
        known = task(name)
        env = DebugEnv(services)
        first = env.reset(task=Prepared(known, "Something is wrong."))
        seen = [first, *(env.step({"type": "inspect", "tool": tool}) for tool in ("run_code", "nothing"))]
        seen.append(env.step(Fix(known.bugs, script="import sys\nsys.exit(3)\n")))
        for one in seen:
            text = json.dumps(one.record())
            assert str(known.hidden_seed) not in text and str(known.visible_seed) not in text
            for cause in known.causes.values():
                assert cause not in text
        for bug in bug_classes():
            for one in seen[1:]:
                assert bug not in one.text
