"""Edits: applied together or refused, whatever their order; the result is Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.errors import SpliceError
from mldebug.mutators.workspace import Edit, Workspace, conflicts, splice

SOURCE = "a = 1\nb = 'é'\nc = 3\n"
BASE = Workspace.of({"train.py": SOURCE, "model.py": "x = 0\n"}, "train.py")


def edit_of(old: str, new: str, file: str = "train.py") -> Edit:
    start = BASE.files[file].encode().index(old.encode())
    return Edit(file, start, start + len(old.encode()), new)


def test_edits_of_several_files_apply_at_once_and_offsets_are_bytes() -> None:
    done = splice(BASE, [edit_of("3", "30"), edit_of("'é'", '"ü"'), edit_of("0", "7", "model.py")])
    assert done.files == {"train.py": 'a = 1\nb = "ü"\nc = 30\n', "model.py": "x = 7\n"}
    assert BASE.files["train.py"] == SOURCE


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([Edit("train.py", 0, 5, "x = 1"), Edit("train.py", 4, 5, "2")], "overlap"),
        ([Edit("train.py", 0, 0, "x = 1\n"), Edit("train.py", 0, 0, "y = 1\n")], "overlap"),
        ([Edit("train.py", 0, 5, "x = 1"), Edit("train.py", 0, 0, "y = 1\n")], "overlap"),
        ([Edit("other.py", 0, 0, "")], "no such file"),
        ([Edit("train.py", 0, 999, "")], "outside"),
        ([Edit("train.py", 4, 5, "(")], "not valid Python"),
        ([Edit("train.py", 0, 0, "return 1\n")], "not valid Python"),
    ],
)
def test_edits_that_cannot_be_applied_are_refused(edits: list[Edit], message: str) -> None:
    with pytest.raises(SpliceError, match=message):
        splice(BASE, edits)


def test_touching_edits_do_not_conflict() -> None:
    assert conflicts([Edit("f", 0, 3, "x"), Edit("f", 3, 5, "y"), Edit("g", 0, 9, "z")]) == []


SPANS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 4)).map(lambda s: Edit("f", s[0], s[0] + s[1], "")),
    max_size=5,
)


@given(SPANS)
def test_conflicts_are_found_whatever_the_order(edits: list[Edit]) -> None:
    def naive(pool: list[Edit]) -> bool:
        for i, one in enumerate(pool):
            for other in pool[i + 1 :]:
                left, right = (one, other) if one.start <= other.start else (other, one)
                if left.start == right.start or right.start < left.end:
                    return True
        return False

    assert bool(conflicts(edits)) == naive(edits) == bool(conflicts(edits[::-1]))
