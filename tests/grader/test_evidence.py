"""Artifacts are hostile until read: every malformed one has a sentence, none an exception."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.clean_scripts.library import load_job
from mldebug.grader.predictions import Outputs, Problem, read_final, read_outputs
from mldebug.grader.runner import RunResult

SPEC = load_job("tabular_classifier")
DATA = SPEC.generate(1)
ROWS = DATA.train["row"][:200]
CLASSES = SPEC.output_shape[0]
GOOD: dict[str, Any] = {
    "row": ROWS,
    "output": np.zeros((len(ROWS), CLASSES), np.float32),
    "score": np.zeros((len(DATA.score_labels), CLASSES), np.float32),
}


def result_with(artifacts: Mapping[str, bytes], problems: Mapping[str, str] | None = None) -> RunResult:
    return RunResult("ok", 0, None, "", "", artifacts, problems or {}, None, 0.1, 0.1, 1.0)


def npz(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read(content: bytes) -> tuple[Outputs | None, tuple[Problem, ...]]:
    return read_outputs(result_with({"predictions.npz": content}), SPEC, DATA)


def test_a_good_file_is_read_without_problems() -> None:
    outputs, problems = read(npz(GOOD))
    assert outputs is not None and problems == ()
    assert outputs.output.shape == (200, CLASSES) and outputs.score.dtype == np.float64


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("row.npy", b"\0" * (64 << 20))
    return buffer.getvalue()


def lying_header() -> bytes:
    entry = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        entry, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 10)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("row", "output", "score"):
            archive.writestr(f"{name}.npy", entry.getvalue())
    return buffer.getvalue()


UNUSABLE = {
    "not a zip": b"hello",
    "empty": b"",
    "truncated": npz(GOOD)[:-200],
    "no score": npz({name: GOOD[name] for name in ("row", "output")}),
    "pickled": npz(GOOD | {"row": np.array([Payload()] * 3, dtype=object)}),
    "a zip bomb": bomb(),
    "a header that lies": lying_header(),
    "foreign ids": npz(GOOD | {"row": ROWS + 10_000_000}),
    "duplicate ids": npz(GOOD | {"row": np.repeat(ROWS[:100], 2)}),
    "ids between integers": npz(GOOD | {"row": ROWS + 0.5}),
    "ids that are not numbers": npz(GOOD | {"row": np.full(len(ROWS), np.nan)}),
    "huge ids": npz(GOOD | {"row": ROWS * 1e300}),
    "ids in two dimensions": npz(GOOD | {"row": ROWS.reshape(-1, 2)}),
    "too few outputs": npz(GOOD | {"output": GOOD["output"][:50]}),
    "classes instead of logits": npz(GOOD | {"output": np.zeros(len(ROWS))}),
    "text": npz(GOOD | {"score": np.array(["x"] * len(DATA.score_labels))}),
    "complex": npz(GOOD | {"score": GOOD["score"].astype(complex)}),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_files_are_a_sentence(name: str) -> None:
    outputs, problems = read(UNUSABLE[name])
    assert outputs is None
    assert len(problems) == 1 and problems[0].text.startswith("predictions.npz")


def test_usable_but_wrong_is_both() -> None:
    nan = GOOD["score"].copy()
    nan[3] = np.nan
    for change, word in (
        ({"score": nan}, "finite"),
        ({"row": ROWS[:20], "output": GOOD["output"][:20]}, "held out"),
    ):
        outputs, problems = read(npz(GOOD | change))
        assert outputs is not None
        assert len(problems) == 1 and word in problems[0].text


@pytest.mark.parametrize(
    "change",
    [
        {"output": GOOD["output"][:, :, None]},
        {"row": ROWS.astype(float)},
        {"row": ROWS[:, None].astype(np.int32)},
        {"score": GOOD["score"].astype(np.float16)},
    ],
)
def test_what_says_the_same_in_another_form_is_taken(change: dict[str, Any]) -> None:
    outputs, problems = read(npz(GOOD | change))
    assert outputs is not None and problems == ()
    assert outputs.output.shape == (len(ROWS), CLASSES) and (outputs.rows == ROWS).all()


def test_a_missing_file_says_why() -> None:
    outputs, problems = read_outputs(result_with({}, {"predictions.npz": "not a regular file"}), SPEC, DATA)
    assert outputs is None and problems == (
        Problem("predictions refused", "predictions.npz: not a regular file"),
    )
    assert read_outputs(result_with({}), SPEC, DATA)[1] == (
        Problem("predictions missing", "predictions.npz: missing"),
    )


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 255))
def test_no_bytes_raise(junk: bytes, place: int, value: int) -> None:
    read(junk)
    content = bytearray(npz({"row": ROWS[:8], "output": GOOD["output"][:8], "score": GOOD["score"][:8]}))
    content[place % len(content)] = value
    read(bytes(content))


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps({"final": {"a": value, "b": 1.5}}).encode()
    )
)
def test_metrics_are_numbers_or_nothing(content: bytes) -> None:
    final = read_final(result_with({"metrics.json": content}))
    assert all(isinstance(value, float) for value in final.values())


def test_deep_or_huge_json_is_nothing() -> None:
    for content in (b"[" * 100_000, b'{"final": {"a": 1' + b"0" * 5000 + b"}}", b'{"final": []}'):
        assert read_final(result_with({"metrics.json": content})) == {}
