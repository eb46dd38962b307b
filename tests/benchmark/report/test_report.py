"""What a report counts and writes: the figures, the files, the errors, and the same bytes every time."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mldebug.benchmark.report import pictures, targets
from mldebug.benchmark.report.figures import END, OTHERS, START, flow, heat, interval, leaderboard, rungs
from mldebug.benchmark.report.page import data, page
from mldebug.benchmark.report.reading import read
from mldebug.benchmark.report.texts import in_a_line, shown
from mldebug.benchmark.report.trajectories import LONGEST, pack
from mldebug.cli import bench
from mldebug.cli import run as command
from mldebug.errors import UsageError

from ...written import rows
from .synthetic import HOSTILE, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run")


def said(*arguments: object, code: int = 0) -> str:
    got = CliRunner().invoke(bench, ["report", *map(str, arguments)], standalone_mode=False)
    if code:
        assert isinstance(got.exception, UsageError) and got.exception.exit_code == code, got.exception
        return str(got.exception)
    assert got.exception is None, got.exception
    return got.stdout


def test_an_interval_holds_the_mean_of_the_source_as_often_as_it_says() -> None:
    draw = np.random.default_rng(5)
    held = sum((one := interval(draw.random(60) < 0.4)).low <= 0.4 <= one.high for _ in range(200))
    assert 178 <= held <= 198, held


def test_intervals_by_hand() -> None:
    # of two tasks, one solved: the mean of a resample is 0, 1/2 or 1, with 1/4, 1/2, 1/4
    assert vars(interval([True, False])) == {"mean": 0.5, "low": 0.0, "high": 1.0}
    assert vars(interval([0.2] * 7)) == {"mean": 0.2, "low": 0.2, "high": 0.2}
    many = interval([0.0, 1.0] * 500)  # the normal approximation holds: 1.96 × 0.5 / √1000
    assert many.low == pytest.approx(0.469, abs=0.003) and many.high == pytest.approx(0.531, abs=0.003)
    assert interval([1.0, 0.0, 0.0]) == interval([0.0, 0.0, 1.0])
    large = interval([0.0, 1.0] * 400_000)  # drawn in parts
    assert large.low == pytest.approx(0.5, abs=0.002) and large.low < 0.5 < large.high


def test_figures(run: Path) -> None:
    outcomes = read([run]).outcomes
    board = leaderboard(outcomes)
    assert [(one.who, one.tasks, one.solved.mean) for one in board] == [
        ("oracle", 6, 1.0),
        ("rules", 6, 0.5),
        ("null", 6, 0.0),
    ]
    assert board[1].score.mean == pytest.approx((0.99 + 0.2) / 2)
    assert board[1].seconds == 1.5 and board[1].steps == 2
    assert rungs(outcomes)["rules"] == {0.0: 0, 0.01: 0, 0.2: 3, 0.4: 0, 0.6: 0, 0.8: 0, 0.99: 3}
    table = {(one.bugs, one.exact): one.cells["rules"] for one in heat(outcomes)}
    assert table == {
        (("data_leakage",), False): (1, 2),
        (("missing_eval_mode",), False): (2, 4),
        (("shape_mismatch",), False): (1, 2),
        (("missing_eval_mode",), True): (1, 2),
        (("shape_mismatch",), True): (1, 2),
        (("data_leakage", "missing_eval_mode"), True): (1, 2),
    }


def test_flow_counts_every_pair_of_actions() -> None:
    found = flow([["view", "view", "fix"], ["fix"], []])
    assert found.names == ("fix", "view")
    assert dict(found.counts) == {
        (START, "view"): 1,
        ("view", "view"): 1,
        ("view", "fix"): 1,
        (START, "fix"): 1,
        ("fix", END): 2,
        (START, END): 1,
    }
    many = flow([[f"made_up_{n}" for n in range(100)]])
    assert len(many.names) == 24 and many.names[-1] == OTHERS and sum(many.counts.values()) == 101


def test_terminal_and_json(run: Path) -> None:
    shown_table = said(run)
    assert re.search(r"rules +6 +50% +17–83% +0\.595", shown_table), shown_table
    assert re.search(r"shape_mismatch +100% \(2/2\) +50% \(1/2\) +0% \(0/2\)", shown_table)
    found = json.loads(said(run, "--json"))
    assert [one["agent"] for one in found["agents"]] == ["oracle", "rules", "null"]
    assert found["agents"][1]["solved"] == {"mean": 0.5, "low": 0.166667, "high": 0.833333}
    assert found["bootstrap"]["resamples"] == 10_000 and found["cautions"] == []


def test_several_runs_are_told_apart(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "later" / "run", ("null", "random"), 7)
    found = read([run, other])
    above = run.parent.name
    assert found.agents == ["null (later/run)", f"null ({above}/run)", "oracle", "random", "rules"]
    assert "not over the same tasks" in said(run, other)
    assert "named twice" in said(run, run.parent / "." / "run", code=2)


def files_of(page_text: str) -> list[list[dict[str, Any]]]:
    packed = re.search(r'<script type="application/json" id="packed">(.*?)</script>', page_text)
    assert packed
    return [json.loads(gzip.decompress(base64.b64decode(one))) for one in json.loads(packed[1])]


class Tags(HTMLParser):
    """What a browser finds: tags with their attributes, and what stands in script and style blocks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, str]] = []
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, found: str) -> None:
        if found.strip() and self.tags[-1][0] in ("script", "style"):
            self.blocks.append((self.tags[-1][1].get("type") or self.tags[-1][0], found))


