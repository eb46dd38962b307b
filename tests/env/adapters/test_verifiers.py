"""The verifiers taskset: its own gate, and rewards through its tool server.

verifiers does not go together with OpenEnv: MLDEBUG_VERIFIERS_PYTHON names an interpreter that has it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mldebug.env import DebugEnv
from mldebug.env.adapters.calls import functions
from mldebug.grader.runner import Pool

from ...written import rows
from .scripted import NAMES, actions, shared

PYTHON = os.environ.get("MLDEBUG_VERIFIERS_PYTHON") or (
    sys.executable if importlib.util.find_spec("verifiers") else None
)
pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="verifiers is not here: name a Python that has it in MLDEBUG_VERIFIERS_PYTHON"
)

CLIENT = """
import asyncio, json, os, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode
from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from verifiers.v1.mcp.server import state_signature

asked = json.loads(sys.stdin.read())
states = {one["id"]: {"episode": one["id"], "place": one["place"]} for one in asked["rollouts"]}

class Channel(BaseHTTPRequestHandler):
    "Holds the state of each rollout, as the harness of verifiers does."
    def do_GET(self):
        self.answer(json.dumps(states[self.headers["X-Verifiers-State-Route"]]).encode())
    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        states[self.headers["X-Verifiers-State-Route"]] = json.loads(content)
        self.answer(b"{}")
    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *_):
        pass

channel = ThreadingHTTPServer(("127.0.0.1", 0), Channel)
threading.Thread(target=channel.serve_forever, daemon=True).start()
config = json.dumps({"tasks": asked["tasks"]})
environment = os.environ | {"VF_CONFIG": config, "VF_STATE_SECRET": "s", "MCP_PORT_FILE": asked["port"]}
server = subprocess.Popen([sys.executable, "-m", "mldebug.env.adapters.verifiers"], env=environment)

async def play(rollout, port):
    url = f"http://127.0.0.1:{channel.server_port}/state"
    route = {"vf_state_url": url, "vf_state_route": rollout["id"]}
    route["vf_state_signature"] = state_signature("s", url, rollout["id"])
    async with create_mcp_http_client() as http:
        place = f"http://127.0.0.1:{port}/mcp?{urlencode(route)}"
        async with Client(streamable_http_client(place, http_client=http)) as client:
            tools = [one.model_dump(mode="json") for one in (await client.list_tools()).tools]
            said = []
            for name, arguments in rollout["calls"]:
                result = await client.call_tool(name, arguments, read_timeout_seconds=300)
                said.append([bool(result.is_error), "".join(one.text for one in result.content)])
    return {"said": said, "state": states[rollout["id"]], "tools": tools}

async def main():
    while not (os.path.exists(asked["port"]) and open(asked["port"]).read().strip()):
        assert server.poll() is None
        await asyncio.sleep(0.1)
    port = open(asked["port"]).read().strip()
    for _ in range(300):
        try:
            (await asyncio.open_connection("127.0.0.1", int(port)))[1].close()
            break
        except OSError:
            await asyncio.sleep(0.2)
    return await asyncio.gather(*(play(one, port) for one in asked["rollouts"]))

try:
    print(json.dumps(asyncio.run(main())))
finally:
    server.kill()
"""
"""Rollouts at the same time against a tool server of its own process, over MCP."""


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verifiers") / "rows.jsonl"
    path.write_text("".join(json.dumps(rows()[name]) + "\n" for name in NAMES))
    return path


def called(action: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if action["type"] == "inspect":
        return action["tool"], action["arguments"]
    return "fix", {name: value for name, value in action.items() if name != "type"}


def rollouts(listed: Path, calls: list[list[tuple[str, dict[str, Any]]]]) -> list[dict[str, Any]]:
    """What came of a rollout for each of the first tasks."""
    asked = {
        "tasks": str(listed),
        "port": str(listed.parent / f"port-{len(list(listed.parent.iterdir()))}"),
        "rollouts": [
            {"id": f"r{place}", "place": place % len(NAMES), "calls": own} for place, own in enumerate(calls)
        ],
    }
    done = subprocess.run(
        [str(PYTHON), "-c", CLIENT],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_rewards_and_texts_are_those_of_the_environment(pool: Pool, listed: Path) -> None:
    """All but the call of an unknown tool: the protocol turns that down before it comes here."""
    services = shared(pool)
    scripts = [[one for one in actions(name) if one.get("tool") != "no such tool"] for name in NAMES]
    found = rollouts(listed, [[called(one) for one in script] for script in scripts])
    for name, script, rollout in zip(NAMES, scripts, found, strict=True):
        env = DebugEnv(services)
        env.reset(task=rows()[name])
        seen = [env.step(action) for action in script]
        assert rollout["said"] == [[False, one.text] for one in seen]
        state = rollout["state"]
        assert (state["reward"], state["step"], state["done"]) == (seen[-1].reward, 3, True)
        assert state["solved"] and state["reward"] >= 0.99
    offered = {one["name"]: one for one in found[0]["tools"]}
    expected = {one["name"]: one["parameters"] for one in functions(env)}
    assert set(offered) == set(expected)
    for name, parameters in expected.items():
        shown = offered[name]["input_schema"]
        assert set(shown["properties"]) == set(parameters["properties"])
        assert set(shown.get("required", ())) == set(parameters["required"])


def test_nonsense_costs_steps_and_the_end_is_the_end(listed: Path) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("fix", {"bugs": 7}),
        ("fix", {"bugs": ["shape"], "files": [1]}),
        ("fix", {"bugs": ["shape"], "script": "a", "patch": "b"}),
        ("no such tool", {}),
        ("fix", {}),
        ("submit", {"bugs": {}}),
        ("submit", {"bugs": ["shape"], "diagnosis": 3}),
        ("view_source", {}),
    ]
    (rollout,) = rollouts(listed, [calls])
    failed, said = zip(*rollout["said"], strict=True)
    assert failed == (False, False, False, True, True, False, False, False)
    assert '"bugs" must be' in said[0] and '"files" must be' in said[1] and "one way" in said[2]
    assert said[-1] == "The episode is over."
    assert rollout["state"] | {"artifacts": {}} == {
        "artifacts": {},
        "episode": "r0",
        "place": 0,
        "step": 5,
        "done": True,
        "reward": 0.0,
        "rung": 0.0,
        "solved": False,
    }


def test_the_gate_of_verifiers_passes_and_can_fail(tmp_path: Path, listed: Path) -> None:
    """Gold: the reference solves it, the broken job does not. No-op: an untouched task is paid nothing."""
    module = "from mldebug.env.adapters.verifiers import DebugTaskset\n__all__ = ['DebugTaskset']\n"
    (tmp_path / "mldebug_tasks.py").write_text(module)
    good = rows()[NAMES[0]]
    dud = good | {"files": good["reference"]}
    (tmp_path / "both.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(dud)}\n")
    line = "mldebug_tasks --taskset.tasks both.jsonl --runtime.type subprocess --no-rich -o out -c 1"
    done = subprocess.run(
        [Path(str(PYTHON)).parent / "vf-validate", *line.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        timeout=600,
        check=False,
    )
    (place,) = tmp_path.glob("out/*/results.jsonl")
    found = {one["index"]: one for one in map(json.loads, place.read_text().splitlines())}
    assert found[0]["reason"] == "valid", (found, done.stderr)
    assert found[0]["noop"]["reward"] == 0.0
    assert found[1]["gold"]["reason"] == "invalid"
