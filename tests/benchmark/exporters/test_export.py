"""Every format: the same bytes wherever it is made, whole or not at all, nothing that gives answers away."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mldebug import cli
from mldebug.benchmark.exporters.bundle import Bundle, read_bundle
from mldebug.benchmark.exporters.registry import exported, names
from mldebug.benchmark.exporters.writing import TIME, File, write
from mldebug.errors import MldebugError, UsageError
from mldebug.mutators.base import all_mutators, bug_classes
from mldebug.mutators.workspace import unified_patch

from ...written import rows
from .conftest import PLAN, SPLITS, row_file

ANYWHERE = """
import json, sys
from pathlib import Path
from mldebug.benchmark.exporters.bundle import read_bundle
from mldebug.benchmark.exporters.registry import exported, names
from mldebug.benchmark.exporters.writing import write
for name in names():
    write(exported(name, read_bundle(Path(sys.argv[1]))), Path(sys.argv[2]) / name)
"""


def export(*arguments: str | Path) -> int:
    return cli.run(["bench", "export", *map(str, arguments)], cli.cli, "mldebug")


def listing(folder: Path) -> dict[str, tuple[bytes, int, float]]:
    """Every file and folder below one: content, mode and time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        known = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[path.relative_to(folder).as_posix()] = (content, stat.S_IMODE(known.st_mode), known.st_mtime)
    return found


def contents(format: str, bundle: Bundle) -> dict[str, bytes]:
    return {one.path: one.content for one in exported(format, bundle)}


def visible(format: str, bundle: Bundle) -> dict[str, bytes]:
    """What an agent may come to see of an export: the files it is given, and what harnesses tell it."""
    found = contents(format, bundle)
    if format == "huggingface":
        return {path: one for path, one in found.items() if path.startswith("tasks/")}
    if format == "harbor":
        inside = {path: one for path, one in found.items() if path.startswith("tasks/")}
        parts = {path: path.split("/") for path in inside}
        return {path: inside[path] for path in inside if parts[path][2] not in ("tests", "solution")}
    if format == "debug-gym":
        return {path: one for path, one in found.items() if not path.startswith("graders/")}
    if format == "inspect":
        return {path: one for path, one in found.items() if not path.endswith(".jsonl")}
    assert format == "swebench", "say here what an agent sees of the new format"
    shown = {path: one for path, one in found.items() if not path.startswith("graders/")}
    for path in [one for one in shown if one.endswith(".jsonl")]:
        kept = [json.loads(line) for line in shown[path].splitlines()]
        shown[path] = json.dumps([one | {"patch": ""} for one in kept]).encode()
    return shown


def disguised(bundle: Bundle) -> Bundle:
    """The same tasks as far as agents may know, with other answers."""
    entries = []
    for entry in bundle.entries:
        row = json.loads(json.dumps(entry.row))
        bugs = ["wrong_device"] if "wrong_device" not in row["bugs"] else ["training_collapse"]
        row["reference"] = {path: f"# other\n{text}" for path, text in row["reference"].items()}
        row |= {"bugs": bugs, "seed": 99, "index": 99, "attempt": 9, "device": "cuda"}
        row["truth"] |= {name: row[name] for name in ("bugs", "seed", "index", "attempt", "device")}
        row["truth"] |= {"injections": [], "style": None, "hidden_data_seed": 1}
        measured = {**(entry.measured or {}), "level": 1}
        entries.append(replace(entry, row=row, measured=measured))
    return replace(bundle, entries=entries)


