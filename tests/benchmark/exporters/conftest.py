"""A small release of tasks that were proved long ago, laid out by the code that lays out releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mldebug.benchmark.exporters.bundle import Bundle, read_bundle
from mldebug.benchmark.release.layout import Content
from mldebug.benchmark.release.plan import Plan
from mldebug.task_folder import agent_record
from mldebug.versions import made_by, run_by

from ...written import rows

SPLITS = {
    "shape-tabular-1": "train",
    "eval-leakage-glyph-1": "train",
    "zero_grad-machine-1": "test",
}
PLAN = Plan.of("v0.0", 3, 3, "2020-02-20", bugs=("shape", "eval,leakage", "zero_grad"))


def content(names: dict[str, str] = SPLITS) -> Content:
    """The release of these tasks. What their proofs measured is not known any more: figures stand for it."""
    stamp = {"release": PLAN.release, "canary": PLAN.canary}
    tasks: list[dict[str, Any]] = []
    solutions: list[dict[str, Any]] = []
    measured: list[dict[str, Any]] = []
    for name, split in names.items():
        row = rows()[name]
        shown = agent_record(row["id"], row["alert"], row["entrypoint"])
        shown |= {"split": split, "files": row["files"], "data_sha256": row["data"]["sha256"]}
        tasks.append(stamp | shown)
        solutions.append(
            stamp | {"id": row["id"], "form": name, "reference": row["reference"], "truth": row["truth"]}
        )
        mutant = {"outcome": "finished", "exit_code": 0}
        rest = {"id": row["id"], "mutant": mutant, "discarded": [], "agents": {}, "level": 3}
        measured.append(stamp | rest)
    return Content(PLAN, tasks, solutions, measured, [], made_by() | run_by())


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases") / PLAN.release
    for name, text in content().files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return folder


@pytest.fixture(scope="session")
def bundle(release: Path) -> Bundle:
    return read_bundle(release)


def row_file(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in found), "utf-8")
    return path
