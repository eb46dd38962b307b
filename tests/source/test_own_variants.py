"""Variants of scripts nobody here wrote: proved by their trace, the same bytes each time, nothing touched."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mldebug.cli import cli, run
from mldebug.errors import NoValidVariantError
from mldebug.grader.by_trace.job import Baseline, Tracer, UnusableScriptError
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes
from mldebug.source.factory import OwnRequest, OwnScript, OwnVariant
from mldebug.source.folder import read_own
from mldebug.source.task import own_files


def command(*arguments: object) -> int:
    return run([str(one) for one in arguments], cli, "mldebug")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


class Own:
    """One script of the tests and its original's runs."""

    def __init__(self, path: Path, pool: Pool, timeout: float = 60.0) -> None:
        self.script, self.pool, self.timeout = OwnScript(read_own(path)), pool, timeout
        first = OwnRequest.of("shape", 0, timeout=timeout)
        self.original = Baseline(Tracer(pool.run, self.script.job(first)), self.script.source.workspace)

    def variant(self, bugs: str, seed: int) -> OwnVariant:
        request = OwnRequest.of(bugs, seed, timeout=self.timeout)
        return self.script.verified(request, self.pool.run, self.original)


@pytest.fixture(scope="module")
def old(pool: Pool, scripts: Path) -> Own:
    return Own(scripts / "old_fashioned.py", pool)


@pytest.fixture(scope="module")
def notebook(pool: Pool, scripts: Path) -> Own:
    return Own(scripts / "notebook", pool)


@pytest.mark.parametrize("bug", bug_classes())
def test_every_class_shows_in_the_trace_of_its_mutant(old: Own, bug: str) -> None:
    made = old.variant(bug, 1)
    assert made.verified and made.alert and made.repeatable and made.job.device == "cuda"
    assert made.proof is not None and made.proof.findings[bug].present
    changed = [name for name in made.files if made.files[name] != made.reference[name]]
    assert changed == ["old_fashioned.py"]


def test_a_device_bug_crashes_without_a_gpu(old: Own) -> None:
    made = old.variant("device", 4)
    assert made.proof is not None and made.proof.broken is not None
    assert "cuda:0" in str((made.proof.broken.exception or {}).get("message"))


def test_leakage_says_which_kind_of_evidence_it_has(notebook: Own) -> None:
    kinds = set()
    for seed in range(8):
        made = notebook.variant("leakage", seed)
        assert made.proof is not None
        way, finding = made.injections[0].manifestation, made.proof.findings["data_leakage"]
        kinds.add(finding.facts["evidence"])
        scaled = way in ("scaled_by_all_rows", "normalised_before_split")
        assert finding.facts["evidence"] == ("scale" if scaled else "rows"), way
        if scaled:
            assert "mean 0 and deviation 1" in finding.reason
    assert kinds == {"scale", "rows"}


def test_bugs_of_a_compound_show_alone_in_two_files(pool: Pool, scripts: Path) -> None:
    made = Own(scripts / "trainers", pool).variant("shape,eval", 5)
    assert made.proof is not None and set(made.proof.findings) == {"shape_mismatch", "missing_eval_mode"}
    assert all(finding.present for finding in made.proof.findings.values())


def test_a_broadcast_counts_as_a_shape_bug(notebook: Own) -> None:
    """Without an exception: the loss meets two shapes that the original never has."""
    drafts = (OwnRequest.of("shape", seed) for seed in range(40))
    wanted = next(
        one
        for one in drafts
        if notebook.script.draft(one, 0).injections[0].manifestation == "squeeze_dropped"
    )
    made = notebook.variant("shape", wanted.seed)
    assert made.proof is not None and made.injections[0].manifestation == "squeeze_dropped"
    finding = made.proof.findings["shape_mismatch"]
    assert "broadcasts [32, 1] against [32]" in finding.reason


def test_a_script_without_seeds_repeats_itself_under_the_runner(pool: Pool, scripts: Path) -> None:
    own = Own(scripts / "unseeded.py", pool)
    assert own.variant("zero_grad", 0).repeatable


def test_a_script_seeded_by_the_clock_goes_on_where_classes_can_be_told_apart(
    pool: Pool, scripts: Path
) -> None:
    own = Own(scripts / "clock_seeded.py", pool)
    for bug in ("zero_grad", "eval"):
        assert own.variant(bug, 1).repeatable is False


