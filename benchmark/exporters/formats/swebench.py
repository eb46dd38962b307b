"""Rows in the form of SWE-bench, with the repositories that they speak of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..bundle import Bundle, Entry
from ..texts import about, canary_comment, instruction, json_line, text_file
from ..writing import TIME, File

WHO = "mldebug <mldebug@localhost>"
MESSAGE = "A training job"

TEST = "test_job.py"
TEST_COMMAND = "python -P -m pytest -q --noconftest -c /dev/null --import-mode=importlib"
"""Nothing that a patch adds is loaded beside the test."""

TEST_TEXT = '''"""Judges the job in this folder by what it does.

MLDEBUG_TASKS names the folder `graders` of the export, MLDEBUG_PYTHON a Python with mldebug (else this one).
"""

import os
import subprocess
import sys
from pathlib import Path


def test_the_job_is_repaired():
    task = Path(os.environ["MLDEBUG_TASKS"]) / "{id}"
    python = os.environ.get("MLDEBUG_PYTHON", sys.executable)
    judge = [python, "-I", "-m", "mldebug.benchmark.exporters.judge", str(task), str(Path(__file__).parent)]
    done = subprocess.run([*judge, "--repair-only"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
'''

REPO = """#!/bin/sh
# make_repo.sh ID FOLDER: the repository of an instance; its only commit is the instance's `base_commit`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
cp -R "$here/sources/$1/." "$2/"
cd "$2"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_DATE='{time} +0000' GIT_COMMITTER_DATE='{time} +0000'
git init -q
git -c core.autocrlf=false -c core.fileMode=false add -A -f
git -c user.name=mldebug -c user.email=mldebug@localhost commit -q -m '{message}'
git rev-parse HEAD
"""


def files(bundle: Bundle) -> Iterator[File]:
    """Rows for each split, the broken sources and data, and the folders that grade."""
    yield File("README.md", readme(bundle))
    yield File("make_repo.sh", REPO.format(time=TIME, message=MESSAGE).encode(), runs=True)
    for split in bundle.splits:
        rows = (json_line(instance(one, bundle)) for one in bundle.of(split))
        yield File(f"{split}.jsonl", b"".join(rows))
    for entry in bundle.entries:
        for path, content in entry.workspace().items():
            yield File(f"sources/{entry.id}/{path}", content)
        for path, content in entry.for_grading().items():
            yield File(f"graders/{entry.id}/{path}", content)


def instance(entry: Entry, bundle: Bundle) -> dict[str, Any]:
    """A row. `patch` is the answer; `problem_statement` is all that an agent is told."""
    commit = commit_of(entry.workspace())
    row = {
        "instance_id": f"mldebug__{entry.id}",
        "repo": f"mldebug/{entry.id}",
        "base_commit": commit,
        "environment_setup_commit": commit,
        "version": bundle.name,
        "created_at": "1980-01-01T00:00:00Z",
        "problem_statement": instruction(entry, "this repository", claim=False),
        "hints_text": "",
        "patch": entry.patch,
        "test_patch": new_file(TEST, TEST_TEXT.replace("{id}", entry.id)),
        "FAIL_TO_PASS": [f"{TEST}::test_the_job_is_repaired"],
        "PASS_TO_PASS": [],
        "test_cmd": f"{TEST_COMMAND} {TEST}",
        "environment": {
            "python": ".".join(bundle.versions["python"].split(".")[:2]),
            "packages": [f"{one}=={bundle.versions[one].split('+')[0]}" for one in ("torch", "numpy")],
        },
    }
    return row if bundle.canary is None else row | {"canary": bundle.canary}


def new_file(path: str, text: str) -> str:
    """The patch that adds a file."""
    lines = text.splitlines(keepends=True)
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
    return f"{head}@@ -0,0 +1,{len(lines)} @@\n" + "".join(f"+{one}" for one in lines)


def commit_of(workspace: Mapping[str, bytes]) -> str:
    """The id that git gives to the only commit of a repository of these files (see `REPO`)."""
    text = f"tree {_tree(workspace)}\nauthor {WHO} {TIME} +0000\ncommitter {WHO} {TIME} +0000\n\n{MESSAGE}\n"
    return _object("commit", text.encode())


def _tree(files: Mapping[str, bytes]) -> str:
    below: dict[str, dict[str, bytes]] = {}
    lines: list[tuple[bytes, bytes]] = []
    for path, content in files.items():
        first, slash, rest = path.partition("/")
        if slash:
            below.setdefault(first, {})[rest] = content
        else:
            lines.append((first.encode(), b"100644 %b\0" % first.encode() + _bytes("blob", content)))
    for name, inside in below.items():  # git sorts a folder as if its name ended in a slash
        lines.append((f"{name}/".encode(), b"40000 %b\0" % name.encode() + bytes.fromhex(_tree(inside))))
    return _object("tree", b"".join(one for _key, one in sorted(lines)))


def _object(kind: str, content: bytes) -> str:
    return _bytes(kind, content).hex()


def _bytes(kind: str, content: bytes) -> bytes:
    whole = f"{kind} {len(content)}\0".encode() + content
    return hashlib.sha1(whole, usedforsecurity=False).digest()


def readme(bundle: Bundle) -> bytes:
    split, first = bundle.splits[0], bundle.entries[0].id
    lines = [
        f"{canary_comment(bundle)}# mldebug {bundle.name} in the form of SWE-bench",
        "",
        *about(bundle),
        f"    ./make_repo.sh {first} repo    # prints the instance's base_commit",
        "    git -C repo apply ../test.patch                # its test_patch",
        "    git -C repo apply ../model.patch               # what an agent made of it, or its patch",
        f"    cd repo && MLDEBUG_TASKS=../graders {TEST_COMMAND} {TEST}",
        "",
        f"`{split}.jsonl` has an instance a line, with the usual fields: `instance_id`, `repo`, "
        "`base_commit`, `problem_statement`, `patch`, `test_patch`, `FAIL_TO_PASS`, `PASS_TO_PASS`; "
        "`test_cmd` and `environment` say how it is tested, and with what. The test fails before `patch` and "
        "passes after it. It runs the job on data that nobody saw, and needs mldebug: in the Python that "
        "runs it, or in the one that `MLDEBUG_PYTHON` names. Only the repair counts: no classes are named.",
        "",
        "The rows (`patch`) and `graders/` hold the answer. An agent gets `problem_statement` and the "
        "repository.",
        "",
    ]
    return text_file(lines)