@pytest.fixture(scope="module")
def here(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats, by the command."""
    folder = tmp_path_factory.mktemp("exports")
    for name in names():
        assert export(name, release, "--out", folder / name) == 0
    return folder


def test_another_process_writes_the_same_bytes(here: Path, release: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-c", f"import os; os.umask(0o77)\n{ANYWHERE}", release, tmp_path]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    assert sorted(one.name for one in here.iterdir()) == names()
    assert listing(tmp_path) and listing(tmp_path).keys() == listing(here).keys()
    for name in names():
        assert listing(tmp_path / name) == listing(here / name)


@pytest.mark.parametrize("format", names())
def test_the_order_of_rows_does_not_matter(format: str, tmp_path: Path) -> None:
    found = [rows()[name] for name in SPLITS]
    one = read_bundle(row_file(tmp_path / "rows.jsonl", found))
    (tmp_path / "other").mkdir()
    other = read_bundle(row_file(tmp_path / "other" / "rows.jsonl", found[::-1]))
    assert one.splits == ("generated",) and one.canary is None
    assert contents(format, one) == contents(format, other)
    assert list(contents(format, one)) == list(contents(format, other))


@pytest.mark.parametrize("format", names())
def test_nothing_that_an_agent_sees_depends_on_the_answer(format: str, bundle: Bundle) -> None:
    shown, other = visible(format, bundle), visible(format, disguised(bundle))
    assert contents(format, bundle) != contents(format, disguised(bundle)), "the answers do differ"
    assert shown == other and list(shown) == list(other)
    text = "\n".join(one.decode("utf-8", "ignore") for one in shown.values())
    secrets = {one.name for kind in all_mutators() for one in kind.manifestations}
    secrets |= {"hidden_data_seed", "manifestation", "injections", *SPLITS}
    secrets |= {str(entry.row["script"]) for entry in bundle.entries}
    assert not [one for one in secrets if one in text]
    for bug in bug_classes():
        assert len({one.decode("utf-8", "ignore").count(bug) for one in shown.values()} - {0}) <= 1


@pytest.mark.parametrize("format", names())
def test_modes_and_times_say_nothing(format: str, here: Path) -> None:
    for path, (content, mode, time) in listing(here / format).items():
        assert time == TIME
        whole = here / format / path
        runs = whole.is_dir() or content.startswith(b"#!")
        assert mode == (0o755 if runs else 0o644), path


@pytest.mark.parametrize("format", names())
def test_the_canary_is_kept(format: str, bundle: Bundle) -> None:
    found = contents(format, bundle)
    assert PLAN.canary.encode() in found["README.md"]
    lines = [line for path, one in found.items() if path.endswith(".jsonl") for line in one.splitlines()]
    assert all(json.loads(line)["canary"] == PLAN.canary for line in lines)


def test_a_split_alone_may_be_exported(release: Path, bundle: Bundle) -> None:
    one = read_bundle(release / "tasks" / "train.jsonl")
    assert one.splits == ("train",) and bundle.splits == ("train", "test")
    assert list(one.entries) == list(bundle.of("train")) and len(one.entries) == 2
    assert one.canary == PLAN.canary and all(entry.measured for entry in one.entries)


def test_a_folder_with_something_in_it_is_refused(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("")
    assert export("swebench", release, "--out", tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
    assert export("swebench", release, "--out", tmp_path / "mine") == 2
    assert "is no folder" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(tmp_path)
    assert export("swebench", release, "--out", tmp_path / "link") == 2
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "mine"]
    (tmp_path / "empty").mkdir()
    assert export("inspect", release, "--out", tmp_path / "empty") == 0
    assert "3 tasks" in capsys.readouterr().out
    assert export("no-such", release, "--out", tmp_path / "new") == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError, MldebugError])
def test_what_is_interrupted_leaves_nothing(stop: type[BaseException], tmp_path: Path) -> None:
    def broken() -> Iterator[File]:
        yield File("a/b.txt", b"1")
        raise stop

    with pytest.raises(stop):
        write(broken(), tmp_path / "out" / "here")
    assert not list((tmp_path / "out").iterdir())
    assert write([File("a/b.txt", b"1"), File("run.sh", b"", runs=True)], tmp_path / "out" / "here") == (2, 1)


def test_no_file_leaves_the_folder(tmp_path: Path) -> None:
    for path in ("/etc/x", "../x", "a/../../x", ""):
        with pytest.raises(ValueError, match="leaves"):
            write([File(path, b"")], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_release_that_was_changed_is_not_exported(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = Path(shutil.copytree(release, tmp_path / "v0.0"))
    text = (copy / "solutions.jsonl").read_text("utf-8")
    (copy / "solutions.jsonl").write_text(text.replace("seed", "sead", 1), "utf-8")
    assert export("huggingface", copy, "--out", tmp_path / "out") == 1
    assert "not as it was frozen" in capsys.readouterr().err
    (copy / "solutions.jsonl").unlink()
    assert export("huggingface", copy / "tasks" / "train.jsonl", "--out", tmp_path / "out") == 2
    (copy / "manifest.json").write_text("{}")
    assert export("huggingface", copy, "--out", tmp_path / "out") == 2
    (copy / "manifest.json").unlink()
    assert export("huggingface", copy, "--out", tmp_path / "out") == 2
    assert "is no release" in capsys.readouterr().err
    assert export("huggingface", copy / "tasks" / "train.jsonl", "--out", tmp_path / "out") == 2
    assert "agents may see" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_poor_rows_are_refused(tmp_path: Path) -> None:
    good = rows()["shape-tabular-1"]

    def refused(said: str, *found: Any) -> None:
        with pytest.raises(UsageError, match=said):
            read_bundle(row_file(tmp_path / "rows.jsonl", list(found)))

    refused("never executed", good | {"verified": False})
    refused("never executed", good | {"alert": None})
    refused("there twice", good, good)
    refused("holds no task")
    refused("not a row", {"id": "1"})
    refused("not a row", good | {"truth": 3})
    with pytest.raises(UsageError, match="no such file"):
        read_bundle(tmp_path / "none")


def test_patches_are_what_git_reads(tmp_path: Path) -> None:
    before = {"a.py": "x = 1\ny = '\u2028\x0c'\nz = 3", "b.py": "same\n", "c/d.py": "q\r\nr\r\n"}
    after = {"a.py": "x = 1\ny = '\u2028\x0c!'\nz = 4", "b.py": "same\n", "c/d.py": "q\r\ns\r\n"}
    for path, text in before.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(text.encode())
    patch = unified_patch(before, after).encode()
    subprocess.run(["git", "apply", "-"], input=patch, cwd=tmp_path, check=True)
    assert {path: (tmp_path / path).read_bytes().decode() for path in after} == after


def test_the_document_tells_every_format() -> None:
    text = (Path(__file__).parents[3] / "docs" / "exporters.md").read_text("utf-8")
    for format in names():
        assert text.count(f"\n| `{format}` |") == 1, format
    assert text.count("\n| `") == len(names())
