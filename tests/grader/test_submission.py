"""Whatever a submission is made of, it becomes a workspace or a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.clean_scripts.library import load_job, sources
from mldebug.grader.predictions import Problem
from mldebug.grader.submission import MOST_BYTES, MOST_FILES, workspace_of
from mldebug.grader.task import Task
from mldebug.mutators.workspace import Workspace

JOB = Workspace(sources("glyph_cnn"), "train.py")
TASK = Task("0", ("shape_mismatch",), load_job("glyph_cnn"), "cpu", 1, 2, JOB, JOB)

REFUSED: dict[str, Any] = {
    "absolute": {"/etc/passwd": ""},
    "up": {"../x.py": ""},
    "up inside": {"a/../../x.py": ""},
    "empty part": {"a//b.py": ""},
    "empty": {"": ""},
    "nul": {"a\0.py": ""},
    "surrogate name": {"\ud800.py": ""},
    "surrogate text": {"train.py": "'\ud800'"},
    "data": {"data/train.npz": "x"},
    "bytes": {"train.py": b"x"},
    "name is no text": {7: "x"},
    "long name": {"a" * 300: ""},
    "many folders": {"/".join("abcdefghijk"): ""},
    "large": {"train.py": "#" * (MOST_BYTES + 1)},
    "many": {f"m{index}.py": "" for index in range(MOST_FILES + 1)},
    "file and folder": {"a": "", "a/b.py": ""},
    "below a file of the task": {"model.py/x.py": ""},
    "no mapping": ["train.py"],
    "nothing": None,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_workspace_is_a_sentence(name: str) -> None:
    found = workspace_of(TASK, REFUSED[name])
    assert isinstance(found, Problem) and found.text and "\n" not in found.text


def test_files_left_out_are_those_of_the_task() -> None:
    found = workspace_of(TASK, {"train.py": "pass\n", "helper.py": ""})
    assert isinstance(found, Workspace)
    assert found.files == {"train.py": "pass\n", "helper.py": "", "model.py": JOB.files["model.py"]}


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=4))
def test_nothing_raises(files: dict[str, str]) -> None:
    assert isinstance(workspace_of(TASK, files), Workspace | Problem)
