"""Unified diffs as language models write them: applied exactly, found where counts are wrong, or
refused in words."""

from __future__ import annotations

import difflib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.env.diffs import diff_of, split_lines
from mldebug.env.models import ActionRefused
from mldebug.env.patches import MOST_CHARACTERS, apply_patch
from mldebug.mutators.workspace import unified_patch

from ..written import rows, task

SOURCE = "".join(f"line {number}\n" for number in range(1, 41))
NASTY = [
    "",
    "a",
    "b",
    " a",
    "a ",
    "-- x",
    "++ y",
    "@@",
    "--- a/t.py",
    "+++ b/t.py",
    "\\ No",
    "\r",
    "a\r",
    "- ",
    "```",
]
texts = st.lists(st.sampled_from(NASTY), max_size=12).flatmap(
    lambda lines: st.sampled_from(["\n".join(lines), "".join(line + "\n" for line in lines)])
)


def difflib_patch(before: str, after: str, path: str = "t.py", context: int = 3) -> str:
    """As `diff -u` prints it: with a mark where a file does not end with a line feed."""
    found = difflib.unified_diff(split_lines(before), split_lines(after), f"a/{path}", f"b/{path}", n=context)
    return "".join(one if one.endswith("\n") else f"{one}\n\\ No newline at end of file\n" for one in found)


def refused(files: dict[str, str], patch: str) -> str:
    with pytest.raises(ActionRefused) as caught:
        apply_patch(files, patch)
    return str(caught.value)


@given(texts, texts, st.integers(0, 4))
def test_a_diff_of_any_two_texts_leads_from_one_to_the_other(before: str, after: str, context: int) -> None:
    if before != after:
        assert apply_patch({"t.py": before}, difflib_patch(before, after, context=context)) == {"t.py": after}
        assert apply_patch({"t.py": before}, diff_of("t.py", before, after)) == {"t.py": after}


@given(
    st.lists(st.integers(0, 9), max_size=30),
    st.lists(st.tuples(st.integers(0, 29), st.booleans()), min_size=1, max_size=4),
    st.integers(-30, 30),
    st.integers(0, 9),
)
def test_what_stands_in_the_header_matters_only_where_lines_repeat(
    words: list[int], changes: list[tuple[int, bool]], shift: int, count: int
) -> None:
    lines = [f"{at} {word}\n" for at, word in enumerate([*words, 0, 1, 2])]
    new = list(lines)
    for at, added in changes:
        at %= len(lines)
        new[at] = lines[at] + "added\n" if added else f"changed {at}\n"
    before, after = "".join(lines), "".join(new)
    patch = re.sub(
        r"@@ -(\d+),\d+ \+(\d+),\d+ @@",
        lambda found: f"@@ -{max(0, int(found[1]) + shift)},{count} +{int(found[2])},{count} @@",
        difflib_patch(before, after),
    )
    assert apply_patch({"t.py": before}, patch) == {"t.py": after}
    assert apply_patch({"t.py": before}, re.sub(r"@@ .* @@", "@@ … @@", patch)) == {"t.py": after}


@pytest.mark.parametrize("name", sorted(rows()))
def test_the_fixes_of_proved_tasks_apply(name: str) -> None:
    known = task(name)
    patch = unified_patch(known.broken.files, known.reference.files)
    changed = apply_patch(known.broken.files, patch)
    assert known.broken.files | changed == known.reference.files
    without = re.sub(r"^(---|\+\+\+) [ab]/", r"\1 ", patch, flags=re.M)
    bare = "\n".join(line.rstrip() for line in without.split("\n"))
    assert apply_patch(known.broken.files, f"Here it is:\n\n```diff\n{bare}```\n- done\n") == changed


HUNK = "@@ -4,3 +4,3 @@\n line 4\n-line 5\n+line five\n line 6\n"
FIXED = SOURCE.replace("line 5\n", "line five\n")


