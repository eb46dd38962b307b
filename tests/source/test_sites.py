"""`mldebug sites`: sites in code nobody here wrote, reasons for the rest, errors for what is no script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mldebug.cli import cli, run
from mldebug.mutators.analysis import analyse
from mldebug.mutators.base import all_mutators, bug_classes
from mldebug.mutators.survey import pattern, sites_of, survey
from mldebug.source.folder import read_sources


def sites(*arguments: object) -> int:
    return run(["sites", *map(str, arguments)], cli, "mldebug")


def test_every_site_is_shown_with_its_place_and_source(
    scripts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sites(scripts / "old_fashioned.py", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {one["bug"] for one in shown["sites"]} == set(bug_classes()) and not shown["without_sites"]
    text = (scripts / "old_fashioned.py").read_bytes()
    for one in shown["sites"]:
        start, end = one["bytes"]
        assert one["line"] == text[:start].count(b"\n") + 1
        assert " ".join(text[start:end].decode().split()) == one["snippet"]
    (moved,) = [one for one in shown["sites"] if one["manifestation"] == "model_not_moved"]
    assert moved["snippet"] == "Net().cuda()"


def test_a_file_brings_the_modules_that_it_imports(scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sites(scripts / "trainers" / "main.py") == 0
    out = capsys.readouterr().out
    assert "engine.py:25" in out and "self.optimizer.zero_grad(set_to_none=True)" in out
    assert "main.py:32" in out and "no site for" in out and "data_leakage: looked for places like" in out


def test_a_reason_names_what_was_looked_for(scripts: Path) -> None:
    found = survey(analyse(read_sources(scripts / "nothing.py")))
    assert not found.found and set(found.reasons()) == set(bug_classes())
    for bug, reason in found.reasons().items():
        assert "\n" not in reason and "none here" in reason
        assert any(one.pattern in reason for one in found.missing if one.bug_class == bug)
    assert "`optimizer.zero_grad()`" in found.reasons()["gradient_not_zeroed"]


def test_every_manifestation_has_a_pattern_of_its_own_example() -> None:
    for owner in all_mutators():
        for way in owner.manifestations:
            assert pattern(way).rstrip("…") in " ".join(way.examples[0].before.split())


def test_no_site_at_all_is_a_failed_check(scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sites(scripts / "nothing.py") == 1
    captured = capsys.readouterr()
    assert "missing_eval_mode: looked for places like `model.eval()`" in captured.out
    assert "nothing can be injected" in captured.err


def test_a_search_that_fails_is_told_and_ends_nothing(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (owner,) = [one for one in all_mutators() if one.bug_class == "missing_eval_mode"]
    for way in owner.manifestations:
        monkeypatch.setattr(type(way), "sites", lambda self, script: 1 / 0)
    script = analyse(read_sources(scripts / "unseeded.py"))
    assert sites_of(script, owner.manifestations[0]) == ([], "ZeroDivisionError: division by zero")


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str = ".") -> str:
    assert sites(tmp_path / name) == 2
    message = capsys.readouterr().err
    assert message.startswith("mldebug: error: ") and "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"import torch\n\ndef f(:\n    pass\n", ("t.py, line 3, column 7", "does not parse")),
        (b"x = 1\n# caf\xe9\n", ("t.py, line 2", "not UTF-8")),
        (b"x = '\0'\n", ("t.py", "does not parse")),
        (b"x = 1\n" * 200_000, ("larger than 1 MiB",)),
        (b"x = " + b"(" * 5000 + b")" * 5000 + b"\n", ("t.py", "does not parse")),
    ],
)
def test_what_is_no_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: tuple[str, ...]
) -> None:
    (tmp_path / "t.py").write_bytes(content)
    message = refused(tmp_path, capsys, "t.py")
    assert all(word in message for word in words), message


def test_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in refused(tmp_path, capsys, "absent.py")
    (tmp_path / "notes.txt").write_text("x")
    assert "not a Python file" in refused(tmp_path, capsys, "notes.txt")
    assert "holds no Python file" in refused(tmp_path, capsys)
    (tmp_path / "train.py").symlink_to(tmp_path / "notes.txt")
    assert "symbolic link" in refused(tmp_path, capsys, "train.py")
    assert "symbolic link" in refused(tmp_path, capsys)


@pytest.mark.parametrize("name", ["two\nlines.py", "tab\there.csv", "back\\slash.py", b"\xff.py"])
def test_odd_names(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str | bytes) -> None:
    import os

    (tmp_path / "train.py").write_text("x = 1\n")
    place = os.fsencode(tmp_path) + b"/" + (name if isinstance(name, bytes) else name.encode())
    os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
    assert "not plain printable text" in refused(tmp_path, capsys)
