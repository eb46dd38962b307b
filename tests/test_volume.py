"""Many variants of one request: killed, interrupted, resumed, skipped, and with memory that does not grow."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mldebug import cli, factory
from mldebug.errors import UsageError
from mldebug.factory import Exhausted, Request, Variant, outcomes
from mldebug.mutators.compose import NoCompositionError
from mldebug.output.ledger import Ledger
from mldebug.output.progress import Progress

ROWS = ["--bugs", "shape,eval", "--seed", "7", "--script", "tabular_classifier", "--no-verify"]


def gen(*arguments: str) -> int:
    """`mldebug gen …` in this process."""
    return cli.run(["gen", *arguments], cli.cli, "mldebug")


def stopped(arguments: list[str], cwd: Path, number: int, when: Callable[[], bool]) -> int:
    """The exit status of `mldebug gen …` in a process of its own that gets a signal once `when` holds."""
    running = subprocess.Popen(
        [sys.executable, "-m", "mldebug.cli", "gen", *arguments],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not when() and time.monotonic() < deadline:
        assert running.poll() is None, "it ended before it could be stopped"
        time.sleep(0.01)
    running.send_signal(number)
    return running.wait(60)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "validation.json"
    }


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rows_interrupted_and_killed_and_spoiled_end_as_those_of_one_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gen(*ROWS, "--count", "40", "--jsonl-file", "whole.jsonl") == 0
    whole, part = here / "whole.jsonl", here / "part.jsonl"
    asked = [*ROWS, "--count", "4000", "--jsonl-file", "part.jsonl"]
    assert stopped(asked, here, signal.SIGINT, lambda: lines(part) >= 2) == 130
    first = lines(part)
    assert part.read_bytes() == b"".join(whole.read_bytes().splitlines(True)[:first])
    asked.append("--resume")
    assert stopped(asked, here, signal.SIGKILL, lambda: lines(part) > first) == -signal.SIGKILL
    assert lines(part) < 40
    with part.open("ab") as file:
        file.write(whole.read_bytes().splitlines(True)[lines(part)][:777])
    capsys.readouterr()
    assert gen(*ROWS, "--count", "40", "--jsonl-file", "part.jsonl", "--resume") == 0
    assert "of 40 were done before" in capsys.readouterr().err
    assert part.read_bytes() == whole.read_bytes()
    assert [json.loads(line)["index"] for line in part.open()] == list(range(40))
    assert gen(*ROWS, "--count", "40", "--jsonl-file", "part.jsonl", "--resume") == 0
    assert "unchanged" in capsys.readouterr().err and part.read_bytes() == whole.read_bytes()


def test_a_verified_folder_that_was_killed_ends_as_that_of_one_run(here: Path) -> None:
    asked = ["--bugs", "shape", "--seed", "3", "--script", "tabular_classifier", "--count"]
    tasks = here / "part" / "tasks.jsonl"
    killed = stopped([*asked, "50", "--out", "part"], here, signal.SIGKILL, lambda: lines(tasks) >= 1)
    assert killed == -signal.SIGKILL and lines(tasks) < 2
    before = {path: path.stat().st_mtime_ns for path in (here / "part").glob("*/validation.json")}
    assert gen(*asked, "2", "--out", "part", "--resume") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert gen(*asked, "2", "--out", "whole") == 0
    assert tree(here / "part") == tree(here / "whole") and lines(tasks) == 2
    assert len(list((here / "part").glob("*/validation.json"))) == 2


def test_a_folder_is_completed_trusted_and_grows_with_the_count(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gen(*ROWS, "--count", "6", "--out", "whole") == 0
    assert gen(*ROWS, "--count", "3", "--out", "part") == 0
    ids = [json.loads(line)["id"] for line in (here / "part" / "tasks.jsonl").open()]
    (here / "part" / ids[1]).rename(here / "away")
    with (here / "part" / "tasks.jsonl").open("ab") as file:
        file.write(b'{"id": "0123')
    made: list[int] = []
    unverified = factory.unverified
    monkeypatch.setattr(
        factory, "unverified", lambda request: made.append(request.index) or unverified(request)
    )
    assert gen(*ROWS, "--count", "6", "--out", "part", "--resume") == 0
    assert made == [1, 3, 4, 5] and tree(here / "part") == tree(here / "whole")
    capsys.readouterr()
    assert gen(*ROWS, "--count", "2", "--out", "part", "--resume") == 0
    assert made == [1, 3, 4, 5] and "unchanged" in capsys.readouterr().err
    assert tree(here / "part") == tree(here / "whole")
    (here / "part" / ids[2] / "workspace" / "train.py").write_text("")
    assert gen(*ROWS, "--count", "6", "--out", "part") == 2  # without --resume everything is compared
    assert "workspace/train.py differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "nothing", "--resume"], "nothing was begun in nothing"),
        (["--jsonl-file", "nothing.jsonl", "--resume"], "nothing was begun in nothing.jsonl"),
        (["--resume"], "nothing was begun in mldebug-out"),
        (["--jsonl", "--resume"], "rows on stdout cannot be gone on with"),
        (["--jsonl-file", "x.jsonl", "--out", "x"], "goes with neither"),
        (["--jsonl-file", "x.jsonl", "--jsonl"], "goes with neither"),
        (["--jsonl-file", "mine.txt"], "is there already"),
        (["--jsonl-file", "mine.txt/x.jsonl"], "cannot write there"),
        (["--jsonl-file", "/proc/nowhere/x.jsonl"], "cannot write there"),
    ],
)
def test_what_cannot_be_resumed_or_written_is_exit_2(
    arguments: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.txt").write_text("mine")
    assert gen(*ROWS, *arguments) == 2
    assert message in capsys.readouterr().err
    assert tree(here) == {"mine.txt": b"mine"} and [path.name for path in here.iterdir()] == ["mine.txt"]


def test_another_requests_rows_and_changed_ones_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*ROWS, "--count", "3", "--jsonl-file", "r.jsonl"]
    assert gen(*asked) == 0
    assert gen(*asked) == 0 and "unchanged" in capsys.readouterr().err
    rows = (here / "r.jsonl").read_bytes()
    for other in (["--seed", "8"], ["--bugs", "eval"], ["--script", "glyph_cnn"]):
        assert gen(*asked, *other, "--resume") == 2
        assert "another request" in capsys.readouterr().err
    one, two, three = rows.splitlines(True)
    for spoiled, message in (
        (one + three, "line 2: is not what this request has for index 1"),
        (one + one + two, "line 2: is not what this request has for index 1"),
        (one + b"{half\n" + three, "line 2: is no JSON object"),
        (one + two.replace(b'"seed": 7', b'"seed": 8', 1) + three, "line 2: is not what"),
    ):
        (here / "r.jsonl").write_bytes(spoiled)
        assert gen(*asked, "--resume") == 2
        assert message in capsys.readouterr().err
        assert (here / "r.jsonl").read_bytes() == spoiled
    (here / "r.jsonl").write_bytes(one + two.replace(b"import", b"import ", 1) + three)
    assert gen(*asked) == 2  # without --resume every row is compared
    assert "the row of index 1 differs" in capsys.readouterr().err
    for torn in (one + two[:-1], one + b"\0" * 70_000, one + two[:-9] + b"\n", one[:5]):
        (here / "r.jsonl").write_bytes(torn)
        assert gen(*asked, "--resume") == 0
        assert (here / "r.jsonl").read_bytes() == rows


def test_one_run_at_a_time_writes_to_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mldebug.output.row_file import RowFile

    request = {"bugs": ["shape_mismatch"], "seed": 1, "script": None, "verify": False}
    held = RowFile(here / "r.jsonl", request)
    (here / "r.jsonl").write_bytes(b'{"half')
    with pytest.raises(UsageError, match="another run is writing there"):
        RowFile(here / "r.jsonl", request)
    assert (here / "r.jsonl").read_bytes() == b'{"half'  # what the other run is about to finish
    held.close()
    RowFile(here / "r.jsonl", request).close()


@pytest.fixture
def barren(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Indices 2 and 5 have no candidate that goes together; which indices were drawn for."""
    drawn: list[int] = []
    draft = factory.draft

    def drawing(request: Request, attempt: int) -> Any:
        drawn.append(request.index)
        if request.index in (2, 5):
            raise NoCompositionError("nothing goes together")
        return draft(request, attempt)

    monkeypatch.setattr(factory, "draft", drawing)
    yield drawn


