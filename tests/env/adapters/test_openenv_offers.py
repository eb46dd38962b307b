"""What the server offers beside sessions: lists of tasks, `/grade`, OpenEnv's own checks, `mldebug serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from openenv.validation import Level, run_validation
from openenv.validation.graders import Subject
from openenv.validation.graders.runtime import (
    ObservationSchemaGrader,
    RewardWellFormedGrader,
    StateContractGrader,
)
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from openenv.validation.runtime.collector import collect_runtime_evidence
from openenv.validation.runtime.contracts import RuntimePlan, RuntimeReset
from websockets.exceptions import ConnectionClosed

from mldebug.cli import cli, run
from mldebug.env.adapters.openenv import DebugClient
from mldebug.env.adapters.openenv.environment import DebugEnvironment
from mldebug.env.adapters.openenv.grade_route import Desk
from mldebug.env.adapters.openenv.host import Host, Settings
from mldebug.env.adapters.openenv.server import listening
from mldebug.errors import UsageError
from mldebug.grader.ladder import EFFICIENCY_CAP, Attempt, episode_score
from mldebug.grader.ruling import SOLVED
from mldebug.grader.runner import Pool

from ...written import rows
from .openenv_serving import CRASHES, SILENT, ask, below, heard, host_of, raw, serving, wait_for

ENV_FOLDER = Path(__file__).parents[3] / "env"
TASKS = Path(__file__).parents[2] / "tasks.jsonl"
TOKEN = "correct-horse-battery-staple"
PUBLIC = {"id", "split", "index", "alert", "entrypoint", "budget"}


@pytest.fixture(scope="module")
def host(pool: Pool) -> Host:
    return host_of(pool, sessions=4, grade_token=TOKEN)


@pytest.fixture(scope="module")
def url(host: Host) -> Iterator[str]:
    with serving(host) as address:
        yield address


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=120) as client:
        yield client


def leaves(value: Any) -> Iterator[Any]:
    """All keys and values in it, of any depth."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def test_listed_tasks_hold_no_truth() -> None:
    host = Host(Settings((str(TASKS),)))
    env = DebugEnvironment(host)
    listed = env.list_tasks("train")
    told = [env.list_splits(), listed, env.get_task("train", 3), env.get_task_range("train", 1, 4)]
    told += [env.get_metadata().model_dump(), env.state.model_dump()]
    assert all(set(one) == PUBLIC for one in listed)
    assert len(listed) == env.num_tasks("train") == len(rows())
    assert [one["id"] for one in listed] == sorted(one["id"] for one in rows().values())
    found = [*leaves(told)]
    for row in rows().values():
        texts = [*row["bugs"], row["script"], row["name"], *row["reference"].values(), *row["files"].values()]
        for one in found:
            assert one != row["data"]["seed"]
            assert not (isinstance(one, str) and any(text in one for text in texts)), one
    env.close()


def test_the_task_api_and_reset_agree(url: str, http: httpx.Client) -> None:
    def task_api(name: str, **request: Any) -> Any:
        return http.post(f"{url}/mldebug/{name}", json=request)

    assert http.get(f"{url}/mldebug/splits").json() == [{"name": "train", "type": "train", "num_tasks": 3}]
    listed = task_api("tasks", split="train").json()["tasks"]
    assert task_api("num_tasks", split="train").json() == {"num_tasks": len(listed) == 3 and 3}
    assert task_api("task_range", split="train", start=1).json()["tasks"] == listed[1:]
    assert task_api("task_range", split="train", start=-2, stop=-1).json()["tasks"] == listed[1:2]
    with DebugClient(url).sync() as client:
        for place, one in enumerate(listed):
            assert task_api("task", split="train", index=place).json()["task"] == one
            seen = client.reset(split="train", index=place, seed=place).observation
            assert (seen.task, seen.alert) == (one["id"], one["alert"])
    for wrong in (task_api("task", split="train", index=3), task_api("tasks", split="test")):
        assert wrong.status_code == 400
        assert "Traceback" not in wrong.text


