"""The integer data source: equal bytes everywhere, distributions as documented."""

from __future__ import annotations

import hashlib
import io
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.clean_scripts.data import Integers, data_files, fixed, npz_bytes, table
from mldebug.clean_scripts.spec import JobData

MANY = 200_000

STREAMS = """
from mldebug.clean_scripts.data import Integers, fixed, npz_bytes, table
source = Integers("golden", 7)
print(__import__("hashlib").sha256(npz_bytes({
    "bits8": source.bits("a", (7, 11), width=8),
    "bits16": source.bits("b", (1001,)),
    "below": source.below("c", 1000, (33, 5)),
    "bell": source.bell("d", (513, 3)),
    "permutation": source.permutation("e", 777),
    "signs": source.signs("f", (129,)),
    "fixed": fixed(source.bell("g", (64, 4)), 8),
    "sin": table("sin", 360, 30000),
})).hexdigest())
"""

GOLDEN_STREAMS = "eb8b7312d932a91aeecea00f23ad3d8e8cabfb2682a05780d87afa3847f4a135"
"""One digest over every kind of stream: the same on any machine, numpy version and processor."""


def dispatched_features() -> str:
    """The processor features that this numpy chooses between when it is imported."""
    from numpy._core import _multiarray_umath

    return " ".join(_multiarray_umath.__cpu_dispatch__)


@pytest.mark.parametrize("disabled", ["", "X86_V4", "all"])
def test_streams_are_the_same_bytes_on_every_processor(disabled: str) -> None:
    features = dispatched_features() if disabled == "all" else disabled
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": features, "PYTHONHASHSEED": "random"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STREAMS], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == GOLDEN_STREAMS


def test_streams_do_not_depend_on_each_other_or_on_order() -> None:
    alone = Integers("g", 1).bell("noise", (50,))
    busy = Integers("g", 1)
    busy.signs("something else", (1000,))
    assert np.array_equal(busy.bell("noise", (50,)), alone)
    assert np.array_equal(busy.bell("noise", (50,)), alone)


def test_generator_seed_and_purpose_each_give_another_stream() -> None:
    keys = [("g", 1, "p"), ("h", 1, "p"), ("g", 2, "p"), ("g", 1, "q")]
    streams = {Integers(name, seed).bits(purpose, (64,)).tobytes() for name, seed, purpose in keys}
    assert len(streams) == len(keys)


@pytest.mark.parametrize("width", [8, 16])
def test_bits_are_uniform_over_their_width(width: int) -> None:
    values = Integers("g", 3).bits("p", (MANY // 100, 100), width=width)  # type: ignore[arg-type]
    assert values.shape == (MANY // 100, 100)
    assert values.min() >= 0 and values.max() < 1 << width
    counts = np.bincount(values.ravel() >> (width - 4), minlength=16)
    assert abs(counts - MANY / 16).max() < 6 * math.sqrt(MANY / 16)


@given(seed=st.integers(0, 2**40), bound=st.integers(1, 2**16), count=st.integers(0, 300))
def test_below_stays_below(seed: int, bound: int, count: int) -> None:
    values = Integers("g", seed).below("p", bound, (count,))
    assert values.shape == (count,) and values.dtype == np.int64
    assert ((values >= 0) & (values < bound)).all()


def test_below_is_uniform_where_the_bound_is_no_power_of_two() -> None:
    counts = np.bincount(Integers("g", 3).below("p", 7, (MANY,)), minlength=7)
    assert len(counts) == 7
    assert abs(counts - MANY / 7).max() < 6 * math.sqrt(MANY / 7)


def test_bell_is_close_to_normal() -> None:
    values = Integers("g", 3).bell("p", (MANY,)) / 256
    assert abs(values.mean()) < 6 / math.sqrt(MANY)
    assert abs(values.std() - 1) < 0.01
    assert np.abs(values).max() <= 4.9
    for deviations, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        # Eight summands fall short of the normal distribution by less than 0.006 anywhere.
        assert abs((np.abs(values) < deviations).mean() - share) < 0.01


def test_signs_are_fair() -> None:
    values = Integers("g", 3).signs("p", (MANY,))
    assert set(np.unique(values)) == {-1, 1}
    assert abs(values.mean()) < 6 / math.sqrt(MANY)


@given(seed=st.integers(0, 2**40), count=st.integers(0, 500))
def test_permutation_holds_every_number_once(seed: int, count: int) -> None:
    order = Integers("g", seed).permutation("p", count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


@given(value=st.integers(-(2**24), 2**24), decimals=st.integers(0, 16))
def test_fixed_is_exact(value: int, decimals: int) -> None:
    (number,) = fixed(np.array([value]), decimals)
    assert number.dtype == np.float32
    assert float(number) * 2**decimals == value


def test_table_holds_one_period() -> None:
    sine, cosine = table("sin", 360, 10_000), table("cos", 360, 10_000)
    assert (sine[[0, 30, 90, 180, 270]] == [0, 5000, 10_000, 0, -10_000]).all()
    assert np.array_equal(np.roll(sine, -90), cosine)


def test_npz_reads_back_and_ignores_order_and_layout() -> None:
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    ids = np.array([3, 1, 2])
    written = npz_bytes({"grid": grid, "ids": ids})
    assert npz_bytes({"ids": ids, "grid": np.asfortranarray(grid)}) == written
    with np.load(io.BytesIO(written), allow_pickle=False) as arrays:
        assert sorted(arrays) == ["grid", "ids"]
        assert np.array_equal(arrays["grid"], grid) and arrays["grid"].dtype == grid.dtype
        assert np.array_equal(arrays["ids"], ids)


def test_npz_refuses_what_would_need_pickle() -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        npz_bytes({"names": np.array(["a", None], dtype=object)})


def test_labels_of_the_scoring_rows_are_not_written() -> None:
    secret = np.array([123456789, 987654321])
    data = JobData({"row": np.array([1])}, {"x": np.array([2.0, 3.0])}, secret)
    files = data_files(data)
    assert sorted(files) == ["data/score.npz", "data/train.npz"]
    assert not any(secret.tobytes() in content for content in files.values())
    assert (
        hashlib.sha256(files["data/train.npz"]).digest() != hashlib.sha256(files["data/score.npz"]).digest()
    )