@pytest.mark.parametrize("kind", ["--jsonl-file", "--out"])
def test_an_index_without_a_variant_is_written_down_and_passed_over(
    kind: str, here: Path, barren: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*ROWS, "--count", "7", kind]
    assert gen(*asked, "whole") == 1
    error = capsys.readouterr().err
    assert "index 2: skipped, no valid variant (16 × overlap)" in error
    assert "2 of 7 indices gave no valid variant, index 2 first (32 × overlap)" in error
    folder = kind == "--out"
    made, skipped = (
        (here / "whole" / "tasks.jsonl", here / "whole" / "skipped.jsonl")
        if folder
        else (here / "whole", here / "whole.skipped.jsonl")
    )
    assert [json.loads(line)["index"] for line in made.open()] == [0, 1, 3, 4, 6]
    assert [json.loads(line) for line in skipped.open()] == [
        {"index": index, "reasons": {"overlap": 16}} for index in (2, 5)
    ]
    before = tree(here)
    for kept_rows, kept_skips in ((5, 2), (4, 1), (2, 1), (2, 0)):
        for path, kept in ((made, kept_rows), (skipped, kept_skips)):
            path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:kept]) + b'{"ind')
        barren.clear()
        assert gen(*asked, "whole", "--resume") == 1
        assert "2 of 7 indices gave no valid variant, index 2 first (32 × overlap)" in capsys.readouterr().err
        assert tree(here) == before
        assert sorted(set(barren)) == list(range(kept_rows + kept_skips, 7))
    assert gen(*asked[:-2], "2", kind, "whole", "--resume") == 0  # nothing was skipped among the first two


