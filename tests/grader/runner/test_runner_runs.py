"""A run behaves as `python train.py` would, and each run like the first."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mldebug.errors import UsageError
from mldebug.grader.runner import Limits, RunRequest

TRAIN = """
    import json
    import numpy as np
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randn(64, 4)
    y = x.sum(1, keepdim=True)
    for epoch in range(5):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        print(f"epoch {epoch}: {loss.item():.6f}")
    model.eval()
    with torch.no_grad():
        output = model(x).numpy()
    json.dump({"final": loss.item()}, open("metrics.json", "w"))
    np.savez("predictions.npz", output=output)
"""


@pytest.fixture(scope="module")
def plain_error(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[int, str]]:
    """Exit code and stderr of one of RAISING in plain Python, which is asked once for each, two at a time."""
    asked = {}

    def ask(name: str) -> tuple[int, str]:
        if not asked:
            with ThreadPoolExecutor(2) as executor:
                for one in RAISING:
                    folder = tmp_path_factory.mktemp("plain")
                    asked[one] = executor.submit(plainly, RAISING[one], folder)
        done = asked[name].result()
        return done.returncode, done.stderr

    return ask


def plainly(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(textwrap.dedent(script))
    return subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def without_paths(text: str) -> str:
    return re.sub(r'File "[^"]*/(?=[^/"]+")', 'File "', text)


def test_importing_the_runner_does_not_import_torch():
    code = "import sys, mldebug.grader.runner; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_training_job_leaves_artifacts_and_a_trace(go):
    result = go(TRAIN, trace=True, collect=("metrics.json", "predictions.npz", "nothing.txt"))
    assert (result.outcome, result.exit_code, result.signal) == ("ok", 0, None)
    assert set(result.artifacts) == {"metrics.json", "predictions.npz"}
    assert result.problems == {"nothing.txt": "missing"}
    assert result.stdout.count("epoch") == 5
    assert result.stderr == ""
    assert result.trace["finished"] is True
    assert result.trace["exception"] is None
    assert result.trace["optimizer_steps"] == 5
    assert len(result.trace["losses"]) == 5
    assert result.peak_mib > 50
    assert result.cpu_seconds > 0
    assert "bounded_time" in result.guarantees
    assert "no_survivor" in result.guarantees


def test_without_trace_there_is_no_record(go):
    assert go(TRAIN).trace is None


def test_an_unclosed_file_is_flushed_as_at_the_end_of_python(go):
    result = go("f = open('a.txt', 'w'); f.write('kept')", collect=("a.txt",))
    assert result.artifacts == {"a.txt": b"kept"}


RAISING = {
    "plain": """
        def inner(x):
            return 1 / x

        def outer():
            inner(0)

        outer()
    """,
    "chained": """
        try:
            {}["a"]
        except KeyError as error:
            raise ValueError("no such key") from error
    """,
    "module": """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(3, 3)

            def forward(self, x):
                return self.layer(x)

        Net()(torch.zeros(2, 4))
    """,
    "backward": """
        import torch

        torch.zeros(3).sum().backward()
    """,
    "loss": """
        import torch
        from torch import nn

        nn.CrossEntropyLoss()(torch.zeros(4, 3), torch.zeros(5, dtype=torch.long))
    """,
    "dropout": """
        import torch
        import torch.nn.functional as F

        F.dropout(torch.zeros(3), p=2.0)
    """,
    "step": """
        import torch

        p = torch.nn.Parameter(torch.zeros(3))
        p.grad = torch.zeros(3)
        optimizer = torch.optim.SGD([p], lr=0.1)
        optimizer.step(closure=lambda: 1 / 0)
    """,
    "syntax": """
        x = (1,
        y = 2
    """,
    "group": """
        raise ExceptionGroup("two", [ValueError("a"), TypeError("b")])
    """,
    "recursion in message": """
        raise SystemError("çà et là")
    """,
}


@pytest.mark.parametrize("name", RAISING)
@pytest.mark.parametrize("trace", [False, True], ids=["untraced", "traced"])
def test_a_traceback_reads_as_in_plain_python(go, plain_error, name, trace):
    code, stderr = plain_error(name)
    result = go(RAISING[name], trace=trace)
    assert (result.outcome, result.exit_code) == ("error", code) == ("error", 1)
    assert without_paths(result.stderr) == without_paths(stderr)
    assert "Error" in result.stderr


def test_the_record_names_the_exception_with_paths_inside_the_workspace(go):
    script = """
        import torch
        from helper import fail

        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        fail()
    """
    result = go(script, files={"helper.py": b"def fail():\n    raise KeyError('what')\n"}, trace=True)
    exception = result.trace["exception"]
    assert (exception["type"], exception["message"]) == ("KeyError", "'what'")
    assert exception["steps_before"] == 1
    assert exception["frames"] == [
        {"file": "train.py", "line": 9, "function": "<module>"},
        {"file": "helper.py", "line": 2, "function": "fail"},
    ]
    assert result.trace["finished"] is False


def test_the_exception_that_ends_a_run_is_not_called_swallowed(go):
    bad = "import torch\nlayer = torch.nn.Linear(3, 3)\n"
    ended = go(bad + "layer(torch.zeros(2, 4))\n", trace=True)
    swallowed = go(bad + "try:\n    layer(torch.zeros(2, 4))\nexcept RuntimeError:\n    pass\n", trace=True)
    assert (ended.trace["swallowed"], swallowed.trace["swallowed"]) == (0, 1)


@pytest.mark.parametrize(
    "ending, code, outcome",
    [
        ("sys.exit()", 0, "ok"),
        ("sys.exit(0)", 0, "ok"),
        ("sys.exit(3)", 3, "error"),
        ("sys.exit(-1)", 255, "error"),
        ("sys.exit('a reason')", 1, "error"),
        ("os._exit(7)", 7, "error"),
        ("os._exit(0)", 0, "ok"),
    ],
)
def test_exit_codes(go, tmp_path, ending, code, outcome):
    script = f"import os, sys\n{ending}\n"
    plain = plainly(script, tmp_path)
    result = go(script)
    assert (result.exit_code, result.outcome) == (plain.returncode, outcome) == (code, outcome)
    assert result.stderr == plain.stderr


def test_an_early_exit_leaves_no_record(go):
    result = go("import os; os._exit(0)", trace=True)
    assert (result.outcome, result.trace) == ("ok", None)


def test_sys_exit_zero_counts_as_finished_and_another_code_does_not(go):
    assert go("import sys; sys.exit(0)", trace=True).trace["finished"] is True
    assert go("import sys; sys.exit(2)", trace=True).trace["finished"] is False


def test_signals_of_its_own_making(go):
    segfault = go("import ctypes; ctypes.string_at(0)")
    assert (segfault.outcome, segfault.signal, segfault.exit_code) == ("signal", signal.SIGSEGV, None)
    interrupted = go("raise KeyboardInterrupt")
    assert (interrupted.outcome, interrupted.signal) == ("signal", signal.SIGINT)
    assert "KeyboardInterrupt" in interrupted.stderr
    assert go("import os; os.kill(os.getpid(), 15)").signal == signal.SIGTERM


def test_what_a_script_sees_of_python(go, tmp_path):
    script = """
        import os, sys, __main__
        print(__name__, sys.argv, sys.path[0] == os.getcwd(), os.path.basename(__file__))
        print(__main__.__dict__ is globals(), __spec__, __package__, type(__loader__).__name__)
        print(sys.stdin.read() == "", sys.stdout.encoding, sys.flags.dev_mode, sorted(globals()))
        print(os.isatty(1), os.umask(0o22) & 0o77 == 0o22)
    """
    plain = subprocess.run(
        [sys.executable, "train.py", "--lr", "0.1"],
        cwd=plainly(script, tmp_path) and tmp_path,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LANG": "C.UTF-8"},
    )
    assert go(script, arguments=("--lr", "0.1")).stdout == plain.stdout


def test_modules_packages_and_data_beside_the_entry_point(go):
    result = go(
        """
        import model, parts.deep.block as block, statistics
        print(model.NAME, block.NAME, open("data/ünï côde.txt", encoding="utf-8").read(), statistics.NAME)
        """,
        files={
            "model.py": b"from parts import OTHER\nNAME = 'model' + OTHER\n",
            "parts/__init__.py": b"OTHER = '+'\n",
            "parts/deep/block.py": b"from .. import OTHER\nNAME = 'block' + OTHER\n",
            "statistics.py": b"NAME = 'shadows the standard library'\n",
            "data/ünï côde.txt": "čtyři".encode(),
        },
    )
    assert result.stdout == "model+ block+ čtyři shadows the standard library\n"


def test_exit_callbacks_threads_and_processes_are_waited_for(go):
    result = go(
        """
        import atexit, logging, multiprocessing, tempfile, threading, time
        atexit.register(lambda: open("bye.txt", "w").write("bye"))
        def late(name):
            time.sleep(0.1)
            open(name, "w").write("late")
        threading.Thread(target=late, args=("thread.txt",)).start()
        multiprocessing.get_context("fork").Process(target=late, args=("process.txt",)).start()
        kept = tempfile.TemporaryDirectory(dir=".")
        open("name.txt", "w").write(kept.name)
        """,
        collect=("bye.txt", "thread.txt", "process.txt", "name.txt"),
    )
    assert result.stderr.count("Error") == 0
    assert {name: len(content) > 0 for name, content in result.artifacts.items()} == {
        "bye.txt": True, "thread.txt": True, "process.txt": True, "name.txt": True,
    }  # fmt: skip


def test_data_loader_workers(go):
    result = go(
        """
        import torch
        from torch.utils.data import DataLoader, TensorDataset
        loader = DataLoader(TensorDataset(torch.arange(32)), batch_size=8, num_workers=2)
        print(sum(batch.sum().item() for (batch,) in loader))
        """,
        trace=True,
    )
    assert (result.outcome, result.stdout) == ("ok", "496\n")
    assert result.trace["finished"] is True


def test_a_fork_of_the_script_does_not_write_the_record_twice(go):
    result = go("import os, sys\nif os.fork() == 0:\n    sys.exit(5)\nos.wait()\n", trace=True)
    assert result.trace["finished"] is True


def test_the_same_request_gives_the_same_bytes_whatever_ran_before(go):
    def once():
        result = go(TRAIN, trace=True, collect=("metrics.json", "predictions.npz"))
        return result.artifacts["metrics.json"], result.stdout, result.trace

    first = once()
    go("""
        import random, torch, numpy as np, sys, os
        torch.manual_seed(5); np.random.seed(5); random.seed(5)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.set_grad_enabled(False)
        torch.nn.Linear.forward = None
        torch.Tensor.backward = None
        os.environ["OMP_NUM_THREADS"] = "2"
        sys.path.clear()
        print(torch.rand(3) @ torch.rand(3))
    """)
    assert once() == first


def test_the_simulated_accelerator_is_there_when_asked_for_and_only_then(go):
    script = """
        import torch
        print(torch.cuda.is_available())
        model = torch.nn.Linear(2, 1).to("cuda" if torch.cuda.is_available() else "cpu")
        model(torch.ones(3, 2))
    """
    without, simulated = go(script), go(script, device="cuda", trace=True)
    assert (without.outcome, without.stdout) == ("ok", "False\n")
    assert (simulated.outcome, simulated.stdout) == ("error", "True\n")
    assert "RuntimeError: Expected all tensors to be on the same device" in simulated.stderr
    assert "mldebug" not in simulated.stderr
    assert simulated.trace["exception"]["type"] == "RuntimeError"


def test_unseeded_generators_repeat(go):
    script = "import random, torch, numpy as np\nprint(random.random(), torch.rand(1), np.random.rand())"
    assert go(script).stdout == go(script).stdout


def test_the_state_of_one_run_does_not_reach_the_next(go):
    go("import builtins, torch; builtins.leak = 1; torch.leak = 1; torch.set_default_dtype(torch.float64)")
    assert (
        go("""
        import builtins, torch
        print(hasattr(builtins, "leak"), hasattr(torch, "leak"), torch.get_default_dtype())
        """).stdout
        == "False False torch.float32\n"
    )


def test_home_and_temporary_files_lie_in_the_runs_own_folder(go):
    script = """
        import os, tempfile, pathlib
        print(pathlib.Path.home(), os.listdir(pathlib.Path.home()), tempfile.gettempdir())
        pathlib.Path.home().joinpath("seen").touch()
        tempfile.mkstemp()
    """
    assert go(script).stdout == "/home [] /tmp\n" == go(script).stdout


def test_secrets_of_the_callers_environment_do_not_reach_a_run(go, monkeypatch):
    monkeypatch.setenv("MLDEBUG_SOME_TOKEN", "x")
    assert "MLDEBUG_SOME_TOKEN" not in go("import os; print(dict(os.environ))").stdout


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../x", "a//x", "./x", "", "a/", "a\0b", "x" * 256])
def test_unusable_paths_are_refused(pool, path):
    good = RunRequest({"train.py": b""}, "train.py", limits=Limits(wall_seconds=5))
    with pytest.raises(UsageError):
        pool.run(RunRequest({"train.py": b"", path: b""}, "train.py"))
    with pytest.raises(UsageError):
        pool.run(RunRequest({"train.py": b""}, "train.py", collect=(path,)))
    assert pool.run(good).outcome == "ok"


def test_a_file_that_is_also_a_folder_and_a_missing_entry_point_are_refused(pool):
    with pytest.raises(UsageError):
        pool.run(RunRequest({"train.py": b"", "a": b"", "a/b": b""}, "train.py"))
    with pytest.raises(UsageError, match="entry point"):
        pool.run(RunRequest({"other.py": b""}, "train.py"))
