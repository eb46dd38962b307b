"""The proof that styles preserve behaviour: predictions bit for bit, metrics equal."""

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
from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.mutators.styles import STYLE_COUNT, styled_base
from mldebug.mutators.workspace import Workspace

DATA_SEED = 11
FEW = (0, 8, 17, 29)
"""Styles that run every time; all of them do with --deep."""


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


def check_styles(name: str, styles: tuple[int, ...], folder: Path) -> None:
    torch.set_num_threads(1)
    job = load_job(name)
    data = data_files(job.generate(DATA_SEED))
    clean = Workspace.of(dict(sources(name)), job.entrypoint)
    wanted, metrics = run(clean, data, folder / "clean")
    for style in styles:
        styled = styled_base(clean, name, style)
        assert styled != clean
        found, styled_metrics = run(styled, data, folder / str(style))
        assert found.keys() == wanted.keys()
        for field, values in wanted.items():
            assert found[field].dtype == values.dtype and found[field].shape == values.shape
            assert found[field].tobytes() == values.tobytes(), f"style {style}: {field} differs"
        assert styled_metrics == metrics, f"style {style}: metrics differ"


@pytest.mark.parametrize("name", job_names())
def test_styled_jobs_predict_the_same_bits(name: str, tmp_path: Path) -> None:
    check_styles(name, FEW, tmp_path)


@pytest.mark.deep
@pytest.mark.parametrize("name", job_names())
def test_every_style_of_every_job_predicts_the_same_bits(name: str, tmp_path: Path) -> None:
    check_styles(name, tuple(range(STYLE_COUNT)), tmp_path)