def test_without_a_place_skipped_indices_are_said(
    here: Path, barren: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gen(*ROWS, "--count", "4", "--jsonl") == 1
    said = capsys.readouterr()
    assert [json.loads(line)["index"] for line in said.out.splitlines()] == [0, 1, 3]
    assert "1 of 4 indices gave no valid variant" in said.err and list(here.iterdir()) == []


def test_requests_are_taken_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def endless() -> Iterator[Request]:
        for index in itertools.count():
            asked.append(index)
            yield Request(("shape_mismatch",), 1, index)

    def fails(request: Request, run: Any, shared: Any) -> Variant:
        raise factory.no_variant(request, {"equivalent x": 16})

    monkeypatch.setattr(factory, "verified", fails)
    known: list[int] = []
    made = outcomes(endless(), jobs=3, known=lambda index: known.append(index))
    for index in range(50):
        outcome = next(made)
        assert isinstance(outcome, Exhausted) and outcome.request.index == index
        assert len(asked) <= index + 2 * 3
    made.close()  # type: ignore[attr-defined]
    assert known == asked == list(range(len(asked)))


def test_reading_a_long_ledger_takes_no_memory(here: Path) -> None:
    filler = "x" * 100
    with (here / "made").open("w") as made, (here / "skipped").open("w") as skipped:
        for index in range(20_000):
            record = {"index": index, "reasons": {"masked": 16}} if index % 100 == 7 else None
            print(json.dumps(record or {"index": index, "id": filler}), file=skipped if record else made)
    tracemalloc.start()
    ledger = Ledger(here / "made", here / "skipped", {}, limit=10_000)
    found = [ledger.at(index) is not None for index in (0, 7, 8, 19_999, 20_000)]
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    ledger.close()
    assert found == [True, True, True, True, False]
    assert ledger.count == 20_000 and ledger.skips.count == 100 and ledger.skips.first == 7
    assert peak < 1_000_000 < (here / "made").stat().st_size


def test_a_line_that_cannot_be_written_whole_is_not_written(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(here / "made", here / "skipped", {}, limit=9)
    ledger.add(0, b'{"index": 0}')
    write = os.write
    taken = iter([3])

    def full(descriptor: int, content: Any) -> int:
        if (room := next(taken, None)) is None:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[:room])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        ledger.add(1, b'{"index": 1}')
    monkeypatch.setattr(os, "write", write)
    assert (here / "made").read_bytes() == b'{"index": 0}\n'
    ledger.add(1, b'{"index": 1}')
    ledger.close()
    assert Ledger(here / "made", here / "skipped", {}, limit=9).count == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_rate_and_time_left_on_a_terminal_only() -> None:
    now = [0.0]
    screen = Terminal()
    line = Progress(1000, "generating", screen, clock=lambda: now[0])
    assert line.line() == "generating 0/1,000 (0%)"
    for _ in range(600):
        line.keep()
    assert line.rate is None
    for _ in range(100):
        now[0] += 0.5
        line.advance()
    assert line.line() == "generating 700/1,000 (70%), 2.0/s, 0:02:30 left"
    for _ in range(10):
        now[0] += 30
        line.advance()
    assert line.rate is not None and line.rate < 1 and "/min" in line.line()
    line.say("index 9: skipped")
    line.close()
    shown = screen.getvalue()
    assert "index 9: skipped\n" in shown and shown.endswith("left\n") and shown.count("\r") > 50
    for total, stream in ((1000, io.StringIO()), (1, Terminal())):
        quiet = Progress(total, "generating", stream, clock=lambda: now[0])
        quiet.advance()
        quiet.close()
        assert stream.getvalue() == ""


@pytest.mark.deep
def test_memory_is_the_same_after_a_thousand_rows_and_after_a_hundred_thousand(
    evidence: Callable[[str, dict[str, Any]], None],
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mldebug.benchmark.perf.volume"], capture_output=True, text=True, check=True
    )
    held = {int(line.split()[0].replace(",", "")): int(line.split()[2]) for line in done.stdout.splitlines()}
    evidence("volume", {"mib_after_rows": held})
    assert max(held) == 100_000
    assert held[100_000] < 1.1 * held[1000] + 10, held
