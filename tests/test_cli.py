"""The command as a user meets it: what it prints, what it writes, how it fails, how it is interrupted."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mldebug.clean_scripts.library import job_names
from mldebug.mutators.base import bug_classes

NO_VERIFY = ["--bugs", "shape,device", "--seed", "7", "--no-verify"]


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`mldebug …` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mldebug.cli", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def the_task(out: Path) -> Path:
    (task,) = [path.parent for path in out.glob("*/task.json")]
    return task


@pytest.mark.parametrize(
    "code", ["import mldebug", "from mldebug.cli import run, cli; run(['--help'], cli, 'x')"]
)
def test_import_and_help_load_neither_torch_nor_libcst(code: str) -> None:
    heavy = ("torch", "libcst", "numpy", "tabulate")
    probe = f"{code}\nimport sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("proven")
    return folder, command("gen", "--bugs", "shape,device", "--seed", "7", cwd=folder)


def test_the_main_job(proven: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = proven
    assert done.returncode == 0, done.stderr
    assert "Training job failed with exit code 1" in done.stdout
    assert "valid" in done.stderr and "Traceback" not in done.stderr
    task = the_task(folder / "mldebug-out")
    record = json.loads((task / "task.json").read_text())
    assert record["id"] == task.name and record["entrypoint"] == "train.py" and record["budget"] == 5
    tools = json.loads(command("list", "tools", "--json", cwd=folder).stdout)["tools"]
    assert record["tools"] == [one["tool"] for one in tools]
    assert {path.name for path in task.iterdir()} == {"task.json", "workspace", "solution", "validation.json"}
    truth = json.loads((task / "solution" / "truth.json").read_text())
    assert truth["bugs"] == ["shape_mismatch", "wrong_device"]
    validation = json.loads((task / "validation.json").read_text())
    assert validation["verified"] and set(validation["findings"]) == set(truth["bugs"])
    assert all(one["present"] for one in validation["findings"].values())


def test_the_patch_turns_the_broken_sources_into_the_reference(
    proven: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    task = the_task(proven[0] / "mldebug-out")
    sources = {name: text for name, text in tree(task / "workspace").items() if not name.startswith("data/")}
    for name, text in sources.items():
        (tmp_path / name).write_bytes(text)
    subprocess.run(["patch", "-p1", "-i", task / "solution" / "fix.patch"], cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in sources} == tree(task / "solution" / "reference")


def test_the_reference_runs_to_the_end_with_plain_python_and_the_mutant_crashes_at_shapes_first_or_later(
    proven: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    task = the_task(proven[0] / "mldebug-out")
    for name, content in (tree(task / "workspace") | tree(task / "solution" / "reference")).items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "predictions.npz").exists() and (tmp_path / "metrics.json").exists()


def test_the_same_bytes_elsewhere(
    proven: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Another directory, hash seed and instruction set; only what a run measured may differ."""
    settings = {
        "PYTHONHASHSEED": "4242",
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4",
    }
    done = command("gen", "--bugs", "device,shape", "--seed", "7", "--out", "o", cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    first, second = tree(proven[0] / "mldebug-out"), tree(tmp_path / "o")
    assert set(first) == set(second)
    assert {name for name in first if first[name] != second[name]} <= {
        name for name in first if name.endswith("validation.json")
    }


def test_a_rerun_says_that_nothing_changed(proven: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    before = tree(proven[0])
    done = command("gen", "--bugs", "shape,device", "--seed", "7", cwd=proven[0])
    assert done.returncode == 0 and "unchanged" in done.stderr
    assert tree(proven[0]) == before


def test_explain(proven: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    task = the_task(proven[0] / "mldebug-out")
    done = command("explain", str(task), cwd=proven[0])
    assert done.returncode == 0, done.stderr
    for words in (
        "shape_mismatch",
        "wrong_device",
        "fix (broken → reference)",
        "+++ b/train.py",
        "proved by",
    ):
        assert words in done.stdout
    record = json.loads(command("explain", str(task), "--json", cwd=proven[0]).stdout)
    assert record["truth"]["id"] == record["task"]["id"] == task.name
    for wrong in (proven[0], task / "task.json"):
        done = command("explain", str(wrong), cwd=proven[0])
        assert done.returncode == 2 and "cannot be read" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("truth", ["{}", "[]", "nonsense", '{"injections": [{"bug": 7}], "script": []}'])
def test_explain_of_a_spoiled_folder_is_a_message(truth: str, tmp_path: Path) -> None:
    (tmp_path / "t" / "solution").mkdir(parents=True)
    (tmp_path / "t" / "task.json").write_text('{"id": "x", "alert": null}')
    (tmp_path / "t" / "solution" / "truth.json").write_text(truth)
    (tmp_path / "t" / "solution" / "fix.patch").write_text("")
    done = command("explain", "t", cwd=tmp_path)
    assert done.returncode == 2 and "error:" in done.stderr and "Traceback" not in done.stderr


def test_list_shows_what_the_registry_holds(tmp_path: Path) -> None:
    shown = command("list", cwd=tmp_path).stdout
    for name in (*bug_classes(), *job_names(), "compound_shape_device", "compound_leakage_eval"):
        assert name in shown
    found: dict[str, Any] = json.loads(command("list", "bugs", "--json", cwd=tmp_path).stdout)
    assert len(found["bugs"]) == 8 and all(len(one["explanation"]) > 30 for one in found["bugs"])
    found = json.loads(command("list", "scripts", "--json", cwd=tmp_path).stdout)
    assert {one["script"]: len(one["hosts"]) for one in found["scripts"]} == dict.fromkeys(job_names(), 6)


def test_jsonl_rows_hold_everything_and_write_no_folder(tmp_path: Path) -> None:
    done = command("gen", *NO_VERIFY, "--count", "3", "--jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2] and len({row["id"] for row in rows}) == 3
    for row in rows:
        assert row["verified"] is False and row["alert"] is None
        assert set(row["files"]) == set(row["reference"]) and row["files"] != row["reference"]
        assert set(row["data"]) == {"generator", "version", "seed", "sha256"}
    assert list(tmp_path.iterdir()) == []
    done = command("gen", *NO_VERIFY, "--jsonl", "--out", "both", cwd=tmp_path)
    assert the_task(tmp_path / "both").name == json.loads(done.stdout)["id"] == rows[0]["id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bugs", "shap", "--seed", "1"], "unknown bug class 'shap'"),
        (["--bugs", "shape", "--seed", "1", "--script", "bert"], "unknown script 'bert'; choose one of"),
        (["--bugs", "shape", "--seed", "x"], "not a valid integer"),
        (["--bugs", "shape", "--seed", "1.5"], "not a valid integer"),
        (["--bugs", "shape", "--seed", "-4"], "integer from 0 on"),
        (["--bugs", "shape", "--seed", "1", "--count", "0"], "count"),
        (["--bugs", "shape"], "--seed"),
        (["--seed", "1"], "--bugs"),
        (["--bugs", "shape", "--seed", "1", "--out", "full"], "holds other things"),
        (["--bugs", "shape", "--seed", "1", "--out", "full/note.txt"], "cannot write there"),
        (["--bugs", "shape", "--seed", "1", "--out", "/proc/nowhere"], "cannot write there"),
    ],
)
def test_wrong_usage_says_what_to_do_and_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    done = command("gen", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert tree(tmp_path) == {"full/note.txt": b"mine"}


def test_another_requests_folder_is_refused_and_a_changed_task_is_named(tmp_path: Path) -> None:
    assert command("gen", *NO_VERIFY, "--out", "o", cwd=tmp_path).returncode == 0
    before = tree(tmp_path)
    done = command("gen", "--bugs", "shape", "--seed", "8", "--no-verify", "--out", "o", cwd=tmp_path)
    assert done.returncode == 2 and "another request" in done.stderr
    assert tree(tmp_path) == before
    changed = the_task(tmp_path / "o") / "workspace" / "train.py"
    changed.write_text("print('mine now')\n")
    done = command("gen", *NO_VERIFY, "--out", "o", cwd=tmp_path)
    assert done.returncode == 2 and "workspace/train.py differs" in done.stderr
    assert changed.read_text() == "print('mine now')\n"


def test_a_proved_task_is_not_executed_again(
    proven: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mldebug import cli, factory

    shutil.copytree(proven[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(factory, "validate", lambda candidate, run: pytest.fail("executed again"))
    arguments = ["gen", "--bugs", "shape,device", "--seed", "7"]
    assert cli.run(arguments, cli.cli, "mldebug") == 0
    (the_task(tmp_path / "mldebug-out") / "workspace" / "train.py").write_text("")
    assert cli.run(arguments, cli.cli, "mldebug") == 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("solution/truth.json", {"attempt": 5}),
        ("solution/truth.json", {"attempt": -1}),
        ("solution/truth.json", {"id": "0123456789abcdef"}),
        ("validation.json", {"verified": False}),
    ],
)
def test_a_record_that_does_not_fit_is_no_proof(
    name: str,
    change: dict[str, Any],
    proven: tuple[Path, subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from mldebug import cli, factory

    shutil.copytree(proven[0], tmp_path, dirs_exist_ok=True)
    record = the_task(tmp_path / "mldebug-out") / name
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    monkeypatch.chdir(tmp_path)
    executed = []
    monkeypatch.setattr(
        factory, "verified", lambda request, run, shared: executed.append(request) or pytest.exit
    )
    with pytest.raises(AttributeError):
        cli.run(["gen", "--bugs", "shape,device", "--seed", "7"], cli.cli, "mldebug")
    assert len(executed) == 1


def test_an_alert_that_no_run_bears_out_is_named(
    proven: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    shutil.copytree(proven[0], tmp_path, dirs_exist_ok=True)
    place = the_task(tmp_path / "mldebug-out") / "task.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"alert": "All is well."}))
    done = command("gen", "--bugs", "shape,device", "--seed", "7", cwd=tmp_path)
    assert done.returncode == 2 and "task.json differs" in done.stderr


def test_nobody_reads_or_nothing_can_be_written(tmp_path: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m mldebug.cli list bugs"
    bash = ["bash", "-c"]
    piped = subprocess.run([*bash, f"{line} | true; exit ${{PIPESTATUS[0]}}"], cwd=tmp_path, check=False)
    assert piped.returncode == 0
    full = subprocess.run([*bash, f"{line} > /dev/full"], capture_output=True, text=True, check=False)
    assert full.returncode == 1 and "Traceback" not in full.stderr and "error:" in full.stderr


def test_one_run_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    descriptor = os.open(tmp_path / "o", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        done = command("gen", *NO_VERIFY, "--out", "o", cwd=tmp_path)
    finally:
        os.close(descriptor)
    assert done.returncode == 2 and "another run is writing there" in done.stderr


def test_what_a_killed_run_left_half_written_goes_and_nothing_of_others(tmp_path: Path) -> None:
    assert command("gen", *NO_VERIFY, "--out", "o", cwd=tmp_path).returncode == 0
    whole = tree(tmp_path)
    (tmp_path / "o" / ".partial-abc" / "workspace").mkdir(parents=True)
    assert command("gen", *NO_VERIFY, "--out", "o", cwd=tmp_path).returncode == 0
    assert tree(tmp_path) == whole and not (tmp_path / "o" / ".partial-abc").exists()
    (tmp_path / "mine" / ".partial-abc").mkdir(parents=True)
    (tmp_path / "mine" / "note.txt").write_text("mine")
    assert command("gen", *NO_VERIFY, "--out", "mine", cwd=tmp_path).returncode == 2
    assert (tmp_path / "mine" / ".partial-abc").exists()


def test_no_valid_variant_is_exit_1_with_reasons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mldebug import cli, factory

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        factory, "validate", lambda candidate, run: factory.Validation("equivalent: no effect")
    )
    assert cli.run(["gen", "--bugs", "shape", "--seed", "1"], cli.cli, "mldebug") == 1
    assert list(tmp_path.glob("mldebug-out/*/")) == []


def processes_with(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if word.encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_interrupted_in_the_middle_leaves_whole_tasks_only_and_goes_on_later(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "mldebug.cli", "gen", "--bugs", "shape", "--seed", "3", "--jobs", "2"]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    running = subprocess.Popen(
        [*arguments, "--count", "50", "--out", "o"],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("o/[!.]*/task.json"))) < 2 and time.monotonic() < deadline:
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "interrupted" in err and "Traceback" not in err
    tasks = [path for path in (tmp_path / "o").iterdir() if path.is_dir()]
    assert 2 <= len(tasks) < 50
    for task in tasks:
        assert {path.name for path in task.iterdir()} == {
            "task.json",
            "workspace",
            "solution",
            "validation.json",
        }
        assert json.loads((task / "validation.json").read_text())["verified"]
    assert not list((tmp_path / "o").glob(".partial-*"))
    time.sleep(1)
    assert list(temporary.iterdir()) == [] and processes_with(str(temporary)) == []
    done = command("gen", "--bugs", "shape", "--seed", "3", "--count", "2", "--out", "o", cwd=tmp_path)
    assert done.returncode == 0 and "unchanged" in done.stderr, done.stderr
