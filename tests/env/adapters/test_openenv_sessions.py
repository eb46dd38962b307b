"""The server and its client over loopback: the same episodes as in one process, and sessions of their own."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mldebug.env import DebugEnv, Services
from mldebug.env.adapters.openenv import DebugAction, DebugClient
from mldebug.env.adapters.openenv.environment import DebugEnvironment, ServerFault
from mldebug.env.adapters.openenv.host import Host, Settings, TaskLists
from mldebug.errors import UsageError
from mldebug.grader.runner import Pool

from ...written import rows
from .openenv_serving import (
    CRASHES,
    CRASHES_ON_GPU,
    NAMES,
    ask,
    drop,
    host_of,
    prepared,
    raw,
    serving,
    started,
    wait_for,
)

SESSIONS = 210
SEEN = {"text", "alert", "task", "entrypoint", "step", "budget", "tools", "refused", "metadata"}


@pytest.fixture(scope="module")
def host(pool: Pool) -> Host:
    return host_of(pool, sessions=SESSIONS)


@pytest.fixture(scope="module")
def url(host: Host) -> Iterator[str]:
    with serving(host) as address:
        yield address


def fix(name: str, **more: Any) -> dict[str, Any]:
    row = rows()[name]
    return {"type": "fix", "bugs": row["bugs"], "files": row["reference"], **more}


LOOK = {"type": "inspect", "tool": "view_source"}
UNUSABLE = {"type": "fix", "bugs": ["shape"], "files": {"../outside.py": "x = 1"}}

SCRIPTS: dict[str, list[dict[str, Any]]] = {
    CRASHES: [
        LOOK,
        {"type": "inspect", "tool": "run_code"},
        {"type": "inspect", "tool": "no_such_tool"},
        fix(CRASHES, diagnosis="The first layer takes its width from the wrong axis."),
    ],
    CRASHES_ON_GPU: [
        {"type": "inspect", "tool": "run_code", "arguments": {"surplus": 1}},
        {"type": "inspect", "tool": "run_code"},
        {"type": "fix", "bugs": ["eval"], "script": "raise SystemExit(3)"},
    ],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_session_is_an_episode_of_the_environment(pool: Pool, name: str) -> None:
    whole = host_of(pool, (name,), budget=len(SCRIPTS[name]))
    solves = name == CRASHES  # expensive enough to be graded once for both; the other is run twice
    services = whole.services if solves else Services([prepared(name)], pool=pool)
    with DebugEnv(services, budget=len(SCRIPTS[name])) as local:
        expected = [local.reset(task=prepared(name)), *map(local.step, SCRIPTS[name])]
    assert (expected[-1].reward >= 0.99) is solves
    with serving(whole) as address, DebugClient(address).sync() as client:
        results = [client.reset(index=0)]
        results += [client.step(DebugAction(**action)) for action in SCRIPTS[name]]
    assert [one.observation.seen() for one in results] == expected
    assert [one.reward for one in results] == [one.reward for one in expected]
    assert [one.done for one in results] == [one.done for one in expected]
    assert results[-1].done


def test_the_client_is_asynchronous_too(url: str) -> None:
    async def episode() -> tuple[str, int]:
        async with DebugClient(url) as client:
            await client.reset(seed=3, bugs="device")
            result = await client.step(DebugAction(**LOOK))
            state = await client.state()
            return result.observation.task, state.step_count

    assert asyncio.run(episode()) == (rows()[CRASHES_ON_GPU]["id"], 1)


def test_the_same_seed_is_the_same_episode(url: str) -> None:
    with DebugClient(url).sync() as client:
        tasks = {seed: client.reset(seed=seed).observation for seed in range(12)}
        assert {one.task for one in tasks.values()} == {rows()[name]["id"] for name in NAMES}
        assert {seed: client.reset(seed=seed).observation for seed in range(12)} == tasks
        assert client.reset(seed=1, split="train").observation == tasks[1]


def test_what_goes_over_the_wire_is_what_an_agent_may_know(url: str) -> None:
    row = rows()[CRASHES]
    with raw(url) as connection:
        frames = [ask(connection, "reset", {"bugs": "shape", "episode_id": "mine"})]
        frames += [ask(connection, "state"), ask(connection, "step", LOOK)]
        frames += [ask(connection, "step", {**UNUSABLE, "bugs": row["bugs"]}), ask(connection, "state")]
    for kind in ("observation", "state"):
        assert [one["type"] for one in frames].count(kind) >= 2
    for frame in frames:
        data = frame["data"]
        if frame["type"] == "state":
            assert set(data) == {"episode_id", "step_count", "task", "budget", "done"}
            continue
        assert set(data) <= {"observation", "reward", "done"}
        assert set(data["observation"]) == SEEN
        free = ("text", "tools")  # which are the environment's
        said = json.dumps({key: value for key, value in data["observation"].items() if key not in free})
        assert not re.search(r"shape|mismatch|reference|seed|solution", said)


def test_after_the_end_nothing_is_taken(url: str) -> None:
    with DebugClient(url).sync() as client:
        with pytest.raises(RuntimeError, match=r"no episode is going on; call reset\(\)"):
            client.step(DebugAction(**LOOK))
        client.reset(seed=0)
        for _ in range(5):
            result = client.step(DebugAction(**LOOK))
        assert result.done
        assert result.reward == 0.0
        with pytest.raises(RuntimeError, match="no episode is going on"):
            client.step(DebugAction(**LOOK))
        assert client.state().step_count == 5
        assert not client.reset(seed=0).done


def test_a_closed_session_refuses(pool: Pool) -> None:
    host = host_of(pool)
    one = DebugEnvironment(host)
    one.reset(seed=0)
    one.close()
    one.close()
    for call in (lambda: one.step(DebugAction(**LOOK)), lambda: one.reset(seed=0)):
        with pytest.raises(UsageError, match="closed"):
            call()
    assert host.open == 0
    host.close()
    with pytest.raises(UsageError, match="shutting down"):
        DebugEnvironment(host).reset(seed=0)


def test_a_session_that_idles_is_closed_and_says_so(pool: Pool) -> None:
    host = host_of(pool, sessions=1, idle_seconds=0.01)  # looked for every five seconds
    with serving(host) as address, raw(address) as connection:
        assert ask(connection, "reset", {"seed": 0})["type"] == "observation"
        wait_for(lambda: host.open == 0)
        answer = ask(connection, "step", LOOK)
        assert answer["data"]["message"].startswith("this session is closed")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"seed": -1}, "seed must be an integer from 0 on"),
        ({"seed": "7"}, "seed must be an integer from 0 on"),
        ({"seed": 1.5, "split": "train"}, "seed must be an integer from 0 on"),
        ({"bugs": "no_such_bug"}, "unknown bug class"),
        ({"bugs": [["shape"]]}, "bugs must be a list of class names"),
        ({"bugs": "shape" * 1000}, "bugs must be a list of class names"),
        ({"bugs": "shape,collapse"}, "none of the 3 tasks fits"),
        ({"script": ["x"]}, "script must be the name of a job"),
        ({"episode_id": 5}, "episode_id must be text"),
        ({"episode_id": "x" * 256}, "episode_id must be text"),
        ({"episode_id": "\x00"}, "episode_id must be text"),
        ({"index": 99}, "index must be an integer from 0 to 2"),
        ({"index": -1}, "index must be an integer from 0 to 2"),
        ({"index": True}, "index must be an integer from 0 to 2"),
        ({"index": 0, "split": "other"}, "there is no split 'other'"),
        ({"index": 0, "split": {"a": []}}, "there is no split"),
        ({"index": 0, "bugs": "shape"}, "an index names one task"),
        ({"task": "/etc"}, "reset has no option 'task'"),
        ({"self": 1}, "reset has no option 'self'"),
        ({"func": 1}, "reset has no option 'func'"),
        ({"session_id": "x"}, "reset has no option 'session_id'"),
        ({"host": {}}, "reset has no option 'host'"),
    ],
)
def test_wrong_options_of_reset_are_told_and_leave_the_session(
    url: str, options: dict[str, Any], problem: str
) -> None:
    with raw(url) as connection:
        answer = ask(connection, "reset", options)
        assert answer["type"] == "error"
        assert problem in answer["data"]["message"]
        assert ask(connection, "step", LOOK)["type"] == "error"
        assert ask(connection, "reset", {"seed": 0})["type"] == "observation"


def test_failures_of_the_machinery_are_told_without_their_details() -> None:
    with Pool(1) as gone:
        host = host_of(gone)
        gone.close()
    one = DebugEnvironment(host)
    one.reset(bugs="shape")
    with pytest.raises(ServerFault, match="could not run the job") as failure:
        one.step(DebugAction(type="inspect", tool="run_code"))
    assert "pool" not in str(failure.value)
    assert one.state.step_count == 0
    assert one.step(DebugAction(**LOOK)).step == 1


def test_one_client_cannot_reach_anothers_episode(url: str, host: Host) -> None:
    with raw(url) as mine, raw(url) as other:
        ask(mine, "reset", {"bugs": "device", "episode_id": "mine"})
        ask(mine, "step", LOOK)
        assert ask(other, "state")["data"]["episode_id"] is None
        ask(other, "reset", {"bugs": "shape", "episode_id": "mine"})
        seen = ask(other, "step", UNUSABLE)["data"]["observation"]
        assert (seen["task"], seen["step"]) == (rows()[CRASHES]["id"], 1)
        assert ask(mine, "state")["data"]["task"] == rows()[CRASHES_ON_GPU]["id"]
        assert ask(mine, "state")["data"]["step_count"] == 1
        for _ in range(4):
            ask(other, "step", LOOK)
        assert ask(other, "state")["data"]["done"]
        assert not ask(mine, "step", LOOK)["data"]["done"]


def session_threads() -> set[threading.Thread]:
    """Those in which the server's sessions live, each in its own."""
    return {one for one in threading.enumerate() if one.name.startswith("ThreadPoolExecutor")}


