"""listdir, view, grep, rewrite and eval on a working copy: what they show, hide, refuse and change."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.env import DebugEnv, Prepared, Services
from mldebug.env.diffs import split_lines
from mldebug.env.models import ActionRefused
from mldebug.env.patches import apply_patch
from mldebug.env.tools.base import Toolbox
from mldebug.env.workbench import Workbench
from mldebug.mutators.workspace import Workspace

from ...written import task

NAMES = ("shape-glyph-1", "eval-tabular-2")


def workbench(services: Services, name: str, files: dict[str, str] | None = None) -> Workbench:
    """A fresh working copy; with other files, if any are given."""
    known = task(name)
    if files is not None:
        known = replace(known, broken=Workspace.of(known.broken.files | files, known.broken.entrypoint))
    return Workbench(known, services, dict(known.broken.files), services.data(known))


def refused(tools: Toolbox, on: Workbench, tool: str, **arguments: object) -> str:
    with pytest.raises(ActionRefused) as caught:
        tools.use(on, tool, arguments)
    return str(caught.value)


PRIVATE = {
    ".debugignore": "private.py\nsecrets/\n",
    ".debugreadonly": "model.py\n",
    "private.py": "HIDDEN_THING = 1\n",
    "secrets/key.py": "HIDDEN_THING = 2\n",
    "pkg/deep/er.py": "x = 1\n",
}


def test_listdir_shows_a_tree_without_what_is_hidden(services: Services, tools: Toolbox) -> None:
    on = workbench(services, NAMES[0], PRIVATE)
    assert tools.use(on, "listdir", {}).split("\n") == [
        "./",
        "    .debugignore (read-only)",
        "    .debugreadonly (read-only)",
        "    data/",
        "        score.npz (read-only)",
        "        train.npz (read-only)",
        "    model.py (read-only)",
        "    pkg/",
        "        deep/",
        "            er.py",
        "    train.py",
    ]
    assert tools.use(on, "listdir", {"path": "pkg/", "depth": 1}) == "pkg/\n    deep/"
    assert "there is no folder 'secrets'" in refused(tools, on, "listdir", path="secrets")
    assert "there is no folder" in refused(tools, on, "listdir", path="../")
    assert "is a file" in refused(tools, on, "listdir", path="train.py")
    assert "from 1 to 20" in refused(tools, on, "listdir", depth=0)


def test_view_numbers_lines_and_sums_up_data(services: Services, tools: Toolbox) -> None:
    on = workbench(services, NAMES[0])
    lines = on.files["train.py"].split("\n")
    text = tools.use(on, "view", {"path": "./train.py", "start": 3, "end": 5})
    assert text.split("\n")[0] == f"train.py, lines 3 to 5 of {len(lines) - 1}:"
    assert text.split("\n")[1:] == [f" {at:>5}  {lines[at - 1]}".rstrip() for at in (3, 4, 5)]
    data = tools.use(on, "view", {"path": "data/train.npz"}).split("\n")
    assert data[0] == "data/train.npz, arrays (read-only):"
    assert "  label: int64, shape (800,)" in data


def test_view_says_where_to_go_on(services: Services, tools: Toolbox) -> None:
    on = workbench(services, NAMES[0])
    long = "".join(f"value_{number} = {number}\n" for number in range(1, 2_001)) + "x" * 5_000 + "\n"
    tools.edit(on, "long.py", long)
    seen, start = [], 1
    while start:
        _, *rest = tools.use(on, "view", {"path": "long.py", "start": start}).split("\n")
        more = rest.pop(0) if rest[0].startswith("(") else ""
        seen += rest
        start = int(more.rpartition("=")[2].rstrip(")")) if more else 0
    assert [row.split(maxsplit=1)[1] for row in seen[:-1]] == long.split("\n")[:2_000]
    assert seen[-1].endswith("… (5000 characters)")
    tools.edit(on, "none.py", "")
    assert tools.use(on, "view", {"path": "none.py"}) == "none.py is empty."


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": "private.py"}, "there is no file 'private.py'"),
        ({"path": "secrets/key.py"}, "there is no file"),
        ({"path": "/etc/passwd"}, "there is no file"),
        ({"path": "../train.py"}, "there is no file"),
        ({"path": "x" * 5_000}, "there is no file"),
        ({"path": "train.py", "start": 0}, "has lines 1 to"),
        ({"path": "train.py", "start": 9, "end": 8}, "has lines 1 to"),
        ({"path": "train.py", "start": 9_999}, "has lines 1 to"),
        ({"path": "train.py", "end": -3}, "has lines 1 to"),
    ],
)
def test_view_refuses(
    services: Services, tools: Toolbox, arguments: dict[str, object], expected: str
) -> None:
    on = workbench(services, NAMES[0], PRIVATE)
    message = refused(tools, on, "view", **arguments)
    assert expected in message
    assert len(message) < 400 and "private.py, " not in message


def test_grep_finds_lines(services: Services, tools: Toolbox) -> None:
    on = workbench(services, NAMES[0], PRIVATE)
    found = tools.use(on, "grep", {"pattern": r"^class \w+\(", "path": "model.py"})
    number = next(
        at for at, line in enumerate(on.files["model.py"].split("\n"), 1) if line.startswith("class ")
    )
    assert found == f"model.py:{number}: {on.files['model.py'].split(chr(10))[number - 1]}"
    assert tools.use(on, "grep", {"pattern": "HIDDEN_THING"}) == "No line matches."
    total = sum("e" in line for text in on.visible_files().values() for line in text.split("\n"))
    short = tools.use(on, "grep", {"pattern": "e", "max": 2}).split("\n")
    assert len(short) == 3 and short[2] == f"(and {total - 2} more lines)"
    assert "there is no file 'private.py'" in refused(tools, on, "grep", pattern="x", path="private.py")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(a+)+$", "takes too long"),
        ("(((a{1,1000}){1,1000}){1,1000})$", "takes too long"),
        ("(", "no regular expression"),
        ("(?P<x>a)(?P<x>b)", "no regular expression"),
        ("a{99999999999999999999}", "no regular expression"),
        ("", "1 to 500 characters"),
        ("a" * 501, "1 to 500 characters"),
    ],
)
def test_grep_bounds_any_pattern(services: Services, tools: Toolbox, pattern: str, expected: str) -> None:
    on = workbench(services, NAMES[0])
    tools.edit(on, "a.txt", "a" * 5_000 + "b\n")
    assert expected in refused(tools, on, "grep", pattern=pattern)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not any("resource.RLIMIT_CPU" in line for line in listed.split("\n"))


def test_rewrite_shows_what_it_did(services: Services, tools: Toolbox) -> None:
    on = workbench(services, NAMES[0])
    before = dict(on.files)
    text = tools.use(on, "rewrite", {"path": "model.py", "text": "# first", "start": 1, "end": 0})
    assert on.files["model.py"] == "# first\n" + before["model.py"]
    assert text.startswith(
        "model.py was changed:\n--- a/model.py\n+++ b/model.py\n@@ -1,3 +1,4 @@\n+# first\n"
    )
    assert apply_patch(before, text) == {"model.py": on.files["model.py"]}
    tools.use(on, "rewrite", {"path": "model.py", "text": "", "start": 1})
    assert on.files == before
    assert "stays as it is" in tools.use(on, "rewrite", {"path": "model.py", "text": before["model.py"]})
    made = tools.use(on, "rewrite", {"path": "pkg/new.py", "text": "y = 2"})
    assert made.startswith("pkg/new.py was made:\n--- /dev/null\n") and on.files["pkg/new.py"] == "y = 2"
    end = len(before["model.py"].split("\n")) - 1
    tools.use(on, "rewrite", {"path": "model.py", "text": "z = 3\n", "start": end + 1, "end": end})
    assert on.files["model.py"] == before["model.py"] + "z = 3\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(:\n    pass\n", "model.py, line 1: "),
        ("x = 1\nreturn x\n", "model.py, line 2: 'return' outside function"),
        ("x = 1\n  y = 2\n", "model.py, line 2: unexpected indent"),
        ("x = '\0'\n", "model.py: source code "),
        ("(" * 50_000, "cannot read it"),
        ("x = " + "-" * 500_000 + "1\n", ""),
    ],
)
def test_a_result_that_python_cannot_read_is_kept_and_told(
    services: Services, tools: Toolbox, text: str, expected: str
) -> None:
    on = workbench(services, NAMES[0])
    told = tools.use(on, "rewrite", {"path": "model.py", "text": text})
    assert on.files["model.py"] == text
    assert expected in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": "private.py", "text": ""}, "may not be changed"),
        ({"path": "secrets/new.py", "text": ""}, "may not be changed"),
        ({"path": "model.py", "text": ""}, "may not be changed"),
        ({"path": "data/train.npz", "text": ""}, "may not be changed"),
        ({"path": ".debugignore", "text": ""}, "may not be changed"),
        ({"path": "_driver.py", "text": ""}, "may not be changed"),
        ({"path": "../x.py", "text": ""}, "paths must be relative"),
        ({"path": "/x.py", "text": ""}, "paths must be relative"),
        ({"path": "", "text": ""}, "paths must be relative"),
        ({"path": "a\0b", "text": ""}, "paths must be relative"),
        ({"path": "train.py/x.py", "text": ""}, "a file and a folder at once"),
        ({"path": "x/" * 90 + "x", "text": ""}, "too long"),
        ({"path": "big.py", "text": "x" * (1 << 20)}, "MiB of sources"),
        ({"path": "half.py", "text": "\ud800"}, "UTF-8"),
        ({"path": "nosuch.py", "text": "", "start": 1}, "there is no file 'nosuch.py'"),
        ({"path": "train.py", "text": "", "start": 99_999}, "has lines 1 to"),
        ({"path": "train.py", "text": "", "start": 5, "end": 3}, "cannot be replaced"),
        ({"path": "train.py", "text": "", "end": 3}, "'end' needs 'start'"),
    ],
)
def test_rewrite_refuses(
    services: Services, tools: Toolbox, arguments: dict[str, object], expected: str
) -> None:
    on = workbench(services, NAMES[0], PRIVATE)
    before = dict(on.files)
    assert expected in refused(tools, on, "rewrite", **arguments)
    assert on.files == before


LINES = st.lists(st.sampled_from(["a", "b", "", "c\r"]), max_size=8).map("\n".join)


@given(LINES, LINES, st.integers(1, 9), st.integers(0, 9))
def test_rewrite_replaces_exactly_these_lines(
    services: Services, tools: Toolbox, before: str, text: str, start: int, end: int
) -> None:
    on = workbench(services, NAMES[0])
    on.files["x.txt"] = before
    lines = split_lines(before)
    arguments = {"path": "x.txt", "text": text, "start": start, "end": end}
    if not (start <= len(lines) + 1 and start - 1 <= end <= len(lines)):
        assert "cannot be replaced" in refused(tools, on, "rewrite", **arguments)
        return
    tools.use(on, "rewrite", arguments)
    bare = [one.rstrip("\r\n") for one in split_lines(on.files["x.txt"])]
    wanted = [*lines[: start - 1], *split_lines(text), *lines[end:]]
    assert bare == [one.rstrip("\r\n") for one in wanted]


def test_a_fix_changes_all_files_or_none_and_every_tool_hears_of_it(services: Services) -> None:
    with DebugEnv(services, budget=9) as env:
        env.reset(task=Prepared(task(NAMES[0]), "alert"))
        look = {"type": "inspect", "tool": "view", "arguments": {"path": "train.py"}}
        env.step({"type": "inspect", "tool": "pdb", "arguments": {"commands": ["b 40"]}})
        (marked,) = (row for row in env.step(look).text.split("\n") if row.startswith("B"))
        for files in ({"train.py": "x = 1\n", "../evil.py": ""}, {"train.py": "x = 1\n", "data/x": ""}):
            assert env.step({"type": "fix", "bugs": ["shape"], "files": files}).refused
        assert marked in env.step(look).text.split("\n")
        patch = "--- a/train.py\n+++ b/train.py\n@@ -0,0 +1,2 @@\n+# one\n+raise SystemExit(3)\n"
        assert not env.step({"type": "fix", "bugs": ["shape"], "patch": patch}).refused
        (moved,) = (row for row in env.step(look).text.split("\n") if row.startswith("B"))
        _, number, line = marked.split(maxsplit=2)
        assert moved.split(maxsplit=2) == ["B", str(int(number) + 2), line]


def test_eval_runs_the_entry_point(services: Services, tools: Toolbox) -> None:
    on = workbench(services, NAMES[1])
    assert tools.use(on, "eval", {}) == tools.use(on, "run_code", {})
    assert tools.use(on, "eval", {}).startswith("The job ended with exit code 0.\n--- stdout ---\n")
    tools.edit(on, on.entrypoint, "raise SystemExit(7)\n")
    assert tools.use(on, "eval", {}) == "The job ended with exit code 7."
