"""Task folders for Harbor, with a verifier in a container of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from ..bundle import Bundle, Entry
from ..texts import CLAIM, about, canary_comment, instruction, text_file
from ..wheel import wheel
from ..writing import File

APP = "/app"
"""Where the agent works. What lies there is brought to the verifier."""

INDEX = "https://download.pytorch.org/whl/cpu"

TEST = """#!/bin/bash
# What mldebug says of the job in /app, as numbers for Harbor.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
judge=(python -I -m mldebug.benchmark.exporters.judge)
exec "${judge[@]}" "$here/task" "${1:-/app}" --reward "${2:-/logs/verifier}/reward.json"
"""

SOLVE = """#!/bin/bash
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cp -R "$here/reference/." "${1:-/app}/"
cp "$here/submission.json" "${1:-/app}/"
"""

AGENT_SECONDS = 1800
VERIFIER_SECONDS = 600
"""Grading takes 5 to 30 s on one core; a machine that is ten times slower still gets there."""


def files(bundle: Bundle) -> Iterator[File]:
    """A folder for each task, and the image that their verifiers begin with."""
    name, content = wheel()
    base = image_of(bundle, name, content)
    yield File("README.md", readme(bundle, base))
    yield File("grader-image/Dockerfile", grader_image(bundle, name))
    yield File(f"grader-image/{name}", content)
    for entry in bundle.entries:
        for one in task_files(entry, bundle, base):
            yield File(f"tasks/{entry.id}/{one.path}", one.content, one.runs)


def task_files(entry: Entry, bundle: Bundle, base: str) -> Iterator[File]:
    """A task's folder. Only `instruction.md` and `environment/` reach the agent."""
    yield File("task.toml", config(entry, bundle))
    yield File("instruction.md", (canary_comment(bundle) + instruction(entry, f"`{APP}`")).encode())
    yield File("environment/Dockerfile", agent_image(bundle))
    for path, content in entry.workspace().items():
        yield File(f"environment/workspace/{path}", content)
    yield File("tests/Dockerfile", f"FROM {base}\nCOPY . /tests\n".encode())
    yield File("tests/test.sh", TEST.encode(), runs=True)
    for path, content in entry.for_grading().items():
        yield File(f"tests/task/{path}", content)
    yield File("solution/solve.sh", SOLVE.encode(), runs=True)
    for path, text in entry.reference.items():
        yield File(f"solution/reference/{path}", text.encode())
    yield File(f"solution/{CLAIM}", json.dumps({"bugs": list(entry.bugs)}).encode() + b"\n")


def config(entry: Entry, bundle: Bundle) -> bytes:
    """`task.toml`: nothing in it tells one task from another but its id and split."""
    left = ["__pycache__", *([] if entry.is_own else ["data", "*.npz"])]  # what a job reads and writes
    lines = [
        *([f"# {bundle.canary}"] if bundle.canary else []),
        'schema_version = "1.4"',
        f"artifacts = [{{ source = {_text(APP)}, exclude = {json.dumps(left)} }}]",
        "",
        "[task]",
        f"name = {_text(f'mldebug/{entry.id}')}",
        'description = "Repair a broken PyTorch training job"',
        'keywords = ["pytorch", "debugging"]',
        "",
        "[metadata]",
        f"source = {_text(bundle.name)}",
        f"split = {_text(entry.split)}",
        "",
        "[agent]",
        f"timeout_sec = {AGENT_SECONDS}.0",
        "",
        "[environment]",
        "cpus = 1",
        "memory_mb = 4096",
        f"workdir = {_text(APP)}",
        "",
        "[verifier]",
        'environment_mode = "separate"',
        f"timeout_sec = {VERIFIER_SECONDS}.0",
        "",
        "[verifier.environment]",
        "cpus = 1",
        "memory_mb = 4096",
        'network_mode = "no-network"',
        "",
    ]
    return text_file(lines)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _base_lines(bundle: Bundle) -> list[str]:
    """What the images of agent and grader have in common: the versions that the tasks were proved with."""
    python = ".".join(bundle.versions["python"].split(".")[:2])
    torch = bundle.versions["torch"].split("+")[0]  # the index has the build without CUDA
    return [
        f"FROM python:{python}-slim",
        f"RUN pip install --no-cache-dir --extra-index-url {INDEX} "
        f"torch=={torch} numpy=={bundle.versions['numpy']}",
    ]


def agent_image(bundle: Bundle) -> bytes:
    """The agent's: neither mldebug, whose library has the correct jobs, nor anything of the solution."""
    return text_file([*_base_lines(bundle), f"WORKDIR {APP}", f"COPY workspace {APP}", ""])


def grader_image(bundle: Bundle, wheel_name: str) -> bytes:
    pinned = f"libcst=={bundle.versions['libcst']}"
    lines = [
        *_base_lines(bundle),
        f"COPY {wheel_name} /tmp/",
        f"RUN pip install --no-cache-dir {pinned} /tmp/{wheel_name}",
        "",
    ]
    return text_file(lines)


def image_of(bundle: Bundle, wheel_name: str, content: bytes) -> str:
    """The name of the grader's image: of its content, so that tasks never get another's."""
    found = hashlib.sha256(grader_image(bundle, wheel_name) + content).hexdigest()
    return f"mldebug-grader:{wheel_name.split('-')[1]}-{found[:12]}"


def readme(bundle: Bundle, base: str) -> bytes:
    first = bundle.entries[0].id
    lines = [
        f"{canary_comment(bundle)}# mldebug {bundle.name} for Harbor",
        "",
        *about(bundle),
        f"    docker build -t {base} grader-image",
        f"    harbor run -p tasks/{first} -a oracle",
        "    harbor run -p tasks -a claude-code -m MODEL",
        "",
        "The first builds what all verifiers begin with, once. The verifier has a container of its own: what "
        f"the agent left in `{APP}` is brought there, and run on data that it never saw. The reward is "
        "mldebug's score, 0 to 1.14; `rung` and `solved` stand beside it in `reward.json`.",
        "",
        f"An agent hands in the classes of bug that it repaired in `{APP}/{CLAIM}`, as its instruction says; "
        "without them it is paid 0.01.",
        "",
        "`tests/` and `solution/` hold the answer. The agent's image is built from `environment/` alone.",
        "",
    ]
    return text_file(lines)