def test_an_original_that_does_not_finish_is_told_so(pool: Pool, scripts: Path) -> None:
    own = Own(scripts / "endless.py", pool, timeout=2.0)
    with pytest.raises(
        UnusableScriptError, match=r"does not finish within 2 s; give `mldebug gen` a larger --timeout"
    ):
        own.original.check()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_like_it", "MLDEBUG_SHOW"),
        ("open('absent.csv')", "--setup prepares data"),
        ("import os; os._exit(0)", "os._exit"),
        ("print('no training')", "differentiates no loss"),
    ],
)
def test_an_original_that_cannot_be_compared_with(
    pool: Pool, tmp_path: Path, source: str, words: str
) -> None:
    (tmp_path / "train.py").write_text(source + "\n")
    with pytest.raises(UnusableScriptError) as caught:
        Own(tmp_path, pool).original.check()
    assert words in str(caught.value)


def test_a_mutant_without_any_effect_is_discarded_with_the_reason(pool: Pool, tmp_path: Path) -> None:
    """One step from zero: clearing gradients changes nothing, and no other site is there."""
    (tmp_path / "train.py").write_text(
        "import torch\nw = torch.zeros(2, requires_grad=True)\nopt = torch.optim.SGD([w], lr=0.1)\n"
        "for _ in range(1):\n    opt.zero_grad()\n    ((w - 1) ** 2).sum().backward()\n    opt.step()\n"
    )
    with pytest.raises(NoValidVariantError) as caught:
        for seed in range(20):
            Own(tmp_path, pool).variant("zero_grad", seed)
    assert set(caught.value.reasons) <= {"equivalent gradient_not_zeroed", "unclear gradient_not_zeroed"}


def test_the_same_bytes_whatever_was_made_before(old: Own, scripts: Path) -> None:
    request = OwnRequest.of("eval,zero_grad", 3, 2)
    fresh = OwnScript(read_own(scripts / "old_fashioned.py"))
    other = fresh.unverified(OwnRequest.of("shape", 9))
    assert own_files(fresh.unverified(request)) == own_files(old.script.unverified(request))
    assert other.id != fresh.unverified(request).id
    moved = OwnScript(read_own(scripts / "notebook" / "train.py"))
    assert moved.unverified(OwnRequest.of("shape", 9)).id != other.id


