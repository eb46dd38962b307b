"""Each format, read by the tool that it is for.

Harbor and debug-gym need Python 3.12 and an environment of their own: MLDEBUG_HARBOR_PYTHON and
MLDEBUG_DEBUG_GYM_PYTHON name interpreters that have them.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mldebug.benchmark.exporters.bundle import Bundle, read_bundle
from mldebug.benchmark.exporters.judge import main, read_claim, sources
from mldebug.benchmark.exporters.registry import exported
from mldebug.benchmark.exporters.wheel import package_files, wheel
from mldebug.benchmark.exporters.writing import write
from mldebug.errors import UsageError
from mldebug.grading import any_task_of
from mldebug.source.factory import OwnRequest, OwnScript
from mldebug.source.folder import read_own
from mldebug.source.task import own_row

from ...written import rows
from .conftest import PLAN, row_file

ROOT = Path(__file__).parents[3]
HARBOR = os.environ.get("MLDEBUG_HARBOR_PYTHON")
DEBUG_GYM = os.environ.get("MLDEBUG_DEBUG_GYM_PYTHON")
EASY = "shape-tabular-1"


def made(format: str, bundle: Bundle, folder: Path) -> Path:
    write(exported(format, bundle), folder)
    return folder


def here_first() -> dict[str, str]:
    """An environment in which `python` is this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path, "MLDEBUG_PYTHON": sys.executable}


# Hugging Face