def test_sessions_that_were_abandoned_are_put_away(url: str, host: Host) -> None:
    before = session_threads()
    with raw(url) as mine:
        ask(mine, "reset", {"bugs": "device"})
        for number in range(200):
            other = raw(url)
            if number % 4:
                ask(other, "reset", {"seed": number})
            drop(other)
        assert ask(mine, "step", LOOK)["data"]["observation"]["step"] == 1
        wait_for(lambda: host.open == 1)
    wait_for(lambda: host.open == 0)
    wait_for(lambda: not session_threads() - before)


def test_a_client_that_vanishes_in_a_step_leaves_nothing(
    url: str, host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    with raw(url) as mine:
        ask(mine, "reset", {"bugs": "eval"})
        other = raw(url)
        ask(other, "reset", {"bugs": "shape"})
        unlike = f"# {id(other)}\nimport time\ntime.sleep(0.4)\n"
        other.send(json.dumps({"type": "step", "data": {"type": "fix", "bugs": ["eval"], "script": unlike}}))
        drop(other)
        assert ask(mine, "step", LOOK)["data"]["observation"]["step"] == 1
        assert ask(mine, "step", UNUSABLE)["data"]["observation"]["step"] == 2
        wait_for(lambda: host.open == 1)
    wait_for(lambda: host.open == 0)
    assert "Traceback" not in capfd.readouterr().err


def test_a_server_ends_well_while_a_client_says_goodbye(pool: Pool) -> None:
    with started(host_of(pool)) as (address, server), raw(address) as leaving:
        ask(leaving, "reset", {"seed": 0})
        (connection,) = server.server_state.connections
        closing = threading.Event()

        def goodbye() -> None:
            connection.conn.send_close(1000)  # as far as it gets when the client's close frame was read
            server.should_exit = True
            closing.set()

        connection.loop.call_soon_threadsafe(goodbye)
        assert closing.wait(60)
        wait_for(lambda: not server.server_state.connections)


def test_more_sessions_than_there_is_room_for_are_refused(pool: Pool) -> None:
    host = host_of(pool, sessions=2)
    with serving(host) as address:
        with DebugClient(address).sync() as one, DebugClient(address).sync() as two:
            one.reset(seed=0)
            two.reset(seed=0)
            with (
                pytest.raises(RuntimeError, match="CAPACITY_REACHED"),
                DebugClient(address).sync() as third,
            ):
                third.reset(seed=0)
            assert one.step(DebugAction(**LOOK)).observation.step == 1
        wait_for(lambda: host.open == 0)
        with DebugClient(address).sync() as later:
            assert not later.reset(seed=0).done


def test_tasks_are_read_by_split(tmp_path: Any) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(rows()[name]) for name in NAMES))
    lists = TaskLists.read([f"test={file}", str(file)])
    assert [(one["name"], one["num_tasks"]) for one in lists.splits()] == [("test", 3), ("train", 3)]
    for wrong in (["nowhere.jsonl"], [f"a/b={file}"]):
        with pytest.raises(UsageError):
            TaskLists.read(wrong)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UsageError, match="no task"):
        TaskLists.read([str(tmp_path / "empty.jsonl")])
    assert Host(Settings()).lists.splits() == []