@pytest.mark.parametrize(
    "patch",
    [
        f"--- a/t.py\n+++ b/t.py\n{HUNK}",
        f"--- t.py\n+++ t.py\n{HUNK}",
        f"--- ./t.py\n+++ ./t.py\n{HUNK}",
        f"--- a/t.py\t2024-01-01 00:00:00.000 +0000\n+++ b/t.py\t2024-01-01 00:00:00.000 +0000\n{HUNK}",
        f"--- a/t.py 2024-01-01 00:00:00\n+++ b/t.py 2024-01-01 00:00:00\n{HUNK}",
        f'--- "a/t.py"\n+++ "b/t.py"\n{HUNK}',
        f"diff --git a/t.py b/t.py\nindex 123..456 100644\n--- a/t.py\n+++ b/t.py\n{HUNK}",
        f"diff --git a/t.py b/t.py\n{HUNK}",
        HUNK,
        f"I change one line.\n\n```diff\n{HUNK}```\n\nThat is all:\n- one line\n",
        f"--- a/t.py\n+++ b/t.py\n{HUNK}-- \n2.39.0\n",
        f"--- a/t.py\n+++ b/t.py\n{HUNK}\n\nThis repairs it.\n",
        HUNK.replace("-4,3 +4,3", "-30,9 +1,2"),
        HUNK.replace("@@ -4,3 +4,3 @@", "@@ def f():"),
        HUNK.replace(" line 6\n", " line 6   \n"),
        HUNK.replace("\n", "\r\n"),
        HUNK.rstrip("\n"),
        f"{HUNK}\\ No newline at end of file\n".replace("\\ No", "\\ no"),
        f"--- a/t.py\n+++ b/t.py\n@@ -38,2 +38,2 @@\n line 38\n line 39\n{HUNK}",
    ],
)
def test_spellings_of_one_change(patch: str) -> None:
    assert apply_patch({"t.py": SOURCE}, patch) == {"t.py": FIXED}


def test_several_files_and_a_new_one() -> None:
    files = {"t.py": SOURCE, "pkg/u.py": "one\ntwo\n"}
    patch = (
        f"--- a/t.py\n+++ b/t.py\n{HUNK}@@ -39,2 +39,3 @@\n line 39\n line 40\n+line 41\n"
        "--- a/pkg/u.py\n+++ b/pkg/u.py\n@@ -1,9 +1,9 @@\n one\n-two\n+zwei\n"
        "--- /dev/null\n+++ b/pkg/new.py\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n"
    )
    assert apply_patch(files, patch) == {
        "t.py": FIXED + "line 41\n",
        "pkg/u.py": "one\nzwei\n",
        "pkg/new.py": "a\nb",
    }


def test_line_ends_of_the_file_are_kept() -> None:
    windows = SOURCE.replace("\n", "\r\n")
    assert apply_patch({"t.py": windows}, HUNK) == {"t.py": FIXED.replace("\n", "\r\n")}
    assert apply_patch({"t.py": "a\nb"}, "@@ -1,2 +1,2 @@\n a\n-b\n+c\n") == {"t.py": "a\nc\n"}
    assert apply_patch({"t.py": "a\nb"}, "@@ -1,2 +1,3 @@\n a\n b\n+c\n") == {"t.py": "a\nb\nc\n"}
    assert apply_patch({"t.py": "a\nb"}, "@@ -1,2 +1,2 @@\n-a\n+c\n b\n") == {"t.py": "c\nb"}