def test_what_agents_wrote_is_text_in_the_page(tmp_path: Path) -> None:
    found = page(read([make_run(tmp_path / "run", hostile=HOSTILE)]))
    assert found.isascii()
    parsed = Tags(found)
    kinds = [kind for kind, _ in parsed.blocks]
    assert kinds == ["style", "application/json", "application/json", "script"]
    assert all("<" not in text for kind, text in parsed.blocks if kind == "application/json")
    assert not {tag for tag, _ in parsed.tags} & {
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "video",
        "audio",
    }
    for tag, attributes in parsed.tags:
        assert not [one for one in attributes if one.startswith("on") or one in ("style", "src")], tag
        assert tag != "link" and not str(attributes.get("href", "#")).startswith(("http", "/", "data"))
    policy = next(one["content"] for _, one in parsed.tags if "http-equiv" in one)
    for kind, text in parsed.blocks:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert (f"{kind}-src 'sha256-{digest}'" in str(policy)) == (kind in ("script", "style"))
    assert "default-src 'none'" in str(policy) and "unsafe" not in str(policy)
    episode = files_of(found)[0][0]
    assert "</script><script>" in episode["steps"][0]["text"]  # nothing is lost
    assert "⟨U+202E⟩" in episode["steps"][0]["text"] and "⟨U+D800⟩" in episode["steps"][1]["text"]


@pytest.mark.parametrize("value", ["</script>", "<!--", "\u2028\u2029", "&lt;", "\ud800", '"\\'])
def test_data_survives_a_block_of_a_page(value: str) -> None:
    found = data([value, {value: 1}])
    assert json.loads(found) == [value, {value: 1}]
    assert found.isascii() and not set(found) & set("<>&")


def test_what_cannot_be_seen_is_made_visible() -> None:
    assert shown("a\nb\tc\x1b[0m\r\x7f\u202e") == "a\nb\tc⟨U+001B⟩[0m⟨U+000D⟩⟨U+007F⟩⟨U+202E⟩"
    assert in_a_line("a\nb") == "a⟨U+000A⟩b"


def test_odd_json_of_an_agent_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ("null",), 1)
    (path,) = run.glob("trajectories/null/*.jsonl")
    lines = path.read_text().splitlines()
    deep = '{"type":' + "[" * 300 + "]" * 300 + ',"n":[NaN,-Infinity],"b":true}'
    lines[2] = json.dumps(json.loads(lines[2]) | {"action": 0}).replace('"action": 0', f'"action":{deep}')
    lines[3] = json.dumps(json.loads(lines[3]) | {"observation": [{"a": None}]})
    path.write_text("\n".join(lines) + "\n")
    first, second = files_of(page(read([run])))[0][0]["steps"]
    assert first["use"] == "none" and first["action"]["n"] == ["nan", "-inf"]
    assert "nested too deeply" in json.dumps(first["action"]["type"], ensure_ascii=False)
    assert second["text"] == '[{"a": null}]' and second["done"] is False


def test_a_page_stays_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(33, 120, 4_000_000).astype(np.uint8).tobytes().decode()
    found = read([make_run(tmp_path / "long", ("null",), 2, text=noise)])
    whole = page(found)
    assert len(whole) < 1_000_000
    text = files_of(whole)[0][0]["steps"][0]["text"]
    assert len(text) < LONGEST + 100 and "characters left out here" in text
    assert text.startswith(noise[:1000]) and text.endswith("# of null on 0000000000000000 ")

    one = len(pack(found.outcomes).chunks[0])
    cut = page(found, limit=one + 10)
    assert "holds the trajectories of 1 of 2 episodes; those of the last 1 " in cut
    assert len(files_of(cut)) == 1 and len(cut) < len(whole) - one // 2
    assert "holds the trajectories of" not in whole