def test_tasks_and_health(url: str, http: httpx.Client, host: Host) -> None:
    assert http.get(f"{url}/health").json() == {"status": "healthy"}
    found = http.get(f"{url}/tasks?start=1&count=1").json()
    assert found["tasks"] == [DebugEnvironment(host).get_task("train", 1)]
    host.opened(-1)
    assert "run_code" in [one["name"] for one in found["tools"]]
    assert found["action_schema"]["required"] == ["type"]
    assert http.get(f"{url}/tasks?count=100000").status_code == 422
    assert http.get(f"{url}/tasks?split=other").status_code == 400
    assert http.get(f"{url}/sessions").json() == {"open": 0, "most": 4}


def submission(name: str, **more: Any) -> dict[str, Any]:
    row = rows()[name]
    return {"task": row["id"], "bugs": row["bugs"], "files": row["reference"], **more}


def test_grading_is_off_by_default(pool: Pool, http: httpx.Client) -> None:
    with serving(host_of(pool)) as address:
        assert http.post(f"{address}/grade", json=submission(CRASHES)).status_code == 404
        assert "/grade" not in http.get(f"{address}/openapi.json").json()["paths"]


def test_grading_needs_the_token(url: str, http: httpx.Client) -> None:
    for shown in (None, "", TOKEN, "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"bearer {TOKEN}"):
        headers = {} if shown is None else {"Authorization": shown}
        answer = http.post(f"{url}/grade", json=submission(CRASHES), headers=headers)
        assert answer.status_code == 401
        assert "score" not in answer.text


def test_a_submission_is_graded(url: str, http: httpx.Client) -> None:
    def graded(**content: Any) -> httpx.Response:
        return http.post(f"{url}/grade", json=content, headers={"Authorization": f"Bearer {TOKEN}"})

    verdict = graded(**submission(CRASHES)).json()
    assert (verdict["rung"], verdict["solved"], verdict["score"]) == (SOLVED, True, SOLVED)
    wrong = graded(**submission(CRASHES, bugs=["eval"])).json()
    assert (wrong["rung"], wrong["solved"]) == (0.01, False)
    assert set(wrong) == {"task", "score", "rung", "solved", "trust", "feedback"}
    assert not set(leaves(wrong)) & set(rows()[CRASHES]["bugs"])
    for status, content in (
        (404, submission(CRASHES, task="0" * 16)),
        (422, submission(CRASHES, task=5)),
        (422, {}),
        (422, submission(CRASHES, step=1)),
        (422, submission(CRASHES, files={"a": 5})),
        (422, submission(CRASHES, files={"data/train.npz": ""})),
        (413, submission(CRASHES, files={"train.py": "x" * (5 << 20)})),
    ):
        assert graded(**content).status_code == status, content


def test_grading_has_limits(pool: Pool) -> None:
    with pytest.raises(UsageError, match="at least 16 characters"):
        Desk(host_of(pool), "short")
    desk = Desk(host_of(pool), TOKEN, at_once=1, per_minute=2)
    unusable = submission(SILENT, files={"data/train.npz": ""})
    first = desk.begin(unusable)
    with pytest.raises(Exception, match="too many submissions"):
        desk.begin(unusable)
    assert first.exception(60) is not None
    desk.ended()
    assert desk.begin(unusable).exception(60) is not None
    desk.ended()
    with pytest.raises(Exception, match="too many submissions"):
        desk.begin(unusable)
    desk.close()


def test_openenv_accepts_the_folder() -> None:
    report = run_validation(ENV_FOLDER, max_level=Level.STATIC, skip_build=True)
    assert report.verdict.value == "pass", report
    manifest = OpenEnvYamlParser().parse(ENV_FOLDER)
    low, high = manifest.reward.range
    assert low == 0.0 <= episode_score([]).score
    assert episode_score([Attempt(1, SOLVED, 1.0)], EFFICIENCY_CAP).score == pytest.approx(high)
    assert episode_score([Attempt(1, SOLVED, 1.0)], EFFICIENCY_CAP).score <= high


def test_openenvs_graders_accept_an_episode(url: str, tmp_path: Path) -> None:
    actions = [
        {"type": "inspect", "tool": "view_source"},
        {"type": "inspect", "tool": "run_code"},
        {"type": "no_such_type"},
        {"type": "fix", "bugs": ["shape"], "script": "raise SystemExit(1)"},
        {"type": "fix", "bugs": ["shape"], "files": {"../x.py": ""}},
    ]
    reset = RuntimeReset(episode_id="checked", seed=5, options={"bugs": "shape"})
    plan = RuntimePlan(plan_schema_version="1", reset=reset, actions=actions)
    evidence = collect_runtime_evidence(url, plan, episode_timeout_s=300)
    assert evidence.failure_reason is None
    assert [one.operation for one in evidence.exchanges].count("step") == len(actions)
    assert json.loads(evidence.exchanges[-2].response_json)["data"]["done"] is True
    manifest = OpenEnvYamlParser().parse(ENV_FOLDER)
    subject = Subject(ENV_FOLDER, manifest, None, None, tmp_path, evidence)
    for grader in (RewardWellFormedGrader(), ObservationSchemaGrader(), StateContractGrader()):
        result = grader.run(subject)
        assert result.status.value == "pass", result


def test_what_serve_refuses(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY_TOKEN", " ")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    with listening("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        for arguments, problem in (
            (["--port", port], f"cannot listen on 127.0.0.1 port {port}: Address already in use"),
            (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
            (["--tasks", "nowhere"], "--tasks nowhere: there is no such file or folder"),
            (["--grade-token-env", "NO_SUCH_VARIABLE"], "no such variable"),
            (["--grade-token-env", "EMPTY_TOKEN"], "no such variable"),
            (["--grade-token-env", "SHORT_TOKEN"], "at least 16 characters"),
            (["--port", "70000"], "70000"),
            (["--require", "moonlight", "--port", "0"], "moonlight"),
        ):
            assert run(["serve", *arguments], cli, "mldebug") == 2, arguments
            assert problem in capsys.readouterr().err
    assert "SHORT_TOKEN" not in os.environ
    monkeypatch.setitem(sys.modules, "openenv", None)
    assert run(["serve"], cli, "mldebug") == 2
    assert "pip install 'mldebug[openenv]'" in capsys.readouterr().err


def test_the_command_line_starts_without_a_web_framework() -> None:
    heavy = ["torch", "openenv", "fastapi", "pydantic", "uvicorn", "websockets", "libcst", "numpy"]
    program = (
        "import sys; from mldebug.cli import cli, run; import mldebug.env.adapters.openenv as one;"
        "run(['serve', '--help'], cli, 'mldebug');"
        f"sys.exit([name for name in {heavy[:6]} if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_serve_ends_with_control_c_and_leaves_no_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "mldebug.cli", "serve", "--port", "0", "--tasks", str(TASKS)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
        )
    try:
        wait_for(lambda: "startup complete" in log.read_text(), 120)
        url = log.read_text().split("serving on ")[1].split()[0]
        with raw(url) as connection:
            ask(connection, "reset", {"bugs": "shape", "script": "tabular_classifier"})
            seen = ask(connection, "step", {"type": "inspect", "tool": "run_code"})["data"]["observation"]
            assert "exit code 1" in seen["text"]
            waiting = below(server.pid)
            assert waiting
            endless = "import time\ntime.sleep(3600)\n"
            step = {"type": "fix", "bugs": ["shape"], "script": endless}
            connection.send(json.dumps({"type": "step", "data": step}))
            wait_for(lambda: bool(below(server.pid) - waiting))
            children = below(server.pid)
            server.send_signal(signal.SIGINT)
            with suppress(ConnectionClosed):
                assert heard(connection)["type"] == "error"
        assert server.wait(60) == 130, log.read_text()
        wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
        assert server.stdout is not None
        assert server.stdout.read() == b""
        assert "Traceback" not in log.read_text()
    finally:
        server.kill()
        server.wait()
