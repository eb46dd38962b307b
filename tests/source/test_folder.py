"""What is read of a user's folder, and what is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mldebug.errors import UsageError
from mldebug.source import folder as source_folder
from mldebug.source.folder import read_own


def filled(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        place = folder / name.replace("__", "/").replace("_py", ".py").replace("_csv", ".csv")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def test_sources_data_and_what_the_entry_point_reaches(tmp_path: Path) -> None:
    filled(
        tmp_path,
        train_py="import torch\nfrom lib.net import Net\nfrom lib import loss\n",
        lib__net_py="from .parts import layer\nNet = layer\n",
        lib__parts_py="layer = 1\n",
        lib__loss_py="",
        lib__unused_py="this does not parse",
        other_py="also not this one",
        rows_csv="1,2\n",
        data__more_csv="3\n",
    )
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "link").symlink_to("/etc/passwd")
    filled(tmp_path / "env", x_py="1")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    found = read_own(tmp_path)
    assert found.entrypoint == "train.py"
    assert found.reached == ("lib/loss.py", "lib/net.py", "lib/parts.py", "train.py")
    assert set(found.sources) == {*found.reached, "lib/unused.py", "other.py"}
    assert set(found.data) == {"rows.csv", "data/more.csv"}


def test_the_entry_point_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither train\.py nor main\.py"):
        read_own(filled(tmp_path, start_py="x = 1"))
    assert read_own(filled(tmp_path, main_py="x = 1")).entrypoint == "main.py"
    assert read_own(filled(tmp_path, train_py="x = 1")).entrypoint == "train.py"
    assert read_own(tmp_path / "start.py").entrypoint == "start.py"


def test_limits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, train_py="x = 1", rows_csv="1" * 3000, more_csv="1" * 2000)
    monkeypatch.setattr(source_folder, "MOST_DATA_BYTES", 4096)
    with pytest.raises(UsageError, match=r"the largest: rows\.csv"):
        read_own(tmp_path)
    monkeypatch.setattr(source_folder, "MOST_DATA_FILES", 1)
    with pytest.raises(UsageError, match="more than 1 files"):
        read_own(tmp_path)
    monkeypatch.setattr(source_folder, "MOST_SCANNED", 2)
    with pytest.raises(UsageError, match="more than 2 files"):
        read_own(tmp_path)


def test_special_files_and_links_are_refused(tmp_path: Path) -> None:
    filled(tmp_path, train_py="x = 1")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe is neither a file nor a folder"):
        read_own(tmp_path)
    (tmp_path / "pipe").unlink()
    (tmp_path / "elsewhere").symlink_to("/etc")
    with pytest.raises(UsageError, match="elsewhere is a symbolic link"):
        read_own(tmp_path)


def test_newlines_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    assert read_own(tmp_path).sources["train.py"] == "x = 1\r\ny = 2\r\n"
