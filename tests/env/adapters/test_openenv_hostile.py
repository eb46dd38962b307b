"""What nobody should send: it is refused in words, and nobody else notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mldebug.env.adapters.openenv.guard import DEEPEST, MOST_BAD_FRAMES, MOST_PARTS, problem_of
from mldebug.env.adapters.openenv.host import Host
from mldebug.grader.runner import Pool

from .openenv_serving import ask, heard, host_of, raw, serving, wait_for

LOOK = {"type": "inspect", "tool": "view_source"}
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def host(pool: Pool) -> Host:
    return host_of(pool, sessions=40, budget=20)


@pytest.fixture(scope="module")
def url(host: Host) -> Iterator[str]:
    with serving(host) as address:
        yield address


@pytest.fixture
def bystander(url: str) -> Iterator[None]:
    """A session that goes on as if nothing had happened."""
    with raw(url) as connection:
        before = ask(connection, "reset", {"bugs": "device", "episode_id": "bystander"})
        first = ask(connection, "step", LOOK)["data"]["observation"]
        yield
        second = ask(connection, "step", LOOK)["data"]["observation"]
        assert (second["text"], second["step"]) == (first["text"], 2)
        assert ask(connection, "state")["data"]["episode_id"] == "bystander"
        assert ask(connection, "reset", {"bugs": "device"}) == before


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("action", "problem"),
    [
        ({}, '"type" must be "inspect" or "fix"'),
        ({"type": None}, '"type" must be'),
        ({"type": 7}, '"type" must be'),
        ({"type": "call_tool", "tool": "run_code"}, '"type" must be'),
        ({"type": "inspect"}, "an inspection names its tool"),
        ({"type": "inspect", "tool": 7}, "an inspection names its tool"),
        ({"type": "inspect", "tool": "rm -rf /\x00"}, "there is no tool"),
        ({"type": "inspect", "tool": "x" * 100_000}, "there is no tool"),
        ({"type": "inspect", "tool": "view_source", "arguments": 5}, '"arguments" must be an object'),
        ({"type": "inspect", "tool": "view_source", "arguments": {"x": 1}}, "no parameter"),
        ({"type": "inspect", "tool": "view_source", "arguments": {"\x1b[2J": 1}}, "no parameter"),
        ({"type": "fix", "bugs": 5}, '"bugs" must be a list'),
        ({"type": "fix", "script": 5}, '"script" must be text'),
        ({"type": "fix", "files": {"train.py": 5}}, '"files" must be an object'),
        ({"type": "fix", "files": ["train.py"]}, '"files" must be an object'),
        ({"type": "fix", "script": "", "patch": ""}, "a fix is given in one way"),
        ({"type": "fix", "diagnosis": {"a": 1}}, '"diagnosis" must be text'),
        ({"type": "fix", "files": {"data/train.npz": ""}}, "may not be changed"),
        ({"type": "fix", "script": "x" * (2 << 20)}, "larger than"),
    ],
)
def test_a_wrong_action_is_an_answer_that_costs_a_step(
    url: str, action: dict[str, Any], problem: str
) -> None:
    with raw(url) as connection:
        ask(connection, "reset", {"bugs": "shape"})
        data = ask(connection, "step", action)["data"]
        assert data["observation"]["refused"], data
        assert problem in data["observation"]["text"]
        assert len(data["observation"]["text"]) < 1000
        assert (data["observation"]["step"], data["reward"], data["done"]) == (1, 0.0, False)
        assert ask(connection, "step", LOOK)["data"]["observation"]["step"] == 2


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"reset"',
        "\x00\x01",
        '{"type": "step", "data": {"type": "fix", "script": NaN}}',
        '{"type": "reset", "data": {"seed": Infinity}}',
        '{"type": "reset", "data": {"seed": 1e999}}',
        '{"type": "reset", "data": {"seed": ' + "1" * 5000 + "}}",
        '{"type": "step", "data": ' + DEEP + "}",
        '{"type": "step", "data": {"type": "fix", "files": ' + '{"a":' * 100 + "1" + "}" * 101 + "}",
        '{"type": "step", "data": {"type": "fix", "bugs": [' + "[]," * 200_000 + "[]]}}",
        '{"type": "step", "data": {"type": "fix", "script": "' + "x" * (10 << 20) + '"}}',
        b"{}",
        b"\xff\xfe\x00",
        b"\x00" * (10 << 20),
        '{"type": "step", "data": {"type": "inspect", "tool": "view_source", "surplus": 1}}',
        '{"type": "step", "data": {"type": "inspect", "metadata": 5}}',
        '{"type": "step", "data": {"type": "inspect", "tool": "view_source"}, "surplus": 1}',
        '{"type": "step", "data": {"surplus": "\\ud800"}}',
        '{"type": "step", "data": {"type": "fix", "script": "\\ud800"}}',
        '{"type": "step", "data": {"type": "fix", "files": {"\\udfff": ""}}}',
        '{"type": "step", "data": {"type": ["fix"]}}',
        '{"type": "step", "data": {"type": {"a": {"b": 1}}}}',
        '{"type": "step"}',
        '{"type": "step", "data": []}',
        '{"type": "reset", "data": 5}',
        '{"type": "no_such_type"}',
        '{"type": ["reset"]}',
        '{"type": "mcp", "data": {}}',
        '{"type": "mcp", "data": {"jsonrpc": "2.0", "id": 1, "method": "openenv/session/create"}}',
        '{"data": {}}',
        "{}",
    ],
    ids=lambda frame: repr(frame[:60]).replace("\\x00", "0"),
)
def test_a_frame_that_is_no_message_is_refused_and_the_session_goes_on(url: str, frame: str | bytes) -> None:
    with raw(url) as connection:
        ask(connection, "reset", {"bugs": "shape"})
        connection.send(frame)
        answer = heard(connection)
        assert answer["type"] == "error", answer
        assert "Traceback" not in json.dumps(answer)
        assert ask(connection, "step", LOOK)["data"]["observation"]["step"] == 1


@pytest.mark.usefixtures("bystander")
def test_a_frame_without_measure_ends_its_own_connection(url: str, host: Host) -> None:
    with raw(url) as connection:
        ask(connection, "reset", {"bugs": "shape"})
        with pytest.raises(ConnectionClosed):
            connection.send("x" * (17 << 20))
            heard(connection)
    wait_for(lambda: host.open == 1)


@pytest.mark.usefixtures("bystander")
def test_who_sends_nothing_else_is_cut_off(url: str, host: Host) -> None:
    with raw(url) as connection, pytest.raises(ConnectionClosed):
        for _ in range(MOST_BAD_FRAMES + 1):
            connection.send("garbage")
            assert heard(connection)["type"] == "error"
    wait_for(lambda: host.open == 1)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/mcp", {}),
        ("/ws?session_id=00000000-0000-0000-0000-000000000000", {}),
        ("/ws?session_id=", {}),
        ("/nowhere", {}),
        ("/ws", {"Origin": "http://elsewhere.example"}),
    ],
)
def test_other_doors_are_shut(url: str, path: str, headers: dict[str, str]) -> None:
    address = url.replace("http", "ws") + path
    with pytest.raises(InvalidStatus) as refusal:
        connect(address, proxy=None, additional_headers=headers).__enter__()
    assert refusal.value.response.status_code == 403


def post(url: str, path: str, content: str | bytes, **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.post(
            url + path, content=content, headers={"content-type": "application/json"} | headers
        )


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("path", ["/reset", "/step", "/mldebug/tasks", "/mldebug/task_range"])
@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ('{"action": {"x": NaN}}', 400),
        ('{"a": ' + DEEP + "}", 400),
        ('{"a": "' + "x" * (10 << 20) + '"}', 413),
        (b'{"a": "\xff"}', 400),
    ],
    ids=["cut off", "list", "nan", "deep", "large", "bytes"],
)
def test_bodies_that_are_no_message_are_refused(
    url: str, host: Host, path: str, content: str | bytes, status: int
) -> None:
    assert post(url, path, content).status_code == status
    assert host.open == 1


@pytest.mark.usefixtures("bystander")
def test_requests_without_an_episode_are_told_so(url: str) -> None:
    answer = post(url, "/step", json.dumps({"action": LOOK}))
    assert (answer.status_code, answer.json()["detail"]) == (400, "no episode is going on; call reset()")
    answer = post(url, "/step", json.dumps({"action": {"type": "inspect", "surplus": 1}}))
    assert answer.status_code == 422
    answer = post(url, "/reset", json.dumps({"func": 1}))
    assert (answer.status_code, answer.json()["detail"]) == (400, "reset has no option 'func'")
    answer = post(url, "/reset", json.dumps({"task": "/etc"}))
    assert answer.status_code == 400
    answer = post(url, "/reset", "{}", origin="http://elsewhere.example")
    assert answer.status_code == 403
    assert post(url, "/mcp", "{}").json()["jsonrpc"] == "2.0"


@pytest.mark.parametrize(
    ("text", "well"),
    [
        ('{"a": ' + "[" * (DEEPEST - 2) + "]" * (DEEPEST - 2) + "}", True),
        ('{"a": ' + "[" * DEEPEST + "]" * DEEPEST + "}", False),
        ('{"a": [' + "1," * (MOST_PARTS - 10) + "1]}", True),
        ('{"a": [' + "1," * MOST_PARTS + "1]}", False),
        ('{"a": 1e308}', True),
        ('{"a": -1e309}', False),
    ],
    ids=["deep enough", "too deep", "long enough", "too long", "large", "too large"],
)
def test_limits_of_a_message(text: str, well: bool) -> None:
    assert (problem_of(text) is None) is well
