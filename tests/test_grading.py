"""Tasks from variants, rows and folders; submissions from texts, files and folders; the two commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mldebug import generate
from mldebug.cli import cli, run
from mldebug.errors import UsageError
from mldebug.grader.submission import MOST_BYTES
from mldebug.grading import submission_files, task_of, task_of_folder
from mldebug.task_folder import folder_files, json_row, row_files

from .written import HERE, rows, task

NAME = "eval-tabular-2"


def command(*arguments: object) -> int:
    return run([str(one) for one in arguments], cli, "mldebug")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one task of tasks.jsonl."""
    out = tmp_path_factory.mktemp("tasks")
    line = out / "row.jsonl"
    line.write_text(json.dumps(rows()[NAME]) + "\n")
    assert command("materialize", line, "--out", out / "made") == 0
    return out / "made" / str(rows()[NAME]["id"])


def test_a_task_is_the_same_from_a_variant_a_row_and_a_folder(tmp_path: Path) -> None:
    variant = generate(["shape", "device"], 3, verify=False)
    files = folder_files(variant)
    for name, content in files.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    row = json.loads(json.dumps(json_row(variant)))
    assert task_of(variant) == task_of(row) == task_of(str(tmp_path)) == task_of_folder(tmp_path)
    assert set(task_of(variant).places) == set(variant.bugs)


def test_a_row_makes_the_folder_that_gen_writes() -> None:
    variant = generate(["leakage"], 5, verify=False)
    name, files = row_files(json.loads(json.dumps(json_row(variant))))
    assert (name, files) == (variant.id, folder_files(variant))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "0" * 16},
        {"files": {"train.py": "pass"}},
        {"files": {"../train.py": "pass"}, "reference": {"../train.py": "pass"}, "entrypoint": "../train.py"},
        {"script": "nothing"},
        {"truth": {}},
        {"data": {"seed": "x"}},
        {"files": 7},
    ],
)
def test_a_row_that_was_changed_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        row_files(dict(rows()[NAME]) | change)


def test_materialize_is_repeatable_and_says_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = folder.parent.parent / "row.jsonl"
    assert command("materialize", line, "--out", folder.parent) == 0
    assert "unchanged" in capsys.readouterr().err
    (tmp_path / "bad.jsonl").write_text(line.read_text() + "{not json\n")
    assert command("materialize", tmp_path / "bad.jsonl", "--out", tmp_path / "out") == 2
    assert "line 2" in capsys.readouterr().err
    assert command("materialize", tmp_path / "none.jsonl") == 2
    assert command("materialize", line, "--out", HERE) == 2


def test_submissions_from_texts_files_and_folders(folder: Path, tmp_path: Path) -> None:
    one = task(NAME)
    file = tmp_path / "fixed.py"
    file.write_text("pass\n")
    assert submission_files("pass\n", one) == {"train.py": "pass\n"}
    assert submission_files(file, one) == {"train.py": "pass\n"} == submission_files(str(file), one)
    (tmp_path / "link.py").symlink_to("/etc/hostname")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.py").write_text("")
    assert submission_files(tmp_path, one) == {"fixed.py": "pass\n"}
    assert submission_files(folder / "workspace", one) == rows()[NAME]["files"]
    for wrong in (tmp_path / "none.py", "none.py", tmp_path / "link.py"):
        with pytest.raises(UsageError):
            submission_files(wrong, one)


def test_what_a_run_left_beside_the_sources_makes_no_fix_unusable(folder: Path, tmp_path: Path) -> None:
    one = task_of_folder(folder)
    shutil.copytree(folder / "solution" / "reference", tmp_path / "fixed")
    (tmp_path / "fixed" / "model.pt").write_bytes(b"PK\x03\x04\x00\x00\xff\xfe")
    (tmp_path / "fixed" / "run.log").write_bytes(b"epoch 1\n" * (MOST_BYTES // 8 + 1))
    assert submission_files(tmp_path / "fixed", one) == rows()[NAME]["reference"]
    (tmp_path / "fixed" / "settings.json").write_text('{"rate": 0.1}')
    assert "settings.json" in submission_files(tmp_path / "fixed", one)
    (tmp_path / "fixed" / "more.py").write_bytes(b"\xff\x00")
    assert "more.py" in submission_files(tmp_path / "fixed", one), "the grader says what is wrong with it"


def test_the_grade_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["grade", folder, "--bugs", "eval", "--json", "--submission"]
    assert command(*arguments, folder / "solution" / "reference") == 0
    best = json.loads(capsys.readouterr().out)
    assert (best["score"], best["rung"], best["solved"], best["trust"]) == (0.99, 0.99, True, "replayed")
    assert best["root_cause_fixed"] == {"missing_eval_mode": True}
    assert command(*arguments[:4], "--submission", folder / "workspace" / "train.py") == 1
    shown = capsys.readouterr().out
    assert "0.20" in shown and "still there" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["grade", "nowhere", "--bugs", "eval", "--submission", "setup.cfg"],
        ["grade", "FOLDER", "--bugs", "nonsense", "--submission", "setup.cfg"],
        ["grade", "FOLDER", "--bugs", "eval", "--submission", "nowhere.py"],
        ["grade", "FOLDER", "--bugs", "eval"],
        ["grade", "FOLDER", "--bugs", "eval", "--submission", "setup.cfg", "--step", "0"],
        ["grade", "FOLDER", "--bugs", "eval", "--submission", "setup.cfg", "--require", "magic"],
    ],
)
def test_wrong_usage_of_grade(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parent)
    assert command(*(str(folder) if one == "FOLDER" else one for one in arguments)) == 2


def test_doctor_says_what_holds_and_checks_what_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tiers"][found["tier"]]["available"]
    assert command("doctor", "--require", "bounded_time") == 0
    assert "bounded_time" in capsys.readouterr().out
    assert command("doctor", "--require", "magic") == 2