def test_the_same_bytes_in_any_process(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs mldebug[report]")
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        (tmp_path / seed / "matplotlibrc").write_text(f"font.size: {seed}0\n")
        subprocess.run(
            [
                *(Path(sys.executable).parent / "mldebug", "bench", "report", run),
                *("--html", tmp_path / seed / "report.html", "--png", tmp_path / seed / "plots"),
            ],
            env={**os.environ, "PYTHONHASHSEED": seed, "MATPLOTLIBRC": str(tmp_path / seed)},
            check=True,
            capture_output=True,
        )
    names = ["report.html", "plots/heat_map.png", "plots/leaderboard.png", "plots/rungs.png"]
    for name in names:
        first, second = ((tmp_path / seed / name).read_bytes() for seed in ("1", "2"))
        assert first == second, name
        if name.endswith(".png"):
            assert first.startswith(b"\x89PNG") and b"tEXt" not in first and b"matplotlib" not in first
    assert sorted(one.name for one in (tmp_path / "1" / "plots").iterdir()) == [
        "heat_map.png",
        "leaderboard.png",
        "rungs.png",
    ]
    # other results, other pictures
    other = pictures.pictures(read([make_run(tmp_path / "other", ("null", "oracle"), 6)]))
    assert all(other[Path(name).name] != (tmp_path / "1" / name).read_bytes() for name in names[1:])


def test_without_matplotlib_the_extra_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    assert "pip install 'mldebug[report]'" in said(run, "--png", tmp_path / "plots", code=2)
    assert not (tmp_path / "plots").exists()
    assert "oracle" in said(run)


def test_what_is_no_finished_run(run: Path, tmp_path: Path) -> None:
    assert "is no folder" in said(tmp_path / "nowhere", code=2)
    assert "there is no run.json" in said(tmp_path, code=2)
    begun = make_run(tmp_path / "begun", finished=False)
    assert re.search(r"is not finished .*--resume` finishes it", said(begun, code=2))

    broken = make_run(tmp_path / "broken", ("null",), 3)
    results = broken / "results.jsonl"
    whole = results.read_text()
    for text, expected in (
        (whole.split("\n", 1)[1], "holds 2 episodes, and the run has 3"),
        (whole.replace('"agent":"null"', '"agent":"../x"', 1), "line 1: .*agent: must be one of run.json"),
        (whole.replace('"task":"0', '"task":"../', 1), "task: must be able to name a file"),
        (whole.replace('"score":0.2', '"score":NaN', 1), "line 1: .*is no number"),
        (whole.replace('"solved":false', '"solved":0', 1), "solved: must be true or false"),
        (whole.replace("00000001", "00000000", 1), "line 2: .*was there before"),
        ("[]\n" + whole, "line 1"),
        ("{" * 100_000, "line 1"),
    ):
        results.write_text(text)
        assert re.search(expected, said(broken, code=2)), expected
    results.write_text(whole.replace('"efficiency":1.0', '"efficiency":1.2'))
    assert "ends with another result" in said(broken, "--html", tmp_path / "a.html", code=2)
    results.write_text(whole)
    next(broken.glob("trajectories/null/*1.jsonl")).unlink()
    assert "--resume` plays it again" in said(broken, "--html", tmp_path / "a.html", code=2)
    assert not (tmp_path / "a.html").exists()
    mark = broken / "run.json"
    known = mark.read_text()
    for change in ({"agents": ["null"]}, {"tasks": {"count": 0}}, {"rules": {}}, {"tasks": None}):
        mark.write_text(json.dumps({"run": json.loads(known)["run"] | change}))
        assert "run.json: is not what" in said(broken, code=2)
    mark.write_text(known)
    (broken / "times.jsonl").write_text("{}\n[\n" + '{"agent":"null","task":"x","seconds":"soon"}\n')
    assert re.search(r"null .* -\n", said(broken)), "only the seconds are lost"
    (broken / "times.jsonl").unlink()
    assert re.search(r"null .* -\n", said(broken))


def test_targets(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "report.html"
    said(run, "--html", place)
    first = place.read_bytes()
    place.write_bytes(first + b"older")
    said(run, "--html", place)
    assert place.read_bytes() == first

    results = (run / "results.jsonl").read_bytes()
    assert "holds something that is no page" in said(run, "--html", run / "results.jsonl", code=2)
    assert (run / "results.jsonl").read_bytes() == results
    assert "is no ordinary file" in said(run, "--html", tmp_path, code=2)
    assert "there is no folder" in said(run, "--html", tmp_path / "no" / "a.html", code=2)
    assert command(["report", str(run), "--html", "/dev/null"], bench, "bench") == 2
    pytest.importorskip("matplotlib", reason="needs mldebug[report]")
    assert "cannot be written" in said(run, "--png", place, code=2)

    place.write_bytes(first + b"older")

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        targets.write([targets.Target(place, b"new")])
    assert place.read_bytes() == first + b"older"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_a_run_that_was_played(tmp_path: Path) -> None:
    """The synthetic runs of the other tests could drift from what `bench run` writes; this one cannot."""
    tasks = tmp_path / "rows.jsonl"
    tasks.write_text(json.dumps(rows()["shape-tabular-1"]) + "\n")
    play = ["run", str(tasks), "--agent", "null,oracle", "--out", str(tmp_path / "run")]
    got = CliRunner().invoke(bench, play, standalone_mode=False)
    assert got.return_value == 0, got.output
    found = read([tmp_path / "run"])
    packed = pack(found.outcomes)
    for one, actions in zip(found.outcomes, packed.actions, strict=True):
        assert {name: actions.count(name) for name in actions} == one.record["uses"]
    assert "100%" in said(tmp_path / "run")
    null, oracle = files_of(page(found))[0]
    assert null["steps"][-1]["done"] and null["result"]["rung"] == 0.2
    assert oracle["steps"][-1]["reward"] == oracle["result"]["score"] and "train.py" in oracle["briefing"]
    same = set(null["result"]) == set(
        json.loads((tmp_path / "run/results.jsonl").read_text().splitlines()[0])
    )
    assert same
