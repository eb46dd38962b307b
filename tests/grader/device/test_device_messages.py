"""Every refusal, in PyTorch's own words."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

pytestmark = pytest.mark.usefixtures("gpu")
DEVICE = torch.device("cuda")
TWO = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
CPU_INDEXED = "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
NUMPY = (
    "can't convert cuda:0 device type tensor to numpy. "
    "Use Tensor.cpu() to copy the tensor to host memory first."
)


def generated(argument: str, method: str, found: str = "cpu", common: str = "cuda:0") -> str:
    return (
        f"Expected all tensors to be on the same device, but got {argument} is on {found}, different from "
        f"other tensors on {common} (when checking argument in method {method})"
    )


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, device=DEVICE)


def conv(dimensions: int = 2) -> nn.Module:
    return (nn.Conv1d if dimensions == 1 else nn.Conv2d)(1, 2, 3)


def inplace(target: torch.Tensor, value: torch.Tensor) -> None:
    target += value


def assign(target: torch.Tensor, index: object, value: torch.Tensor) -> None:
    target[index] = value


def set_grad(parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    parameter.grad = gradient


def lstm(hidden_on_device: bool) -> None:
    layer = nn.LSTM(2, 3).to(DEVICE)
    state = torch.zeros(1, 4, 3)
    layer(ones(5, 4, 2), (state, state.to(DEVICE) if hidden_on_device else state))


def drop_with(generator: torch.Generator) -> None:
    ones(4).bernoulli_(0.5, generator=generator)


def mixed_optimizer_state() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    layer.to(DEVICE)
    optimizer.zero_grad()
    layer(ones(1, 2)).sum().backward()
    optimizer.step()


CASES = {
    # element-wise, comparison, reduction: TensorIterator
    "add": (lambda: ones(2) + torch.ones(2), TWO),
    "add, one element is not a scalar": (lambda: ones(2) + torch.ones(1), TWO),
    "add, the accelerator's scalar": (lambda: torch.ones(2) + torch.tensor(1.0, device=DEVICE), TWO),
    "add_ to the CPU": (lambda: inplace(torch.zeros(3), ones(1)[0]), TWO),
    "add_ to a CPU sum of one element": (lambda: inplace(torch.zeros(1), ones(2).sum()), TWO),
    "add_ to a CPU scalar": (lambda: inplace(torch.tensor(0.0), ones(2).sum()), TWO),
    "add_ of a CPU tensor": (lambda: inplace(ones(2), torch.ones(2)), TWO),
    "eq": (lambda: (ones(4) == torch.ones(4)).sum(), TWO),
    "bool mask in place": (lambda: (ones(2) > 0).__iand__(torch.ones(2) > 0), TWO),
    "complex": (lambda: torch.complex(ones(2), ones(2)) * torch.ones(2), TWO),
    "out=": (lambda: torch.mul(ones(2), ones(2), out=torch.empty(2)), TWO),
    "where": (lambda: torch.where(ones(2) > 0, ones(2), torch.zeros(2)), TWO),
    "lerp": (lambda: ones(2).lerp(torch.ones(2), 0.5), TWO),
    "mse_loss": (lambda: F.mse_loss(ones(4), torch.ones(4)), TWO),
    "binary_cross_entropy": (lambda: F.binary_cross_entropy(ones(4), torch.ones(4)), TWO),
    "pos_weight": (
        lambda: nn.BCEWithLogitsLoss(pos_weight=torch.ones(3))(ones(2, 3), ones(2, 3)),
        TWO,
    ),
    "too many CPU scalars": (
        lambda: torch.addcmul(ones(2), torch.tensor(1.0), torch.tensor(2.0)),
        "Trying to pass too many CPU scalars to non-CPU kernel!",
    ),
    "foreach": (lambda: torch._foreach_add([ones(2)], [torch.ones(2)]), TWO),
    # checked in generated code
    "linear, CPU rows": (
        lambda: nn.Linear(2, 2).to(DEVICE)(torch.ones(3, 2)),
        generated("mat1", "wrapper_CUDA_addmm"),
    ),
    "linear, CPU weights": (
        lambda: nn.Linear(2, 2)(ones(1, 2)),
        generated("mat1", "wrapper_CUDA_addmm", "cuda:0", "cpu"),
    ),
    "linear, no bias": (
        lambda: F.linear(torch.ones(1, 2), ones(2, 2)),
        generated("mat2", "wrapper_CUDA_mm", "cuda:0", "cpu"),
    ),
    "mm": (lambda: ones(2, 2) @ torch.ones(2, 2), generated("mat2", "wrapper_CUDA_mm")),
    "bmm": (lambda: ones(1, 2, 2) @ torch.ones(1, 2, 2), generated("mat2", "wrapper_CUDA_bmm")),
    "dot": (lambda: ones(2) @ torch.ones(2), generated("tensor", "wrapper_CUDA__dot")),
    "cat": (lambda: torch.cat([ones(2), torch.ones(2)]), generated("tensors", "wrapper_CUDA_cat")),
    "cat, CPU first": (
        lambda: torch.cat([torch.ones(2), ones(2)]),
        generated("tensors", "wrapper_CUDA_cat", "cuda:0", "cpu"),
    ),
    "stack of scalars": (
        lambda: torch.stack([ones(1)[0], torch.tensor(1.0)]),
        generated("tensors", "wrapper_CUDA_cat"),
    ),
    "gather": (
        lambda: ones(2, 3).gather(1, torch.zeros(2, 1, dtype=torch.long)),
        generated("index", "wrapper_CUDA_gather"),
    ),
    "scatter": (
        lambda: ones(2, 3).scatter(1, torch.zeros(2, 1, dtype=torch.long), 1.0),
        generated("index", "wrapper_CUDA_scatter_value"),
    ),
    "scatter_add_": (
        lambda: torch.zeros(3).scatter_add_(0, torch.zeros(1, dtype=torch.long), ones(1)),
        generated("src", "wrapper_CUDA_scatter_add_", "cuda:0", "cpu"),
    ),
    "index_select": (
        lambda: ones(6).index_select(0, torch.tensor([0])),
        generated("index", "wrapper_CUDA__index_select"),
    ),
    "embedding, CPU tokens": (
        lambda: nn.Embedding(5, 2).to(DEVICE)(torch.tensor([1, 2])),
        generated("index", "wrapper_CUDA__index_select"),
    ),
    "embedding, CPU table": (
        lambda: nn.Embedding(5, 2)(torch.tensor([1, 2], device=DEVICE)),
        generated("index", "wrapper_CUDA__index_select", "cuda:0", "cpu"),
    ),
    "embedding_bag": (
        lambda: nn.EmbeddingBag(5, 2).to(DEVICE)(torch.tensor([[1, 2]])),
        re.compile(r"but got indices is on cpu, different from other tensors on cuda:0 .*_embedding_bag\)"),
    ),
    "cross_entropy, CPU targets": (
        lambda: F.cross_entropy(ones(4, 3), torch.zeros(4, dtype=torch.long)),
        generated("target", "wrapper_CUDA_nll_loss_forward"),
    ),
    "cross_entropy, CPU weights": (
        lambda: nn.CrossEntropyLoss(weight=torch.ones(3))(ones(4, 3), ones(4).long()),
        generated("weight", "wrapper_CUDA_nll_loss_forward"),
    ),
    "cross_entropy of images": (
        lambda: F.cross_entropy(ones(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)),
        generated("target", "wrapper_CUDA__nll_loss2d_forward"),
    ),
    "layer_norm": (
        lambda: nn.LayerNorm(3)(ones(2, 3)),
        generated("weight", "wrapper_CUDA__native_layer_norm"),
    ),
    "batch_norm of rows": (
        lambda: nn.BatchNorm1d(3)(ones(2, 3)),
        generated("weight", "wrapper_CUDA__native_batch_norm"),
    ),
    "batch_norm of images": (
        lambda: nn.BatchNorm2d(3)(ones(2, 3, 2, 2)),
        generated("weight", "wrapper_CUDA__cudnn_batch_norm"),
    ),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2).to(DEVICE)(ones(2, 1, 4), torch.ones(2, 1, 4), ones(2, 1, 4)),
        generated("mat1", "wrapper_CUDA_addmm"),
    ),
    "scaled_dot_product_attention": (
        lambda: F.scaled_dot_product_attention(ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), ones(1, 1, 2, 4)),
        "Expected query, key, and value to have the same device type, but got query.device: cuda:0 "
        "key.device: cpu and value.device: cuda:0 instead.",
    ),
    # convolutions
    "conv2d, a CPU batch": (
        lambda: conv().to(DEVICE)(torch.ones(2, 1, 8, 8)),
        "Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be the same "
        "or input should be a MKLDNN tensor and weight is a dense tensor",
    ),
    "conv2d, one CPU image": (
        lambda: conv().to(DEVICE)(torch.ones(1, 1, 8, 8)),
        "Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be the same",
    ),
    "conv2d, CPU weights": (
        lambda: conv()(ones(2, 1, 8, 8)),
        "Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same",
    ),
    "conv1d, CPU bias": (
        lambda: F.conv1d(ones(1, 1, 4), ones(1, 1, 2), torch.ones(1)),
        "Input type (torch.cuda.FloatTensor) and bias type (torch.FloatTensor) should be the same",
    ),
    # recurrent layers
    "lstm, CPU rows": (
        lambda: nn.LSTM(2, 3).to(DEVICE)(torch.ones(5, 4, 2)),
        "Input and parameter tensors are not at the same device, found input tensor at cpu and parameter "
        "tensor at cuda:0",
    ),
    "gru, CPU parameters": (
        lambda: nn.GRU(2, 3)(ones(5, 4, 2)),
        "Input and parameter tensors are not at the same device, found input tensor at cuda:0 and parameter "
        "tensor at cpu",
    ),
    "gru, CPU hidden state": (
        lambda: nn.GRU(2, 3).to(DEVICE)(ones(5, 4, 2), torch.zeros(1, 4, 3)),
        "Input and hidden tensors are not at the same device, found input tensor at cuda:0 and hidden "
        "tensor at cpu",
    ),
    "lstm, CPU hidden state": (
        lambda: lstm(False),
        "Input and hidden tensors are not at the same device, found input tensor at cuda:0 and hidden "
        "tensor at cpu",
    ),
    "lstm, half of the hidden state": (
        lambda: lstm(True),
        "Input and hidden tensors are not at the same device, found input tensor at cuda:0 and hidden "
        "tensor at cpu",
    ),
    "packed lengths": (
        lambda: nn.utils.rnn.pack_padded_sequence(ones(3, 2, 4), torch.tensor([3, 3], device=DEVICE)),
        "'lengths' argument should be a 1D CPU int64 tensor, but got 1D cuda:0 Long tensor",
    ),
    # indexing
    "CPU tensor, CUDA index": (lambda: torch.ones(6)[torch.tensor([0], device=DEVICE)], CPU_INDEXED),
    "CPU tensor, CUDA mask": (lambda: torch.arange(6.0)[ones(6) > 0], CPU_INDEXED),
    "CPU tensor, assignment by CUDA mask": (
        lambda: assign(torch.ones(6), ones(6) > 0, torch.ones(6)),
        CPU_INDEXED,
    ),
    "assignment of CPU values": (lambda: assign(ones(3), torch.tensor([0, 1]), torch.ones(2)), TWO),
    "masked_fill, CPU mask": (
        lambda: ones(2).masked_fill(torch.ones(2) > 0, 0.0),
        "expected self and mask to be on the same device, but got mask on cpu and self on cuda:0",
    ),
    "masked_fill_ on the CPU": (
        lambda: torch.ones(2).masked_fill_(ones(2) > 0, 0.0),
        "expected self and mask to be on the same device, but got mask on cuda:0 and self on cpu",
    ),
    "masked_select": (
        lambda: ones(2).masked_select(torch.ones(2) > 0),
        generated("mask", "wrapper_CUDA__masked_select"),
    ),
    # generators
    "randperm": (
        lambda: torch.randperm(5, device=DEVICE, generator=torch.Generator()),
        "Expected a 'cuda' device type for generator but found 'cpu'",
    ),
    "randperm on the CPU": (
        lambda: torch.randperm(5, generator=torch.Generator("cuda")),
        "Expected a 'cpu' device type for generator but found 'cuda'",
    ),
    "bernoulli_": (
        lambda: drop_with(torch.Generator()),
        "Expected a 'cuda' device type for generator but found 'cpu'",
    ),
    "multinomial": (
        lambda: torch.multinomial(ones(3), 2, generator=torch.Generator()),
        "Expected a 'cuda' device type for generator but found 'cpu'",
    ),
    "loader": (
        lambda: list(DataLoader([1, 2], shuffle=True, generator=torch.Generator("cuda"))),
        "Expected a 'cpu' device type for generator but found 'cuda'",
    ),
    # gradients and optimizers
    "grad": (
        lambda: set_grad(nn.Parameter(ones(2)), torch.ones(2)),
        "attempting to assign a gradient with device type 'cpu' to a tensor with device type 'cuda'. "
        "Please ensure that the gradient and the tensor are on the same device",
    ),
    "backward": (
        lambda: (torch.ones(2, device=DEVICE, requires_grad=True) * 2).backward(torch.ones(2)),
        "invalid gradient at index 0 - expected device cuda:0 but got cpu",
    ),
    "optimizer state": (
        mixed_optimizer_state,
        re.compile("Tensors of the same index must be on the same device"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_runtime_errors(name):
    attempt, text = CASES[name]
    with pytest.raises(RuntimeError) as caught:
        attempt()
    if isinstance(text, str):
        assert str(caught.value) == text
    else:
        assert text.search(str(caught.value))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: ones(3).numpy(),
        lambda: np.asarray(ones(3)),
        lambda: np.array([ones(1), ones(1)]),
        lambda: np.stack([ones(2), ones(2)]),
        lambda: np.save("/dev/null", ones(2)),
        lambda: torch.ones(2, device=DEVICE, requires_grad=True).numpy(),
    ],
)
def test_numpy_refuses_in_these_words(attempt):
    with pytest.raises(TypeError) as caught:
        attempt()
    assert str(caught.value) == NUMPY


def test_numpy_functions_refuse_too():
    with pytest.raises(TypeError):
        np.mean(ones(3))


def test_what_torch_refuses_anyway_reads_the_same():
    with pytest.raises(RuntimeError, match="Can't call numpy\\(\\) on Tensor that requires grad"):
        torch.ones(3, requires_grad=True).numpy()
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        nn.Linear(2, 2).to(DEVICE)(ones(1, 3))


def test_a_constant_that_is_no_buffer_stays_behind():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.randn(6, 8)

        def forward(self, x):
            return x + self.table

    with pytest.raises(RuntimeError) as caught:
        Positions().to(DEVICE)(ones(2, 6, 8))
    assert str(caught.value) == TWO


def test_sum_of_refused_operands_leaves_them_usable():
    left = ones(2)
    with pytest.raises(RuntimeError):
        left += torch.ones(2)
    assert left.tolist() == [1, 1] and (left + 1).is_cuda
