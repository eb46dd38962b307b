"""Every test that asks for `gpu` runs on the simulated accelerator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mldebug.grader.device import simulated_accelerator


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    with simulated_accelerator():
        yield torch.device("cuda")
