"""What CUDA builds of PyTorch say about tensors on different devices.

| family | text | type |
| --- | --- | --- |
| element-wise, comparison, reduction, index values (TensorIterator) | Expected all tensors to be on the \
same device, but found at least two devices, cuda:0 and cpu! | RuntimeError |
| the same with two 0-dim CPU operands | Trying to pass too many CPU scalars to non-CPU kernel! | \
RuntimeError |
| checked in generated code (mm, addmm, cat, gather, losses, norms, embedding) | Expected all tensors to be \
on the same device, but got A is on X, different from other tensors on Y (when checking argument in method \
wrapper_CUDA_M): Y is the first tensor's device (outputs first, then in the order of the schema), A the \
first argument that differs | RuntimeError |
| convolution | Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be the same \
[or input should be a MKLDNN tensor and weight is a dense tensor] | RuntimeError |
| recurrent layers | Input and hidden|parameter tensors are not at the same device, found input tensor at \
X and hidden|parameter tensor at Y | RuntimeError |
| indexing a CPU tensor | indices should be either on cpu or on the same device as the indexed tensor (cpu) \
| RuntimeError |
| masked_fill | expected self and mask to be on the same device, but got mask on X and self on Y | \
RuntimeError |
| attention | Expected query, key, and value to have the same device type, but got query.device: … | \
RuntimeError |
| generators | Expected a 'cuda' device type for generator but found 'cpu' | RuntimeError |
| packed lengths | 'lengths' argument should be a 1D CPU int64 tensor, but got 1D cuda:0 Long tensor | \
RuntimeError |
| assigning `.grad` | attempting to assign a gradient with device type 'cpu' to a tensor with device type \
'cuda'. Please ensure that the gradient and the tensor are on the same device | RuntimeError |
| `backward(gradient)` | invalid gradient at index 0 - expected device cuda:0 but got cpu | RuntimeError |
| numpy | can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host \
memory first. | TypeError |
"""

from __future__ import annotations

import torch

from .tags import device_of, is_accelerated

NUMPY = (
    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
    "first."
)
TOO_MANY_SCALARS = "Trying to pass too many CPU scalars to non-CPU kernel!"
CPU_INDEXED = "indices should be either on cpu or on the same device as the indexed tensor (cpu)"


def two_devices() -> RuntimeError:
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    )


def checked_argument(name: str, tensor: torch.Tensor, common: torch.Tensor, method: str) -> RuntimeError:
    return RuntimeError(
        f"Expected all tensors to be on the same device, but got {name} is on {device_of(tensor)}, different "
        f"from other tensors on {device_of(common)} (when checking argument in method {method})"
    )


def type_name(tensor: torch.Tensor) -> str:
    """`torch.FloatTensor`, `torch.cuda.LongTensor`, …"""
    plain = torch._C.TensorBase.type(tensor)
    return plain.replace("torch.", "torch.cuda.", 1) if is_accelerated(tensor) else plain


def convolution_types(input: torch.Tensor, other: torch.Tensor, role: str, mkldnn: bool) -> RuntimeError:
    tail = f" or input should be a MKLDNN tensor and {role} is a dense tensor" if mkldnn else ""
    return RuntimeError(
        f"Input type ({type_name(input)}) and {role} type ({type_name(other)}) should be the same{tail}"
    )


def recurrent(role: str, input: torch.Tensor, other: torch.Tensor) -> RuntimeError:
    return RuntimeError(
        f"Input and {role} tensors are not at the same device, found input tensor at {device_of(input)} and "
        f"{role} tensor at {device_of(other)}"
    )


def masked_fill(self: torch.Tensor, mask: torch.Tensor) -> RuntimeError:
    return RuntimeError(
        f"expected self and mask to be on the same device, but got mask on {device_of(mask)} and self on "
        f"{device_of(self)}"
    )


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> RuntimeError:
    return RuntimeError(
        "Expected query, key, and value to have the same device type, but got query.device: "
        f"{device_of(query)} key.device: {device_of(key)} and value.device: {device_of(value)} instead."
    )


def generator_device(wanted: str, found: str) -> RuntimeError:
    return RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}'")


def packed_lengths(lengths: torch.Tensor) -> RuntimeError:
    kind = torch._C.TensorBase.type(lengths).rpartition(".")[2].removesuffix("Tensor")
    return RuntimeError(
        f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D {device_of(lengths)} "
        f"{kind} tensor"
    )


def assigned_gradient(tensor: torch.Tensor, gradient: torch.Tensor) -> RuntimeError:
    return RuntimeError(
        f"attempting to assign a gradient with device type '{device_of(gradient).type}' to a tensor with "
        f"device type '{device_of(tensor).type}'. Please ensure that the gradient and the tensor are on the "
        "same device"
    )


def invalid_gradient(index: int, tensor: torch.Tensor, gradient: torch.Tensor) -> RuntimeError:
    return RuntimeError(
        f"invalid gradient at index {index} - expected device {device_of(tensor)} but got "
        f"{device_of(gradient)}"
    )
