"""Language-model agents against a scripted local endpoint that speaks the real protocol."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mldebug.benchmark.agents.base import AgentFailed, Brief, agent, settled
from mldebug.benchmark.agents.endpoint import Endpoint
from mldebug.benchmark.agents.llm_config import Model, begin, find_model
from mldebug.env.models import Observation
from mldebug.errors import UsageError
from mldebug.seeds import Draw

USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


def says(text: str = "", tool: str = "", arguments: str = "{}") -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if tool:
        function = {"name": tool, "arguments": arguments}
        message["tool_calls"] = [{"id": "c1", "type": "function", "function": function}]
    return {"choices": [{"message": message}], "usage": USAGE}


class Scripted:
    """Answers with what its script says: a status, bytes, seconds of silence, or a completion."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    scripted = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            scripted.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            scripted.keys.append(self.headers["Authorization"])
            now = scripted.script.pop(0)
            if isinstance(now, float):
                time.sleep(now)
                now = b""
            status = now if isinstance(now, int) else 200
            body = now if isinstance(now, bytes) else json.dumps(now).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = tmp_path / "llm.yaml"
    config.write_text(
        f"local: {{base_url: 'http://127.0.0.1:{server.server_port}/v1', model: m, api_key: secret, "
        "timeout: 20, retries: 2, price: {prompt: 1.0, completion: 2.0}}\n"
    )
    monkeypatch.setenv("MLDEBUG_LLM_CONFIG", str(config))
    yield scripted
    server.shutdown()
    server.server_close()


def seen(step: int, text: str = "said") -> Observation:
    return Observation(text, "alert", "t", "train.py", step, 20, ("view", "pdb"))


def made(name: str, **settings: Any) -> Any:
    kind = agent(name)
    tools = tuple(
        {"name": one, "description": one, "parameters": {"type": "object", "properties": {}, "required": []}}
        for one in kind.tools or ()
    )
    return kind(Brief(tools, ("shape_mismatch",), Draw("t"), settled(kind, settings)))


def test_a_conversation_keeps_calls_and_answers_together(endpoint: Scripted) -> None:
    endpoint.script = [says("hm", "view", '{"path": "train.py"}'), says("", "eval")]
    debug = made("debug")
    assert debug.act(seen(0, "brief")).action == {
        "type": "inspect",
        "tool": "view",
        "arguments": {"path": "train.py"},
    }
    assert debug.act(seen(1, "lines")).action["tool"] == "eval"
    roles = [one["role"] for one in endpoint.seen[1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]
    assert endpoint.seen[1]["messages"][3]["tool_call_id"] == "c1"
    assert endpoint.keys == ["Bearer secret"] * 2
    assert debug.usage.record() == {
        "requests": 2,
        "prompt_tokens": 200,
        "completion_tokens": 20,
        "uncounted": 0,
        "dollars": 0.00024,
    }


def test_malformed_answers_are_corrected_and_then_cost_a_step(endpoint: Scripted) -> None:
    endpoint.script = [says("no idea"), says("", "nothing"), says("", "view", "{oops")]
    turn = made("debug").act(seen(0))
    assert turn.action == {"type": "none"} and len(turn.note["said"]) == 3
    assert "one of the functions" in endpoint.seen[1]["messages"][-1]["content"]
    assert "no function 'nothing'" in endpoint.seen[2]["messages"][-1]["content"]


def test_passing_failures_are_tried_again_and_others_are_not(endpoint: Scripted) -> None:
    pauses: list[float] = []
    client = Endpoint(find_model("local"), pauses.append)
    endpoint.script = [429, b"<html>", says("fine")]
    assert client.answer([], []).text == "fine"
    assert pauses == [0.0, 1.0] and client.tries == 3
    endpoint.script = [503, 503, 503]
    with pytest.raises(AgentFailed, match=r"HTTP 503 \(3 tries\)"):
        client.answer([], [])
    endpoint.script = [401, says("never")]
    with pytest.raises(AgentFailed, match="HTTP 401") as caught:
        client.answer([], [])
    assert "secret" not in str(caught.value) and len(endpoint.script) == 1


def test_a_silent_endpoint_is_given_up(endpoint: Scripted) -> None:
    known = find_model("local")
    endpoint.script = [3.0]
    silent = Model("local", known.base_url, "m", timeout=0.3, retries=0)
    with pytest.raises(AgentFailed, match=r"no answer within 0.3 s"):
        Endpoint(silent).answer([], [])


def test_the_debugger_comes_after_the_rewrites(endpoint: Scripted) -> None:
    endpoint.script = [says("", "rewrite"), says("", "rewrite"), says("", "pdb")]
    late = made("debug_5", rewrites=2)
    assert [late.act(seen(step)).action["tool"] for step in range(3)] == ["rewrite", "rewrite", "pdb"]
    offered = [{one["function"]["name"] for one in request["tools"]} for request in endpoint.seen]
    assert ["pdb" in one for one in offered] == [False, False, True]


def test_the_seeds_agent_reads_json_out_of_text(endpoint: Scripted) -> None:
    endpoint.script = [says('Look:\n```json\n{"type": "inspect", "tool": "run_code"}\n```')]
    assert made("llm").act(seen(0)).action == {"type": "inspect", "tool": "run_code"}
    assert "tools" not in endpoint.seen[0]


def test_the_template_is_private_and_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "llm.yaml"
    begin(path)
    assert path.stat().st_mode & 0o077 == 0
    assert find_model("local", {"MLDEBUG_LLM_CONFIG": str(path)}).retries == 4
    with pytest.raises(UsageError, match="--force"):
        begin(path)
    with pytest.raises(UsageError, match="no model 'other'"):
        find_model("other", {"MLDEBUG_LLM_CONFIG": str(path)})
