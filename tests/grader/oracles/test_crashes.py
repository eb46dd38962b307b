"""Families of exceptions, told from what PyTorch and numpy really say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mldebug.grader.device import simulated_accelerator
from mldebug.grader.oracles.crashes import family

ones, zeros = torch.ones, torch.zeros

SHAPE: dict[str, Callable[[], object]] = {
    "linear width": lambda: nn.Linear(3, 2)(ones(4, 5)),
    "matmul": lambda: ones(2, 3) @ ones(2, 3),
    "bmm": lambda: torch.bmm(ones(2, 3, 4), ones(2, 3, 4)),
    "matrix and vector": lambda: ones(2, 3) @ ones(2),
    "dot": lambda: ones(3) @ ones(2),
    "conv channels": lambda: nn.Conv2d(3, 4, 3)(ones(2, 1, 8, 8)),
    "conv dimensions": lambda: nn.Conv2d(3, 4, 3)(ones(2, 3)),
    "conv1d dimensions": lambda: nn.Conv1d(3, 4, 3)(ones(2, 3, 4, 5)),
    "kernel too large": lambda: nn.Conv2d(1, 4, 9)(ones(2, 1, 4, 4)),
    "pool too large": lambda: F.max_pool2d(ones(1, 1, 2, 2), 4),
    "batch norm width": lambda: nn.BatchNorm1d(3)(ones(4, 5)),
    "batch norm dimensions": lambda: nn.BatchNorm2d(3)(ones(4, 3)),
    "batch norm of one row": lambda: nn.BatchNorm1d(3)(ones(1, 3)),
    "layer norm": lambda: nn.LayerNorm(3)(ones(4, 5)),
    "group norm": lambda: nn.GroupNorm(2, 4)(ones(4, 6)),
    "gru input": lambda: nn.GRU(3, 4)(ones(5, 2, 6)),
    "gru hidden": lambda: nn.GRU(3, 4)(ones(5, 2, 3), zeros(1, 2, 5)),
    "gru hidden batch": lambda: nn.GRU(3, 4, batch_first=True)(ones(5, 2, 3), zeros(1, 2, 4)),
    "lstm dimensions": lambda: nn.LSTM(3, 4)(ones(5, 2, 3, 1)),
    "view": lambda: ones(6).view(4, 2),
    "reshape": lambda: ones(6).reshape(4, -1),
    "add": lambda: ones(3) + ones(4),
    "in place": lambda: ones(3).add_(ones(4, 3)),
    "expand": lambda: ones(3).expand(4, 5),
    "cat": lambda: torch.cat([ones(2, 3), ones(2, 4)], 0),
    "stack": lambda: torch.stack([ones(2), ones(3)]),
    "squeeze dim": lambda: ones(2, 3).squeeze(5),
    "permute": lambda: ones(2, 3).permute(0, 1, 2),
    "cross entropy batch": lambda: F.cross_entropy(ones(4, 3), zeros(5, dtype=torch.long)),
    "cross entropy target size": lambda: F.cross_entropy(ones(4, 3, 2), zeros(4, 3, dtype=torch.long)),
    "cross entropy 2d target": lambda: F.cross_entropy(ones(4, 3), zeros(4, 1, dtype=torch.long)),
    "nll": lambda: F.nll_loss(ones(4, 3), zeros(5, dtype=torch.long)),
    "bce": lambda: F.binary_cross_entropy_with_logits(ones(4, 1), ones(4)),
    "mse": lambda: F.mse_loss(ones(4, 3), ones(5)),
    "attention width": lambda: nn.MultiheadAttention(4, 2)(ones(3, 2, 5), ones(3, 2, 5), ones(3, 2, 5)),
    "load_state_dict": lambda: nn.Linear(2, 2).load_state_dict(nn.Linear(3, 2).state_dict()),
    "boolean mask": lambda: ones(3)[torch.tensor([True, False])],
    "index out of range": lambda: ones(3, 2)[:, 5],
    "assignment": lambda: ones(4).__setitem__(slice(0, 2), ones(3)),
    "dataset lengths": lambda: torch.utils.data.TensorDataset(ones(3), ones(4)),
    "numpy broadcast": lambda: np.ones(3) + np.ones(4),
    "numpy matmul": lambda: np.ones((2, 3)) @ np.ones((2, 3)),
    "numpy reshape": lambda: np.ones(6).reshape(4, 2),
    "numpy concatenate": lambda: np.concatenate([np.ones((2, 3)), np.ones((2, 4))]),
    "numpy stack": lambda: np.stack([np.ones(2), np.ones(3)]),
    "einsum": lambda: torch.einsum("bi,ij->bj", ones(2, 3), ones(4, 5)),
}

DEVICE: dict[str, Callable[[], object]] = {
    "linear": lambda: nn.Linear(3, 2).cuda()(ones(4, 3)),
    "model not moved": lambda: nn.Linear(3, 2)(ones(4, 3).cuda()),
    "conv": lambda: nn.Conv2d(1, 2, 3).cuda()(ones(1, 1, 5, 5)),
    "batch norm": lambda: nn.BatchNorm1d(3)(ones(4, 3).cuda()),
    "gru": lambda: nn.GRU(3, 4).cuda()(ones(5, 2, 3)),
    "gru hidden": lambda: nn.GRU(3, 4).cuda()(ones(5, 2, 3).cuda(), zeros(1, 2, 4)),
    "embedding": lambda: nn.Embedding(5, 2).cuda()(torch.tensor([1])),
    "target": lambda: F.cross_entropy(ones(4, 3).cuda(), zeros(4, dtype=torch.long)),
    "elementwise": lambda: ones(3).cuda() - ones(3),
    "index": lambda: ones(3)[torch.tensor([1]).cuda()],
    "numpy": lambda: ones(3).cuda().numpy(),
    "asarray": lambda: np.asarray(ones(3).cuda()),
    "cat": lambda: torch.cat([ones(3).cuda(), ones(3)]),
    "mse": lambda: F.mse_loss(ones(3).cuda(), ones(3)),
}

OTHER: dict[str, Callable[[], object]] = {
    "dtype": lambda: nn.Linear(3, 2)(ones(4, 3, dtype=torch.float64)),
    "class out of range": lambda: F.cross_entropy(ones(2, 3), torch.tensor([0, 7])),
    "no gradient": lambda: ones(1).backward(),
    "twice": lambda: (lambda y: (y.backward(), y.backward()))((ones(1, requires_grad=True) ** 2).sum()),
    "name": lambda: undefined_name,  # type: ignore[name-defined]  # noqa: F821
    "key": lambda: {}["label"],
    "type": lambda: nn.Linear("3", 2),  # type: ignore[arg-type]
    "file": lambda: np.load("no/such/file.npz"),
    "divide": lambda: 1 / 0,
}


def message_of(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:
        return str(error)
    pytest.fail("the example did not raise")


@pytest.mark.parametrize("name", SHAPE)
def test_shape_messages(name: str) -> None:
    message = message_of(SHAPE[name])
    assert family(message) == "shape", message


@pytest.mark.parametrize("name", DEVICE)
def test_device_messages(name: str) -> None:
    with simulated_accelerator():
        message = message_of(DEVICE[name])
    assert family(message) == "device", message


@pytest.mark.parametrize("name", OTHER)
def test_other_messages(name: str) -> None:
    message = message_of(OTHER[name])
    assert family(message) == "other", message
