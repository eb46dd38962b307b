"""Releases: frozen whole, made again byte for byte, executed again; whatever is changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mldebug import cli
from mldebug.benchmark.release import freeze as freezing
from mldebug.benchmark.release import verify as verifying
from mldebug.benchmark.release.compare import Deviations, alike
from mldebug.benchmark.release.difficulty import difficulty, read_outcomes
from mldebug.benchmark.release.freeze import Secret, Workshop, freeze
from mldebug.benchmark.release.layout import MANIFEST, SUMS, json_lines, root_of, sha256, sums
from mldebug.benchmark.release.plan import Plan, Selection
from mldebug.benchmark.release.verify import Report, verify
from mldebug.benchmark.running.rows import TaskFile
from mldebug.errors import MldebugError, UsageError
from mldebug.factory import Exhausted, Request, draft
from mldebug.output.progress import progress
from mldebug.task_folder import canonical_json, json_row, read_rows
from mldebug.versions import run_by

from .report.synthetic import make_run

SECRET = "0123456789abcdef0123456789abcdef"


def plan(**changed: Any) -> Plan:
    asked: dict[str, Any] = {"release": "v0.0", "seed": 3, "count": 3, "date": "2020-02-20"}
    return Plan.of(**(asked | {"bugs": ("shape", "eval")} | changed))


def bench(*arguments: str) -> int:
    return cli.run(["bench", *arguments], cli.cli, "mldebug")


def release(folder: Path, resume: bool) -> freezing.Frozen:
    secret = Secret(plan().secret_part(SECRET, 2), folder / "v0.0-private")
    with progress(5, "freezing") as line:
        return freeze(plan(notes="A first one."), folder / "v0.0", line, secret=secret, resume=resume)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of three tasks with a secret part of two, interrupted after the second task and resumed."""
    folder = tmp_path_factory.mktemp("releases")
    count = 0

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        nonlocal count
        for one in whole(*arguments, **options):
            count += 1
            if count == 2:
                raise KeyboardInterrupt
            yield one

    whole = freezing.outcomes
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(freezing, "outcomes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            release(folder, resume=False)
    assert [one.name for one in folder.iterdir()] == [".partial-v0.0"]
    with pytest.raises(UsageError, match="--resume, or remove it"):
        release(folder, resume=False)
    asked: list[int] = []

    def counted(requests: Any, **options: Any) -> Any:
        listed = list(requests)
        asked.append(len(listed))
        return whole(listed, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(freezing, "outcomes", counted)
        done = release(folder, resume=True)
    assert asked[:1] == [2], "the task that was written down is not executed again"
    assert sum(asked) >= 4
    assert sorted(one.name for one in folder.iterdir()) == ["v0.0", "v0.0-private"]
    assert done.root == json.loads((folder / "v0.0" / MANIFEST).read_text())["root"]
    return folder / "v0.0"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def tasks_of(folder: Path) -> list[Path]:
    return [one for one in sorted((folder / "tasks").iterdir()) if one.stat().st_size]


def names(report: Report) -> set[str]:
    return {one.where for one in report.problems}


@pytest.fixture
def copy(frozen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(frozen, tmp_path / "v0.0"))


def forge(folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Change the manifest, and make all hashes fit again, as somebody would who wants not to be found out."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    content = {one.relative_to(folder).as_posix(): one for one in folder.rglob("*") if one.is_file()}
    rest = {name: one.read_bytes() for name, one in content.items() if name not in (MANIFEST, SUMS)}
    manifest["files"] = {
        name: {"sha256": sha256(text), "bytes": len(text)} for name, text in sorted(rest.items())
    }
    manifest["root"] = root_of(manifest)
    text = canonical_json(manifest).encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / SUMS).write_bytes(sums({name: sha256(one) for name, one in (rest | {MANIFEST: text}).items()}))


def test_a_release_is_as_it_was_frozen_and_its_outcomes_repeat(frozen: Path) -> None:
    report = verify(frozen, sample=1)
    assert not report.problems
    assert (report.tasks, report.regenerated, report.executed, report.repeated) == (3, 3, 1, 1)
    assert (report.deviations.metric, report.deviations.effect) == (0, 0), "one machine measures the same"
    assert report.tasks_per_second and report.root
    assert not verify(frozen.parent / "v0.0-private", sample=0).problems
    assert not verify(frozen, sample=0, secret=frozen.parent / "v0.0-private", root=report.root).problems


def test_every_flipped_byte_is_found_and_named(frozen: Path, copy: Path) -> None:
    for path in sorted(one for one in copy.rglob("*") if one.is_file() and one.stat().st_size):
        whole, name = path.read_bytes(), path.relative_to(copy).as_posix()
        for place in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert name in names(verify(copy, sample=0)), (name, place)
        path.write_bytes(whole)
    assert not verify(copy, sample=0).problems


@pytest.mark.parametrize("name", ["README.md", "solutions.jsonl", "validation.jsonl", MANIFEST, SUMS])
def test_a_missing_file_is_named(copy: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / name).unlink()
    assert bench("verify", str(copy), "--sample", "0") == 1
    assert f"WRONG {name}: is missing" in capsys.readouterr().out


def test_a_file_too_many_is_named(copy: Path) -> None:
    (copy / "tasks" / "more.jsonl").write_text("{}\n")
    assert names(verify(copy, sample=0)) == {"tasks/more.jsonl"}


def test_a_stale_version_is_named_though_all_hashes_fit(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(copy, lambda manifest: manifest["versions"].update(engine="1"))
    assert bench("verify", str(copy)) == 1
    said = capsys.readouterr().out
    assert "manifest.json: stale version: made by engine 1" in said
    assert "executed again: none" in said


def test_another_torch_is_said_and_is_no_problem(frozen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = run_by() | {"torch": "9.0.0"}
    monkeypatch.setattr(verifying, "run_by", lambda: here)
    report = verify(frozen, sample=0)
    assert not report.problems
    assert any("here it is 9.0.0" in note for note in report.notes)


def test_forged_rows_are_found_though_all_hashes_fit(frozen: Path, tmp_path: Path) -> None:
    def forged(name: str, change: Callable[[dict[str, Any]], None]) -> list[str]:
        copy = tmp_path / "v0.0"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(frozen, copy)
        rows = lines(copy / name)
        change(rows[0])
        (copy / name).write_bytes(json_lines(rows))
        forge(copy)
        return [str(one) for one in verify(copy, sample=0).problems]

    def harder(row: dict[str, Any]) -> None:
        row["level"] = 5 if row["level"] != 5 else 4

    tasks = f"tasks/{tasks_of(frozen)[0].name}"
    assert any(
        "files.train.py" in one for one in forged(tasks, lambda row: row["files"].update({"train.py": ""}))
    )
    assert any("reference.train.py" in one for one in forged(
        "solutions.jsonl", lambda row: row["reference"].update({"train.py": ""})
    ))  # fmt: skip
    assert any("its request gives task" in one for one in forged(
        "solutions.jsonl", lambda row: row["truth"].update(seed=4)
    ))  # fmt: skip
    assert any("its level is" in one for one in forged("validation.jsonl", harder))
    assert any("alert" in one for one in forged(tasks, lambda row: row.update(alert="All is well.")))


def test_a_removed_task_a_forged_plan_and_a_wrong_root_are_found(copy: Path) -> None:
    assert names(verify(copy, sample=0, root="0" * 64)) == {MANIFEST}
    gone = lines(copy / "solutions.jsonl")[0]["id"]
    for path in (*tasks_of(copy), copy / "solutions.jsonl", copy / "validation.jsonl"):
        path.write_bytes(json_lines(row for row in lines(path) if row["id"] != gone))
    forge(copy)
    assert any("neither a task nor a reason" in one.what for one in verify(copy, sample=0).problems)
    forge(copy, lambda manifest: manifest["plan"].update(sets=[]))
    assert any("cannot be read" in one.what for one in verify(copy, sample=0).problems)


def test_a_secret_part_that_was_exchanged_is_found(copy: Path, frozen: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(frozen.parent / "v0.0-private", tmp_path / "v0.0-private"))
    rows = lines(other / "solutions.jsonl")
    (other / "solutions.jsonl").write_bytes(json_lines(rows[:-1]))
    found = verify(copy, sample=0, secret=other).problems
    assert [one.what for one in found] == ["is not the secret part that the release is committed to"]


def test_what_does_not_repeat_is_said(frozen: Path) -> None:
    row = lines(frozen / "validation.jsonl")[0]
    now = json.loads(json.dumps(row))
    now["mutant"]["outcome"] = "other"
    now["reference"]["hidden"] += 0.1
    next(iter(now["findings"].values()))["present"] = False
    found = Deviations()
    said = list(found.compare(row, now))
    assert len(said) == 3 and found.metric == pytest.approx(0.1)
    assert not list(found.compare(row, row))


def test_an_agent_is_given_nothing_of_the_truth(frozen: Path) -> None:
    shown = {"alert", "budget", "canary", "data_sha256", "entrypoint", "files", "id", "release", "schema"}
    for path in tasks_of(frozen):
        for row in lines(path):
            assert set(row) == shown | {"split", "tools"}


def test_rows_of_a_release_are_rows_like_others(frozen: Path, tmp_path: Path) -> None:
    truths = {row["id"]: row["truth"] for row in lines(frozen / "solutions.jsonl")}
    for path in tasks_of(frozen):
        for row in read_rows(path):
            truth = truths[row["id"]]
            request = Request(tuple(truth["bugs"]), truth["seed"], truth["index"])
            drawn = json_row(draft(request, truth["attempt"]).variant)
            assert row == drawn | {"alert": row["alert"], "verified": True}
        out = tmp_path / path.stem
        assert cli.run(["materialize", str(path), "--out", str(out)], cli.cli, "mldebug") == 0
        assert {one.parent.name for one in out.glob("*/task.json")} == {row["id"] for row in lines(path)}


def test_an_agents_part_alone_cannot_be_made_into_tasks(frozen: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    alone = Path(shutil.copy(tasks_of(frozen)[0], tmp_path / "tasks"))
    with pytest.raises(UsageError, match=r"agents may see.*solutions.jsonl"):
        list(read_rows(alone))


def test_a_release_is_never_changed(frozen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("freeze", str(frozen), "--seed", "3", "--count", "3", "--bugs", "shape") == 2
    assert "never changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["first", "--seed", "1", "--count", "2"], "named for its version"),
        (["v1.0", "--seed", "1", "--count", "2"], "each needs a task"),
        (["v1.0", "--seed", "-1", "--count", "40"], "seed must be"),
        (["v1.0", "--seed", "1", "--count", "1", "--bugs", "shape", "--resume"], "nothing was begun"),
        (["v1.0", "--seed", "1", "--count", "30", "--held-out", "none"], "is no script"),
        (["v1.0", "--seed", "1", "--count", "30", "--private", "v1.0-private"], "MLDEBUG_PRIVATE_SEED"),
        (["v1.0", "--seed", "1", "--count", "30", "--date", "today"], "YYYY-MM-DD"),
    ],
)
def test_wrong_usage_is_explained_and_leaves_nothing(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLDEBUG_PRIVATE_SEED", raising=False)
    assert bench("freeze", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_secret_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(UsageError, match="by trying"):
        plan().secret_part("1234", 3)
    assert plan().secret_part(SECRET, 3).seed != plan().secret_part(SECRET[::-1], 3).seed


def test_another_plan_does_not_go_on_with_what_was_begun(tmp_path: Path) -> None:
    Workshop(tmp_path / "v0.0", plan(), resume=False).close()
    with pytest.raises(UsageError, match="another plan"):
        Workshop(tmp_path / "v0.0", plan(seed=4), resume=True)
    shop = Workshop(tmp_path / "v0.0", plan(date="2021-01-01"), resume=True)
    assert shop.plan.date == "2020-02-20", "the day it was begun"
    with pytest.raises(UsageError, match="another run"):
        Workshop(tmp_path / "v0.0", plan(), resume=True)
    shop.close()


def test_a_request_that_gives_nothing_is_made_up_for_by_a_further_index() -> None:
    asked = plan()
    selection = Selection(asked)
    first = selection.round()
    assert [(one.bugs, one.index) for one in first] == [
        (("shape_mismatch",), 0),
        (("missing_eval_mode",), 0),
        (("shape_mismatch",), 1),
    ]
    for slot in first[1:]:
        selection.took(slot)
    (again,) = selection.round()
    assert (again.bugs, again.index) == (("shape_mismatch",), 2)
    selection.took(again)
    assert not selection.round()


def test_the_same_program_is_not_taken_twice_and_a_withdrawn_task_not_at_all() -> None:
    choice = freezing.Choice(plan(withdrawn=("bad",)), {"known": "elsewhere"})
    slots = choice.selection.round()

    def taken(id: str, form: str) -> bool:
        record = {"task": {"id": id}, "solution": {"form": form}, "measured": {"traits": TRAITS}}
        return choice.take(slots[0], record)

    assert not taken("a", "known")
    assert not taken("bad", "b")
    assert not choice.take(slots[0], {"reasons": {"masked": 16}})
    assert taken("c", "c")
    assert not taken("d", "c")
    content = choice.content({"c": {"grep": 0.99}}, "")
    assert [(row["id"], row["level"]) for row in content.validations] == [("c", 1)]
    assert [set(one) - {"bugs", "index"} for one in content.skipped] == [
        {"same_form_as"},
        {"withdrawn"},
        {"reasons"},
        {"same_form_as"},
    ]


def test_splits_follow_the_form_and_the_script_alone() -> None:
    asked = plan(held_out="machine_gru")
    assert asked.split("machine_gru", "any") == "test_new_scripts"
    found = [asked.split("glyph_cnn", f"form {n}") for n in range(2000)]
    assert found == [
        plan(seed=9, held_out="machine_gru").split("tabular_classifier", f"form {n}") for n in range(2000)
    ]
    shares = {one: found.count(one) / 2000 for one in ("train", "validation", "test")}
    assert shares == pytest.approx({"train": 0.60, "validation": 0.15, "test": 0.25}, abs=0.04)


TRAITS = {
    "symptom": "crash",
    "bugs": 1,
    "lines_apart": 0,
    "modules_apart": 0,
    "changed_lines": 2,
    "distractors": 0,
}


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        ({}, 1),
        ({"lines_apart": 30}, 2),
        ({"modules_apart": 1, "lines_apart": None}, 2),
        ({"symptom": "not finite", "lines_apart": None, "modules_apart": None}, 2),
        ({"symptom": "silent", "lines_apart": None, "modules_apart": None}, 3),
        ({"symptom": "silent", "bugs": 2, "lines_apart": None, "modules_apart": None}, 4),
        ({"bugs": 2, "symptom": "silent", "changed_lines": 9, "distractors": 2}, 5),
    ],
)
def test_levels_from_traits(changed: dict[str, Any], level: int) -> None:
    assert difficulty(TRAITS | changed, {}) == level


@pytest.mark.parametrize(
    ("rungs", "level"),
    [([0.99, 0.99], 1), ([0.99, 0.2], 2), ([0.99, 0.2, 0.2], 3), ([0.6, 0.01], 4), ([0.4, 0.2], 5)],
)
def test_levels_from_agents(rungs: list[float], level: int) -> None:
    assert difficulty(TRAITS, {f"agent {n}": rung for n, rung in enumerate(rungs)}) == level


def test_outcomes_are_read_and_checked(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text('{"a": {"grep": 0.99}}')
    other.write_text('{"a": {"pdb": 0.2, "print": 0.0}}')
    assert read_outcomes([one, other]) == {"a": {"grep": 0.99, "pdb": 0.2, "print": 0.0}}
    for wrong, said in (
        ('{"a": {"grep": 0.2}}', "another file"),
        ('{"a": {"x": 0.5}}', "no rung"),
        ("[]", "one object"),
    ):
        other.write_text(wrong)
        with pytest.raises(UsageError, match=said):
            read_outcomes([one, other])


def test_outcomes_are_those_of_a_runs_agents_that_tried(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ("null", "oracle", "random", "rules"), tasks=2)
    assert read_outcomes([run]) == {"0" * 16: {"rules@5": 0.99}, "0" * 15 + "1": {"rules@5": 0.2}}
    unfinished = make_run(tmp_path / "unfinished", finished=False)
    with pytest.raises(UsageError, match="not finished"):
        read_outcomes([run, unfinished])
    with pytest.raises(UsageError, match="is no run"):
        read_outcomes([tmp_path])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Final loss: 0.96. Final r squared: 0.80.", "Final loss: 0.93. Final r squared: 0.80.", True),
        ("Final loss: 0.96.", "Final loss: 0.50.", False),
        ("Final loss: nan.", "Final loss: nan.", True),
        ("Final loss: 1.2e+09.", "Final loss: 1.2e+06.", False),
        ("failed with exit code 1, before", "failed with exit code 2, before", False),
    ],
)
def test_alerts_may_round_otherwise_and_no_more(one: str, other: str, same: bool) -> None:
    assert alike(one, other) is same


def test_a_set_that_gives_nothing_ends_the_freeze_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(requests: Any, **options: Any) -> Iterator[Exhausted]:
        yield from (Exhausted(one, {"masked": 16}) for one in requests)

    monkeypatch.setattr(freezing, "outcomes", nothing)
    with progress(3, "freezing") as line, pytest.raises(MldebugError, match="0 of 2 tasks came of"):
        freeze(plan(), tmp_path / "v0.0", line)
    assert not (tmp_path / "v0.0").exists()


def test_agents_play_a_release_as_it_lies(frozen: Path, copy: Path) -> None:
    """The part that agents may see names no class; a run takes what it grades by from the solutions."""
    truths = {one["id"]: one["truth"] for one in lines(frozen / "solutions.jsonl")}
    played = [(one, TaskFile(one)) for one in tasks_of(frozen)]
    assert sum(len(tasks) for _file, tasks in played) == 3
    for file, tasks in played:
        assert all("bugs" not in row and "script" not in row for row in lines(file))
        for entry in tasks.entries:
            assert entry.bugs == tuple(truths[entry.id]["bugs"])
            prepared = tasks.prepared(entry)
            assert prepared.task.bugs == entry.bugs and prepared.task.reference != prepared.task.broken
    (copy / "solutions.jsonl").unlink()
    with pytest.raises(UsageError, match=r"alone cannot be made into tasks; .*solutions.jsonl"):
        TaskFile(tasks_of(copy)[0])