def test_the_place_nearest_to_what_is_stated_is_taken() -> None:
    text = "".join(f"head {number}\nx\ny\n" + "filler\n" * 30 for number in range(4))
    second = apply_patch({"t.py": text}, "@@ -36,2 +36,2 @@\n x\n-y\n+z\n")["t.py"].split("\n")
    assert [at for at, line in enumerate(second) if line == "z"] == [35]
    assert "several places (lines 2, 35, 68, 101)" in refused({"t.py": text}, "@@\n x\n-y\n+z\n")


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ("", "holds no hunk"),
        ("please change line 5", "holds no hunk"),
        ("*** Begin Patch\n*** Update File: t.py\n@@\n-line 5\n+x\n", "no unified diff"),
        ("--- a/t.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-line 1\n", "cannot be deleted"),
        ("diff --git a/t.py b/t.py\ndeleted file mode 100644\n", "cannot be deleted"),
        ("diff --git a/t.py b/u.py\nrename from t.py\nrename to u.py\n", "renaming"),
        (f"--- a/t.py\n+++ b/u.py\n{HUNK}", "renaming"),
        (f"--- a/v.py\n+++ b/v.py\n{HUNK}", "there is no file 'v.py'; there are: t.py"),
        (f"--- a/../t.py\n+++ b/../t.py\n{HUNK}", "unusable path: '../t.py'"),
        (f"--- /etc/passwd\n+++ /etc/passwd\n{HUNK}", "unusable path: '/etc/passwd'"),
        ("--- /dev/null\n+++ b/data/train.npz\n@@ -0,0 +1 @@\n+x\n", "data may not be changed"),
        ("--- /dev/null\n+++ b/t.py\n@@ -0,0 +1 @@\n+x\n", "is not new"),
        ("--- /dev/null\n+++ b/a\0b.py\n@@ -0,0 +1 @@\n+x\n", "unusable path"),
        (
            HUNK.replace(" line 6", " line 7"),
            "t.py, hunk 1: expected `line 7` at line 6, where `line 6` stands",
        ),
        (
            f"--- a/t.py\n+++ b/t.py\n{HUNK}@@ -20,2 +20,2 @@\n line 20\n-line twenty-one\n+x\n",
            "t.py, hunk 2: expected `line twenty-one` at line 21, where `line 21` stands",
        ),
        ("@@ -39,3 +39,3 @@\n line 39\n-line 40\n+x\n line 41\n", "at line 41, where the file has ended"),
        ("@@ -1,2 +1,2 @@\n foo\n-bar\n+x\n", "expected `foo` at line 1, where `line 1` stands"),
        ("@@\n foo\n-bar\n+x\n", "none of its lines stands in the file; expected `foo`"),
        ("@@ -9,1 +9,2 @@\n+lost\n", "no line that is kept or removed"),
        (f"{HUNK}@@ -5,1 +5,1 @@\n-line 5\n+x\n", "hunks 1 and 2 change the same lines"),
        (
            "@@ -4,9 +4,9 @@\n line 4\n-line 5\nline 6\n+line seven\n",
            "is no part of a hunk, yet changes follow",
        ),
    ],
)
def test_what_does_not_apply_is_refused_in_words(patch: str, expected: str) -> None:
    assert expected in refused({"t.py": SOURCE}, patch)


def test_a_hunk_without_a_file_needs_a_single_file() -> None:
    assert "there are several files: t.py, u.py" in refused({"t.py": SOURCE, "u.py": ""}, HUNK)


@pytest.mark.parametrize(
    ("text", "patch", "expected"),
    [
        (SOURCE, "x" * (MOST_CHARACTERS + 1), "larger than"),
        (SOURCE, "@@\n" * 100_000, "more than 50000 lines"),
        (SOURCE, "@@\n" * 20_000, "more than 500 hunks"),
        ("\n" * 500_000, ("@@\n" + " \n" * 50 + "-x\n") * 400, "hunk 1: none of its lines"),
        (("a\n" * 49 + "b\n") * 5_000, "@@ -9,9 +9,9 @@\n" + " a\n" * 60 + "-a\n", "takes too long"),
        (("a\n" * 49 + "b\n") * 5_000, ("@@\n" + " a\n" * 40 + "-b\n") * 400, "several places"),
        ("a" * 1_000_000, "@@\n-" + "a" * 900_000 + "\n", "none of its lines"),
        (SOURCE, "--- " * 200_000, "holds no hunk"),
        (SOURCE, "--- a\n+++ b\n" * 20_000, "holds no hunk"),
        (SOURCE, "@@ -" + "9" * 500_000 + " +1 @@\n-x\n", "none of its lines"),
        (SOURCE, "@@ -1,1 +1,1 @@\n" + "\n" * 40_000 + "+x", "hunk 1"),
    ],
)
def test_hostile_patches_end_soon(text: str, patch: str, expected: str) -> None:
    assert expected in refused({"t.py": text}, patch)


@given(st.text(alphabet="ab-+@ \n\\/t.py`0,1", max_size=300), st.text(alphabet="ab \n", max_size=60))
def test_anything_is_applied_or_refused(patch: str, text: str) -> None:
    try:
        changed = apply_patch({"t.py": text}, f"@@ -1 +1 @@\n{patch}")
    except ActionRefused as refusal:
        assert str(refusal)
    else:
        assert changed.get("t.py") != text