def test_gen_writes_a_task_and_changes_nothing_of_the_users(
    scripts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--setup` prepares data in a copy, arguments are passed on, a rerun executes nothing."""
    before = tree(scripts / "prepared")
    line = ["gen", "--bugs", "zero_grad", "--seed", 1, "--source", scripts / "prepared"]
    line += ["--setup", f"{shlex.quote(sys.executable)} prepare.py", "--out", tmp_path / "o", "--", "12"]
    assert command(*line) == 0
    assert tree(scripts / "prepared") == before and "table.txt" not in before
    (task,) = [path.parent for path in (tmp_path / "o").glob("*/task.json")]
    files = tree(task)
    assert "workspace/table.txt" in files and "workspace/prepare.py" in files
    truth, record = (json.loads(files[name]) for name in ("solution/truth.json", "task.json"))
    assert truth["script"] is None and truth["source"]["arguments"] == ["12"] == record["arguments"]
    assert "prepare" in truth["source"]["setup"] and "source" not in record and "bugs" not in record
    validation = json.loads(files["validation.json"])
    assert validation["by"] == "trace" and validation["verified"]
    capsys.readouterr()
    started = time.process_time()
    assert command(*line) == 0
    assert "unchanged" in capsys.readouterr().err and tree(task) == files
    assert time.process_time() - started < 20
    assert command("explain", task) == 0
    out = capsys.readouterr().out
    assert "a script of somebody's own" in out and "Seen when run with this bug alone" in out
    assert command("play", task) == 2 and "episodes" in capsys.readouterr().err


def test_rows_make_the_same_folder_again(
    scripts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["gen", "--bugs", "shape", "--seed", 5, "--source", scripts / "notebook", "--no-verify"]
    assert command(*line, "--jsonl", "--out", tmp_path / "a") == 0
    (tmp_path / "rows.jsonl").write_text(capsys.readouterr().out)
    assert command("materialize", tmp_path / "rows.jsonl", "--out", tmp_path / "b") == 0
    first, second = ({n: c for n, c in tree(tmp_path / x).items() if "/" in n} for x in "ab")
    assert first == second and any(name.endswith("houses.csv") for name in first)
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    for change in ({"id": "0" * 16}, {"files": {"../x.py": ""}}, {"data": {"files": {}}}):
        (tmp_path / "bad.jsonl").write_text(json.dumps(row | change) + "\n")
        assert command("materialize", tmp_path / "bad.jsonl", "--out", tmp_path / "c") == 2


def test_indices_that_draw_the_same_mutant_are_one_task(
    scripts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["gen", "--bugs", "zero_grad", "--seed", 1, "--count", 8, "--source", scripts / "unseeded.py"]
    assert command(*line, "--no-verify", "--out", tmp_path / "o") == 0
    tasks = len(list((tmp_path / "o").glob("*/task.json")))
    said = f"{8 - tasks} of 8 are tasks of earlier indices: not written twice"
    assert 1 < tasks < 8 and said in capsys.readouterr().err
    skipped = [json.loads(one) for one in (tmp_path / "o" / "skipped.jsonl").read_text().splitlines()]
    assert len(skipped) == 8 - tasks and all(0 <= one["same_as"] < one["index"] for one in skipped)
    for count in (3, 8):  # begun with fewer, and gone on with
        line[line.index("--count") + 1] = count
        more = ["--resume"] if count == 8 else []
        assert command(*line, "--no-verify", "--out", tmp_path / "p", *more) == 0
        assert command(*line, "--no-verify", "--jsonl-file", tmp_path / "rows.jsonl", *more) == 0
    assert tree(tmp_path / "p") == tree(tmp_path / "o")
    rows = [json.loads(one) for one in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [one["id"] for one in rows] == [
        json.loads(one)["id"] for one in (tmp_path / "o" / "tasks.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--script", "glyph_cnn", "--source", "."], "choose one"),
        (["--timeout", "5"], "--source"),
        (["--setup", "true"], "--source"),
        (["--", "--epochs", "3"], "--source"),
        (["--source", "absent"], "there is no such file or folder"),
        (["--source", "SCRIPTS/nothing.py"], "it has no site at all"),
        (["--source", "SCRIPTS/broken_syntax.py"], "line 3, column 10"),
        (["--source", "SCRIPTS/unseeded.py", "--timeout", "0"], "--timeout must lie between"),
        (["--source", "SCRIPTS/unseeded.py", "--timeout", "nan"], "--timeout must lie between"),
    ],
)
def test_wrong_usage(
    scripts: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str, tmp_path: Path
) -> None:
    line = ["gen", "--bugs", "zero_grad", "--seed", "1", "--out", str(tmp_path / "o")]
    assert command(*line, *[one.replace("SCRIPTS", str(scripts)) for one in more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_setup_that_fails_or_leaves_what_cannot_be_used(
    scripts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["gen", "--bugs", "zero_grad", "--seed", 1, "--source", scripts / "prepared"]
    line += ["--out", tmp_path / "o", "--setup"]
    assert command(*line, "exit 3") == 1
    assert "ended with exit code 3" in capsys.readouterr().err
    assert command(*line, "ln -s /etc/passwd table.txt") == 2
    assert "symbolic link" in capsys.readouterr().err


def test_ctrl_c_while_a_script_of_the_users_runs(scripts: Path, tmp_path: Path) -> None:
    """In `--setup` and in a run: exit 130, no process and no half-written task left."""
    mark = tmp_path / "started"
    for number, setup in enumerate((f"touch {mark}; sleep 1000", f"touch {mark}")):
        mark.unlink(missing_ok=True)
        line = [sys.executable, "-m", "mldebug.cli", "gen", "--bugs", "zero_grad", "--seed", "1"]
        line += ["--source", str(scripts / "endless.py"), "--timeout", "600", "--setup", setup]
        out = tmp_path / f"o{number}"
        with subprocess.Popen(
            [*line, "--out", str(out)],
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            deadline = time.monotonic() + 120
            while not (mark.exists() and (out.exists() or number == 0)) and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(number)
            process.send_signal(signal.SIGINT)
            _out, said = process.communicate(timeout=60)
        assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        assert not list(out.glob("*/task.json")) and not list(out.glob(".partial*"))