def test_datasets_reads_it_offline(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip(
        "datasets", reason="datasets is not installed (pip install 'mldebug[trl]')"
    )

    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    folder = str(made("huggingface", bundle, tmp_path / "set"))

    def load(*name: str) -> Any:
        return datasets.load_dataset(folder, *name, cache_dir=str(tmp_path / "cache"))

    tasks = load()
    assert {split: one["id"] for split, one in tasks.items()} == {
        split: [entry.id for entry in bundle.of(split)] for split in ("train", "test")
    }
    shown = {"alert", "arguments", "budget", "canary", "data_sha256", "entrypoint", "files", "id", "release"}
    assert set(tasks["train"].column_names) == shown | {"split", "tools"}
    for entry in bundle.entries:
        (row,) = [one for one in tasks[entry.split] if one["id"] == entry.id]
        assert {one["path"]: one["content"] for one in row["files"]} == entry.files
        assert (row["alert"], row["canary"]) == (entry.alert, PLAN.canary)
    assert list(load("tasks-test")) == ["test"] and load("tasks-test")["test"]["id"] == tasks["test"]["id"]
    answers = load("solutions")
    for split, found in answers.items():
        assert found["id"] == tasks[split]["id"], "the same order"
        for row in found:
            task = any_task_of(json.loads(row["row"]))
            assert set(task.bugs) == set(row["bugs"])
            assert {one["path"]: one["content"] for one in row["reference"]} == task.reference.files
    assert set(load("validation")["test"].column_names) >= {"id", "level", "record"}


def test_what_was_never_measured_has_no_configuration(tmp_path: Path) -> None:
    datasets = pytest.importorskip(
        "datasets", reason="datasets is not installed (pip install 'mldebug[trl]')"
    )
    folder = made(
        "huggingface", read_bundle(row_file(tmp_path / "my rows.jsonl", [rows()[EASY]])), tmp_path / "set"
    )
    assert set(datasets.get_dataset_config_names(str(folder))) == {"tasks", "solutions", "tasks-generated"}
    one = datasets.load_dataset(str(folder), split="generated", cache_dir=str(tmp_path / "cache"))
    assert one["id"] == [rows()[EASY]["id"]] and "canary" not in one.column_names


# Inspect


def test_inspect_plays_it(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")
    from inspect_ai import eval as evaluate
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    folder = made("inspect", bundle, tmp_path / "tasks")
    shown: list[str] = []

    def silent(input: Any, tools: Any, choice: Any, config: Any) -> ModelOutput:
        shown.extend(one.model_dump_json() for one in [*input, *tools])
        output = ModelOutput.from_content("mockllm", "I would rather not.")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    (log,) = evaluate(
        f"{folder / 'mldebug_tasks.py'}@train",
        model=get_model("mockllm/model", custom_outputs=silent, memoize=False),
        task_args={"budget": 1},
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    assert log.status == "success", log.error
    assert log.eval.task == "v0.0-train"
    assert {one.id for one in log.samples or []} == {entry.id for entry in bundle.of("train")}
    told = "\n".join(shown)
    for entry in bundle.of("train"):
        assert entry.alert in told
        assert not any(
            line in told for line in set(entry.reference["train.py"].split("\n")) if len(line) > 30
        )


def test_inspect_has_no_episodes_of_own_scripts(own: Bundle) -> None:
    with pytest.raises(UsageError, match="somebody's own"):
        list(exported("inspect", own))


# Harbor


@pytest.fixture(scope="module")
def harbor(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("harbor", bundle, tmp_path_factory.mktemp("harbor") / "out")


def test_the_verifier_pays_the_solution(harbor: Path, tmp_path: Path) -> None:
    """The scripts that Harbor runs, with this machine's folders instead of a container's."""
    task = harbor / "tasks" / rows()[EASY]["id"]
    app = Path(shutil.copytree(task / "environment" / "workspace", tmp_path / "app"))
    (app / "checkpoint.pt").write_bytes(os.urandom(100))
    (app / "link.py").symlink_to("/etc/passwd")
    subprocess.run([task / "solution" / "solve.sh", app], check=True)
    subprocess.run([task / "tests" / "test.sh", app, tmp_path / "logs"], check=True, env=here_first())
    paid = json.loads((tmp_path / "logs" / "reward.json").read_text())
    assert paid == {"reward": 0.99, "rung": 0.99, "solved": 1}
    assert [one.name for one in (tmp_path / "logs").iterdir()] == ["reward.json"]


def test_the_graders_image_holds_this_package(harbor: Path, bundle: Bundle, tmp_path: Path) -> None:
    """The wheel is whole, and what it holds judges: a broken job is not solved, whatever it claims."""
    name, content = wheel()
    assert (harbor / "grader-image" / name).read_bytes() == content == wheel()[1]
    entry = next(one for one in bundle.entries if one.id == rows()[EASY]["id"])
    task = harbor / "tasks" / entry.id
    (built,) = {(one / "tests" / "Dockerfile").read_text().split()[1] for one in (harbor / "tasks").iterdir()}
    assert f"docker build -t {built} grader-image" in (harbor / "README.md").read_text()
    with zipfile.ZipFile(harbor / "grader-image" / name) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "site")
    app = Path(shutil.copytree(task / "environment" / "workspace", tmp_path / "app"))
    (app / "submission.json").write_text(json.dumps({"bugs": list(entry.bugs)}))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import mldebug.benchmark.exporters.judge as judge\n"
        "assert judge.__file__.startswith(sys.path[0]), judge.__file__\n"
        "sys.exit(judge.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, task / "tests" / "task", app]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr
    assert not any(bug in done.stdout for bug in entry.bugs)


def test_the_wheel_has_what_an_installation_has() -> None:
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg")
    packages = listed["options"]["packages"].split()
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    expected: set[str] = set()
    for package in packages:
        folder = ROOT.joinpath(*package.split(".")[1:])
        patterns = ["*.py", *data.get(package, [])]
        expected |= {p.relative_to(ROOT).as_posix() for one in patterns for p in folder.glob(one)}
    assert {path for path, _content in package_files()} == expected


def test_harbor_reads_it(harbor: Path) -> None:
    if HARBOR is None:
        pytest.skip("Harbor is not here: name a Python that has it in MLDEBUG_HARBOR_PYTHON")
    program = """
import json, sys, warnings
warnings.simplefilter("error")
from pathlib import Path
from harbor.models.task.task import Task
from harbor.models.task.verifier_mode import resolve_verifier_environment_definition
found = []
for path in sorted(Path(sys.argv[1]).iterdir()):
    task = Task(path)
    verifier = resolve_verifier_environment_definition(task.config, task.paths)
    found.append({
        "name": task.name, "valid": Task.is_valid_dir(path), "told": task.instruction,
        "verifier": [verifier.bundled_tests, verifier.directory.name, verifier.config.network_mode.value],
        "solve": task.paths.discovered_solve_path.name,
        "artifacts": [one.source for one in task.config.artifacts],
    })
print(json.dumps(found))
"""
    done = subprocess.run(
        [HARBOR, "-c", program, harbor / "tasks"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {one["name"] for one in found} == {f"mldebug/{one.name}" for one in (harbor / "tasks").iterdir()}
    for one in found:
        assert one["valid"] and one["solve"] == "solve.sh" and one["artifacts"] == ["/app"]
        assert one["verifier"] == [True, "tests", "no-network"]
        assert one["told"].startswith("Training job ") and "canary" not in one["told"]


def test_the_agents_image_has_nothing_of_the_solution(harbor: Path, bundle: Bundle) -> None:
    for entry in bundle.entries:
        inside = harbor / "tasks" / entry.id / "environment"
        found = {one.relative_to(inside).as_posix() for one in inside.rglob("*") if one.is_file()}
        sources_there = {f"workspace/{name}" for name in entry.files}
        assert found == {"Dockerfile", "workspace/data/train.npz", "workspace/data/score.npz"} | sources_there
        assert "mldebug" not in (inside / "Dockerfile").read_text()
        for name, text in entry.files.items():
            assert (inside / "workspace" / name).read_text("utf-8") == text


# debug-gym

PLAY = """
import importlib.abc, importlib.machinery, json, sys, types
from pathlib import Path

class Empty(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (Exception,), {})

class Stub(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (Exception,), {})

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    "Stands for what debug-gym imports for its other benchmarks: gigabytes, and of no use here."
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("swebench", "swesmith", "datasets", "docker", "kubernetes"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Stub(spec.name)
    def exec_module(self, module):
        module.__path__ = []

sys.meta_path.insert(0, Finder())
sys.path.insert(0, sys.argv[1])
from debug_gym.gym.tools.tool import ToolCall
from mldebug_gym import HERE, environment

def step(name, **arguments):
    return env.step(ToolCall(id="1", name=name, arguments=arguments))

env = environment(sys.argv[2])
begun = env.reset()
found = {"told": begun.instructions, "begun": [begun.resolved, begun.score, begun.max_score]}
found["files"] = str(step("listdir").step_observation)
found["read_only"] = str(step("edit", path="alert.txt", new_code="x").step_observation)
step("edit", path="cheat.py", new_code="raise SystemExit(0)")
found["cheat"] = step("eval").resolved
reference = HERE / "graders" / sys.argv[2] / "solution" / "reference"
for path in sorted(reference.rglob("*.py")):
    step("edit", path=path.relative_to(reference).as_posix(), new_code=path.read_text("utf-8"))
done = step("eval")
found["done"] = [done.resolved, done.terminated, done.score]
found["patch"] = env.patch
env.close()
print("FOUND" + json.dumps(found))
"""


def test_debug_gym_resolves_it_with_the_reference_only(bundle: Bundle, tmp_path: Path) -> None:
    if DEBUG_GYM is None:
        pytest.skip("debug-gym is not here: name a Python that has it in MLDEBUG_DEBUG_GYM_PYTHON")
    folder = made("debug-gym", bundle, tmp_path / "out")
    id = rows()[EASY]["id"]
    done = subprocess.run(
        [DEBUG_GYM, "-c", PLAY, folder, id],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300, env=here_first(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("FOUND")]
    found = json.loads(line[5:])
    assert found["begun"] == [False, 0, 1] and found["cheat"] is False
    assert found["done"] == [True, True, 1]
    assert found["told"].startswith(rows()[EASY]["alert"])
    assert "solution" not in found["files"] and "train.py" in found["files"]
    assert "read-only" in found["read_only"] or "not editable" in found["read_only"]
    assert "+++ b/train.py" in found["patch"]


@pytest.mark.parametrize(("said", "code", "ends"), [("fine", 0, "1 passed"), ("9 passed", 1, "1 failed")])
def test_a_job_cannot_say_that_it_passed(
    said: str, code: int, ends: str, bundle: Bundle, tmp_path: Path
) -> None:
    """What debug-gym reads is a text in which the feedback stands as well."""
    folder = made("debug-gym", bundle, tmp_path / "out")
    judge = tmp_path / "judge"
    judge.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    judge.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", folder / "check.py", bundle.entries[0].id],
        capture_output=True, text=True, check=False, env=os.environ | {"MLDEBUG_PYTHON": str(judge)},
    )  # fmt: skip
    assert done.returncode == code
    assert ends in done.stdout and done.stdout.count(" passed") == (code == 0)


# SWE-bench


def test_git_makes_the_repositories_and_applies_the_patches(bundle: Bundle, tmp_path: Path) -> None:
    folder = made("swebench", bundle, tmp_path / "out")
    found = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.open()]
    assert len(found) == len(bundle.entries)
    for row in found:
        (entry,) = [one for one in bundle.entries if row["instance_id"] == f"mldebug__{one.id}"]
        repo = tmp_path / entry.id
        command = [folder / "make_repo.sh", entry.id, repo]
        head = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        assert head == row["base_commit"] == row["environment_setup_commit"]
        assert {name: (repo / name).read_text("utf-8") for name in entry.files} == entry.files
        for patch in (row["test_patch"], row["patch"]):
            subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=repo, check=True)
        assert {name: (repo / name).read_text("utf-8") for name in entry.files} == entry.reference
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=repo, capture_output=True, text=True, check=True
        ).stdout.split("\n")
        assert "?? test_job.py" in changed
        assert row["FAIL_TO_PASS"] == ["test_job.py::test_the_job_is_repaired"]
        assert row["problem_statement"].startswith(entry.alert)


@pytest.mark.deep
def test_its_test_fails_before_the_patch_and_passes_after_it(bundle: Bundle, tmp_path: Path) -> None:
    folder = made("swebench", bundle, tmp_path / "out")
    for row in [json.loads(line) for line in (folder / "train.jsonl").open()]:
        id = row["repo"].split("/")[1]
        repo = tmp_path / id
        subprocess.run([folder / "make_repo.sh", id, repo], check=True)
        subprocess.run(["git", "apply", "-"], input=row["test_patch"].encode(), cwd=repo, check=True)
        (repo / "conftest.py").write_text("def pytest_pyfunc_call(pyfuncitem):\n    return True\n")
        (repo / "pytest.py").write_text("raise SystemExit(0)\n")

        def tested(command: str = row["test_cmd"], repo: Path = repo) -> int:
            return subprocess.run(
                command, shell=True, cwd=repo, env=here_first() | {"MLDEBUG_TASKS": str(folder / "graders")}
            ).returncode

        assert tested() == 1
        subprocess.run(["git", "apply", "-"], input=row["patch"].encode(), cwd=repo, check=True)
        assert tested() == 0


# somebody's own script


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A task that was made of a script with arguments, as if it had been proved: nothing is executed here."""
    folder = tmp_path_factory.mktemp("own")
    script = OwnScript(read_own(ROOT / "tests" / "source" / "scripts" / "notebook"))
    row = own_row(script.unverified(OwnRequest.of("shape", 2, arguments=("--name", "a b"))))
    row |= {"verified": True, "alert": "Training job failed."}
    return read_bundle(row_file(folder / "rows.jsonl", [row]))


@pytest.mark.parametrize("format", ["huggingface", "harbor", "debug-gym", "swebench"])
def test_tasks_of_own_scripts_are_exported_too(format: str, own: Bundle, tmp_path: Path) -> None:
    (entry,) = own.entries
    folder = made(format, own, tmp_path / "out")
    if format == "huggingface":
        (line,) = (folder / "tasks" / "generated.jsonl").read_text().splitlines()
        assert json.loads(line)["arguments"] == "--name 'a b'"
        return
    place = {"harbor": f"tasks/{entry.id}/tests/task", "debug-gym": f"graders/{entry.id}"}
    task = any_task_of(folder / place.get(format, f"graders/{entry.id}"))
    assert (task.id, task.reference.files) == (entry.id, entry.reference)
    text = "".join(
        one.read_text("utf-8", "ignore")
        for one in folder.rglob("*")
        if one.suffix in (".md", ".txt", ".jsonl")
    )
    assert f"python {entry.entrypoint} --name 'a b'" in text


# the judge


def test_a_claim_is_read_as_hostile(tmp_path: Path) -> None:
    place = tmp_path / "submission.json"
    assert read_claim(tmp_path).problem
    for text in (
        "",
        "[]",
        "3",
        '{"bugs": 3}',
        '{"bugs": [3]}',
        '{"bugs": ["shape"], "diagnosis": 3}',
        "[" * 9999,
    ):
        place.write_text(text)
        assert read_claim(tmp_path).problem and not read_claim(tmp_path).bugs
    place.write_text(json.dumps({"bugs": ["shape"], "diagnosis": "x" * 100_000}))
    assert read_claim(tmp_path).problem, "cut off where it is too long"
    place.write_text('{"bugs": "shape, eval", "diagnosis": "y"}')
    assert read_claim(tmp_path).bugs == ("shape", "eval") and read_claim(tmp_path).diagnosis == "y"
    place.unlink()
    place.symlink_to("/dev/zero")
    assert read_claim(tmp_path).problem
    place.unlink()
    os.mkfifo(place)
    assert read_claim(tmp_path).problem


def test_only_sources_are_read_from_a_workspace(tmp_path: Path) -> None:
    for name in (
        "train.py",
        "sub/model.py",
        "data/x.py",
        "__pycache__/y.py",
        ".git/z.py",
        "notes.txt",
        ".h.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe.py")
    found = dict(sources(tmp_path, ("data",)))
    assert sorted(found) == ["binary.py", "sub/model.py", "train.py"]
    assert found["binary.py"] == "\udcff\udcfe"
    assert set(dict(sources(tmp_path))) - set(found) == {"data/x.py"}, "of somebody's own script"


def test_what_cannot_be_judged_is_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path / "none")]) == 2
    assert main([str(tmp_path), str(tmp_path), "--reward", str(tmp_path / "reward.json")]) == 3
    assert "cannot be read" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
