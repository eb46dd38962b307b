"""Work on a Ray cluster: the same bytes as here, whatever dies meanwhile, and nothing is left behind."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mldebug import cli
from mldebug.errors import NoValidVariantError, RunnerError
from mldebug.executors import ray_worker
from mldebug.executors.ray_worker import Ticket, portable
from mldebug.grader.runner.processes import every_process

from .written import rows

pytest.importorskip("ray", reason="needs the extra ray")

PATIENCE = 120.0
SHAPES = ["gen", "--bugs", "shape", "--seed", "3", "--script", "tabular_classifier"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`mldebug …` in a process of its own, in a folder that all it starts can be told by."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "mldebug.cli", *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def done(folder: Path, *arguments: str) -> tuple[int, str]:
    """Its exit status and what it said to people."""
    running = start(folder, *arguments)
    _out, err = running.communicate(timeout=PATIENCE)
    return running.returncode, err.decode()


def within(seconds: float, condition: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def tree(folder: Path) -> dict[str, bytes]:
    """All files but locks, and without the seconds that a proof took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (".lock", "times.jsonl"):
            content = path.read_bytes()
            if path.name == "validation.json":
                content = json.dumps({**json.loads(content), "seconds": None}).encode()
            found[str(path.relative_to(folder))] = content
    return found


def ours(mark: str) -> list[str]:
    """The processes that have a folder's name in their environment or command line."""
    found = []
    for pid in every_process():
        try:
            place = Path(f"/proc/{pid}")
            text = place.joinpath("environ").read_bytes() + place.joinpath("cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in text and pid != os.getpid():
            found.append(f"{pid} {place.joinpath('comm').read_text().strip()}")
    return found


def busy(raylet: int) -> bool:
    """Whether a worker of a node is doing an item."""
    for pid in every_process():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if f"\nPPid:\t{raylet}\n" in status and b"ray::serve" in title:
            return True
    return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    # pytest's own folders have paths that are too long for Ray's sockets
    with (
        tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        scratch = Path(folder)
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("TMPDIR", str(scratch))
        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}
        made = Cluster(initialize_head=True, head_node_args=node)
        try:
            for _ in range(2):
                made.add_node(**node)
            made.wait_for_nodes()
            yield made
        finally:
            made.shutdown()
        assert within(30, lambda: not ours(folder)), ours(folder)
        assert not list(scratch.glob("mldebug-*"))


def test_a_node_that_dies_in_the_middle_does_not_show(cluster: Any, tmp_path: Path) -> None:
    asked = [*SHAPES, "--count", "6"]
    running = start(
        tmp_path, *asked, "--out", "ray", "--jobs", "3", "--executor", "ray", "--ray-address", cluster.address
    )
    doomed = max(cluster.worker_nodes, key=lambda node: node.node_id)
    (raylet,) = (one.process.pid for one in doomed.all_processes["raylet"])
    tasks = tmp_path / "ray" / "tasks.jsonl"
    assert within(PATIENCE, lambda: running.poll() is not None or (lines(tasks) >= 1 and busy(raylet)))
    assert running.poll() is None and lines(tasks) < 5
    cluster.remove_node(doomed, allow_graceful=False)
    _out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, err
    assert err.decode() == "6 of 6 candidates valid (100%)\n"
    assert done(tmp_path, *asked, "--out", "here", "--jobs", "2")[0] == 0
    assert tree(tmp_path / "ray") == tree(tmp_path / "here")
    assert len(list((tmp_path / "ray").glob("*/validation.json"))) == 6


def test_a_run_of_agents_is_the_same_on_the_nodes_that_are_left(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(rows()[name]) + "\n" for name in ("shape-tabular-1", "eval-tabular-2"))
    )
    asked = ["bench", "run", "rows.jsonl", "--agent", "null,oracle", "--jobs", "2"]
    there = ["--executor", "ray", "--ray-address", cluster.address]
    code, err = done(tmp_path, *asked, "--out", "ray", *there, "--shuffle", "5")
    assert (code, err) == (0, "results: ray/results.jsonl\n")
    assert done(tmp_path, *asked, "--out", "here")[0] == 0
    whole = tree(tmp_path / "here")
    assert tree(tmp_path / "ray") == whole and len(whole) == 6
    assert lines(tmp_path / "ray" / "times.jsonl") == 4
    assert within(30, lambda: not ours(str(tmp_path))), ours(str(tmp_path))


def test_what_is_interrupted_leaves_nothing_and_is_gone_on_with(tmp_path: Path) -> None:
    asked = [*SHAPES, "--jsonl-file", "rows.jsonl"]
    before = set(Path("/tmp").glob("mldebug-ray-*"))
    running = start(tmp_path, *asked, "--count", "50", "--jobs", "2", "--executor", "ray")
    written = tmp_path / "rows.jsonl"
    assert within(PATIENCE, lambda: running.poll() is not None or lines(written) >= 1)
    running.send_signal(signal.SIGINT)
    _out, err = running.communicate(timeout=60)
    assert running.returncode == cli.INTERRUPTED, err
    assert b"interrupted; what is finished is whole" in err and b"Traceback" not in err
    assert within(30, lambda: not ours(str(tmp_path))), ours(str(tmp_path))
    assert within(10, lambda: not list((tmp_path / "scratch").iterdir()))
    assert not set(Path("/tmp").glob("mldebug-ray-*")) - before
    first, count = written.read_bytes(), lines(written) + 1
    assert done(tmp_path, *asked, "--count", str(count), "--resume")[0] == 0
    assert written.read_bytes().startswith(first) and lines(written) == count


def test_without_ray_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.run([*SHAPES, "--executor", "ray"], cli.cli, "mldebug") == 2
    assert "--executor ray needs Ray; pip install 'mldebug[ray]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--ray-address", "auto"], 2, "--ray-address belongs to --executor ray"),
        (["--jobs", "65"], 2, "at most 64 are done at a time without --executor ray"),
        (["--executor", "ray", "--ray-address", "ray://x:1"], 2, "give HOST:PORT of the cluster's head"),
        (["--executor", "ray", "--ray-address", "127.0.0.1:1"], 1, "cannot be reached at 127.0.0.1:1"),
    ],
)
def test_what_does_not_go_together_or_is_not_there(
    options: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run([*SHAPES, *options], cli.cli, "mldebug") == code
    assert message in capsys.readouterr().err


def test_a_worker_of_another_version_refuses() -> None:
    ticket = Ticket.of("x", None)
    other = Ticket("x", None, {**ticket.versions, "torch": "1.0"}, {})
    with pytest.raises(RunnerError, match=r"torch .* instead of 1\.0"):
        ray_worker._Bench(other, None)


def test_errors_cross_over() -> None:
    plain = RunnerError("it failed")
    assert portable(plain) is plain
    told = portable(NoValidVariantError("none is valid", {"masked": 16}))
    assert "none is valid" in str(pickle.loads(pickle.dumps(told)))
