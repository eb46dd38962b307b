"""The proof that structures, styles, distractors and phrasings change nothing: predictions bit for bit."""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

from mldebug.clean_scripts.data import data_files
from mldebug.clean_scripts.library import job_names, load_job
from mldebug.mutators.bases import STYLE_COUNT, Base, base
from mldebug.mutators.phrasings import Way
from mldebug.mutators.workspace import Workspace, conflicts, splice

from ...jobs import each_job

DATA_SEED = 11
FEW = (0, 8, 17)
"""Bases that run every time; all of them do with --deep."""


def run(workspace: Workspace, data: dict[str, bytes], folder: Path) -> tuple[dict[str, np.ndarray], object]:
    """Runs a job in a forked child, where torch is loaded already, and reads what it wrote."""
    for path, content in {**{path: text.encode() for path, text in workspace}, **data}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            for stream, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            sys.path.insert(0, str(folder))
            sys.argv = [workspace.entrypoint]
            runpy.run_path(workspace.entrypoint, run_name="__main__")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, (folder / "stderr").read_text()
    assert (folder / "stdout").read_text().strip(), "a job prints its progress"
    with np.load(folder / "predictions.npz") as written:
        predictions = {name: written[name] for name in written.files}
    return predictions, json.loads((folder / "metrics.json").read_text())


def check_bases(name: str, numbers: tuple[int, ...], folder: Path) -> None:
    """Bases against the alternative that each comes from, but for those with another learning rate."""
    torch.set_num_threads(1)
    data = data_files(load_job(name).generate(DATA_SEED))
    origins: dict[str, tuple[dict[str, np.ndarray], object]] = {}
    for number in numbers:
        made = base(name, number)
        assert made.workspace != made.origin
        if any(one.kind == "odd_rate" for one in made.distractors):
            continue
        if made.alternative not in origins:
            origins[made.alternative] = run(made.origin, data, folder / f"origin {number}")
        wanted, metrics = origins[made.alternative]
        found, styled_metrics = run(made.workspace, data, folder / str(number))
        assert found.keys() == wanted.keys()
        for field, values in wanted.items():
            assert found[field].dtype == values.dtype and found[field].shape == values.shape
            assert found[field].tobytes() == values.tobytes(), f"base {number}: {field} differs"
        assert styled_metrics == metrics, f"base {number}: metrics differ"


def said_otherwise(made: Base, turn: int) -> Workspace:
    """All that a base could say otherwise, in one of the ways; of places in each other, one."""
    taken: list[object] = []
    for place in made.phrasings[:: -1 if turn % 2 else 1]:
        way: Way = place.ways[turn % len(place.ways)]
        if not conflicts((*taken, *way)):  # type: ignore[arg-type]
            taken += way
    assert len(taken) >= 8
    return splice(made.workspace, taken)  # type: ignore[arg-type]


def check_phrasings(name: str, numbers: tuple[int, ...], folder: Path) -> None:
    """Bases against themselves in other words: the same predictions, metrics and messages."""
    torch.set_num_threads(1)
    data = data_files(load_job(name).generate(DATA_SEED))
    for number in numbers:
        made = base(name, number)
        wanted, metrics = run(made.workspace, data, folder / str(number))
        for turn in range(2):
            place = folder / f"{number} {turn}"
            found, other_metrics = run(said_otherwise(made, turn), data, place)
            assert {field: (one.dtype, one.tobytes()) for field, one in found.items()} == {
                field: (one.dtype, one.tobytes()) for field, one in wanted.items()
            }
            assert other_metrics == metrics
            for stream in ("stdout", "stderr"):
                assert (place / stream).read_bytes() == (folder / str(number) / stream).read_bytes()


@each_job("name", __name__)
def test_bases_predict_the_same_bits_as_where_they_come_from(name: str, tmp_path: Path) -> None:
    check_bases(name, FEW, tmp_path)


@pytest.mark.deep
@pytest.mark.parametrize("name", job_names())
def test_all_bases_of_every_job_predict_the_same_bits(name: str, tmp_path: Path) -> None:
    check_bases(name, tuple(range(STYLE_COUNT)), tmp_path)


@each_job("name", __name__)
def test_what_is_said_otherwise_predicts_the_same_bits(name: str, tmp_path: Path) -> None:
    check_phrasings(name, FEW[:1], tmp_path)


@pytest.mark.deep
@pytest.mark.parametrize("name", job_names())
def test_all_bases_said_otherwise_predict_the_same_bits(name: str, tmp_path: Path) -> None:
    check_phrasings(name, tuple(range(STYLE_COUNT)), tmp_path)
