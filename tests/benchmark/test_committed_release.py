"""The releases in this repository: whole, made of their seeds, and with the outcomes that they say.

The default suite makes again and executes a few of the tasks, `--deep` all of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from mldebug.benchmark.release.compare import Deviations
from mldebug.benchmark.release.layout import MANIFEST, SOLUTIONS, VALIDATION, json_line, tasks_file
from mldebug.benchmark.release.plan import PUBLIC, Plan
from mldebug.benchmark.release.regenerate import redraw, rows_again
from mldebug.benchmark.release.verify import Report, measure_again, read_release, verify
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes
from mldebug.seeds import ENGINES

RELEASES = Path(__file__).resolve().parents[2] / "benchmark" / "releases"
FOLDERS = sorted(one for one in RELEASES.glob("v*") if one.is_dir())
ONE_IN = 21
"""Of so many tasks, the default suite makes one again; of thrice as many it executes one."""

every_release = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@cache
def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST).read_text("utf-8"))


@cache
def rows(path: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def tasks(folder: Path) -> dict[str, dict[str, Any]]:
    return {id: row for split in PUBLIC for id, row in rows(folder / tasks_file(split)).items()}


def of_this_engine(folder: Path) -> None:
    made_by = manifest(folder)["versions"]["engine"]
    if made_by not in ENGINES:
        pytest.skip(f"made by engine {made_by}, this version makes what {', '.join(ENGINES)} made")


def test_there_is_one() -> None:
    assert FOLDERS


@every_release
def test_every_byte_is_as_it_was_frozen(folder: Path) -> None:
    report = Report()
    assert read_release(folder, report) is not None and not report.problems
    assert report.release == folder.name


@every_release
def test_it_holds_every_class_and_pair_and_level(folder: Path) -> None:
    truths = [row["truth"] for row in rows(folder / SOLUTIONS).values()]
    counted = Counter(tuple(one["bugs"]) for one in truths)
    classes = bug_classes()
    wanted = [(one,) for one in classes] + [tuple(sorted(one)) for one in combinations(classes, 2)]
    assert len(truths) >= 240 and set(counted) == set(wanted)
    assert max(counted.values()) - min(counted.values()) <= 1
    proofs = rows(folder / VALIDATION)
    assert {row["level"] for row in proofs.values()} == {1, 2, 3, 4, 5}
    assert (
        all(row["agents"] for row in proofs.values()) and manifest(folder)["levels_follow_from"] == "agents"
    )
    assert len(manifest(folder)["private"]["solutions_sha256"]) == 64


@every_release
def test_no_program_is_in_two_splits(folder: Path) -> None:
    plan, solutions, found = Plan.read(manifest(folder)["plan"]), rows(folder / SOLUTIONS), tasks(folder)
    assert found.keys() == solutions.keys() and len({row["form"] for row in solutions.values()}) == len(found)
    assert len({json.dumps(row["files"], sort_keys=True) for row in found.values()}) == len(found)
    assert all(any(row["split"] == split for row in found.values()) for split in PUBLIC)
    for id, row in found.items():
        script = solutions[id]["truth"]["script"]
        assert (row["split"] == "test_new_scripts") == (script in plan.held_out)
        assert row["split"] == plan.split(script, solutions[id]["form"])


@every_release
def test_a_tasks_row_says_nothing_of_its_answer(folder: Path) -> None:
    for row in tasks(folder).values():
        assert not row.keys() & {"bugs", "script", "seed", "level", "data", "truth", "reference", "device"}


@every_release
def test_tasks_are_made_again_byte_for_byte(folder: Path) -> None:
    of_this_engine(folder)
    found, plan = tasks(folder), Plan.read(manifest(folder)["plan"])
    for solution in list(rows(folder / SOLUTIONS).values())[::ONE_IN]:
        task, again = rows_again(solution, found[solution["id"]]["alert"], plan)
        assert json_line(task) == json_line(found[solution["id"]])
        assert json_line(again) == json_line(solution)


@every_release
def test_outcomes_repeat(folder: Path, pool: Pool) -> None:
    of_this_engine(folder)
    deviations = Deviations()
    for solution in list(rows(folder / SOLUTIONS).values())[:: 3 * ONE_IN]:
        now = measure_again(redraw(solution), pool)
        assert not isinstance(now, str), now
        assert not list(deviations.compare(rows(folder / VALIDATION)[solution["id"]], now))


@pytest.mark.deep
@every_release
def test_the_whole_release_verifies(folder: Path, evidence: Callable[[str, dict[str, Any]], None]) -> None:
    of_this_engine(folder)
    report = verify(folder, jobs=2)
    evidence(f"release_{folder.name}", report.record())
    assert not report.problems, report.problems
    assert report.tasks == report.regenerated == report.executed == report.repeated >= 240
