"""`torch.Tensor`'s own attributes: devices, moves, numpy, gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.parameter
from torch.nn.parameter import is_lazy

from . import messages
from .patching import Patches
from .state import flags
from .tags import (
    CPU,
    CUDA,
    device_of,
    is_accelerated,
    is_pinned,
    mark,
    mark_pinned,
    names_accelerator,
    real_device,
)

Tensor = torch.Tensor
_Base: Any = torch._C.TensorBase
_ONE_DEVICE_NUMPY = _Base.numpy


def as_device(value: Any) -> Any:
    """An index becomes the accelerator's device: a build without CUDA cannot read it."""
    return torch.device("cuda", value) if isinstance(value, int) and not isinstance(value, bool) else value


def move(tensor: Tensor, accelerated: bool, dtype: torch.dtype | None, copy: bool, format: Any) -> Tensor:
    """`Tensor.to` for a known destination; the tensor itself where nothing changes."""
    dtype = dtype or tensor.dtype
    here = is_accelerated(tensor)
    if here == accelerated and dtype == tensor.dtype and not copy and format is None:
        return tensor
    keywords = {} if format is None else {"memory_format": format}
    moved: Tensor = _Base.to(tensor, dtype, copy=copy or here != accelerated, **keywords)
    if moved is not tensor and here != accelerated:
        mark(moved, accelerated)
    return moved


UninitializedTensorMixin: Any = vars(torch.nn.parameter)["UninitializedTensorMixin"]
"""Of torch's, though its stubs do not say so."""


def _place(self: Tensor, accelerated: bool) -> Tensor:
    """Put a parameter that has no elements yet somewhere: they will be made there."""
    mark(self, accelerated)
    return self


def _to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    copy = kwargs.pop("copy", False)
    other = kwargs.get("other", args[0] if args else None)
    if isinstance(other, Tensor):
        rest = [one for one in args if one is not other]
        copy = copy or (len(rest) > 1 and bool(rest[1]))
        return move(self, is_accelerated(other), other.dtype, copy, kwargs.get("memory_format"))
    if len(args) == 4 or (len(args) == 3 and isinstance(args[0], torch.dtype)):
        *args, copy = args  # type: ignore[assignment]
    device, dtype, _, format = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None and device.type not in ("cpu", "cuda"):
        return _Base.to(self, *args, copy=copy, **kwargs)  # type: ignore[no-any-return]
    accelerated = is_accelerated(self) if device is None else names_accelerator(device)
    if is_lazy(self):
        return _place(self, accelerated)
    if not accelerated and real_device(self).type != "cpu":
        return _Base.to(self, *args, copy=copy, **kwargs)  # type: ignore[no-any-return]
    return move(self, accelerated, dtype, copy, format)


def _cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    names_accelerator("cuda" if device is None else device)
    if is_lazy(self):
        return _place(self, True)
    return move(self, True, None, False, None if memory_format is torch.preserve_format else memory_format)


def _cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    if is_lazy(self):
        return _place(self, False)
    if not is_accelerated(self):
        return _Base.cpu(self)  # type: ignore[no-any-return]
    return move(self, False, None, False, None if memory_format is torch.preserve_format else memory_format)


def _numpy(self: Tensor, *, force: bool = False) -> Any:
    if is_accelerated(self):
        if not force:
            raise TypeError(messages.NUMPY) from None
        self = self.detach().cpu()
    return _ONE_DEVICE_NUMPY(self, force=force)


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
    if dtype is None:
        return messages.type_name(self)
    if isinstance(dtype, torch.dtype):
        return self.to(dtype)
    name = dtype if isinstance(dtype, str) else f"{dtype.__module__}.{dtype.__name__}"
    accelerated = name.startswith("torch.cuda.")
    kind = _Base.type(torch.empty(0), name.replace("torch.cuda.", "torch.", 1)).dtype
    return move(self, accelerated, kind, False, None)


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    return move(self, is_accelerated(other), other.dtype, False, None)


def _new_tensor(self: Tensor, data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
    made: Tensor = _Base.new_tensor(self, data, **kwargs)
    mark(made, is_accelerated(self) if device is None else names_accelerator(as_device(device)))
    return made


def _new(self: Tensor, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    made: Tensor = _Base.new(self, *args, **kwargs)
    if not (args and isinstance(args[0], Tensor)):
        mark(made, is_accelerated(self) if device is None else names_accelerator(as_device(device)))
    return made


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    if is_accelerated(self):
        raise RuntimeError(f"cannot pin '{messages.type_name(self)}' only dense CPU tensors can be pinned")
    if is_pinned(self):
        return self
    pinned = self.clone()
    mark_pinned(pinned)
    return pinned


def _is_pinned(self: Tensor, device: Any = None) -> bool:
    return is_pinned(self)


def _dlpack_device(self: Tensor) -> Any:
    kind = torch.utils.dlpack.DLDeviceType
    return (kind.kDLCUDA, 0) if is_accelerated(self) else (kind.kDLCPU, 0)


def _grad(self: Tensor) -> Tensor | None:
    # Backward passes run without the mode where they can; a gradient lies where its tensor lies.
    gradient: Tensor | None = _Base.grad.__get__(self)
    if gradient is not None:
        here = is_accelerated(self)
        if is_accelerated(gradient) != here:
            mark(gradient, here)
    return gradient


def _set_grad(self: Tensor, gradient: Tensor | None) -> None:
    if isinstance(gradient, Tensor) and is_accelerated(gradient) != is_accelerated(self):
        raise messages.assigned_gradient(self, gradient)
    _Base.grad.__set__(self, gradient)


def _delete_grad(self: Tensor) -> None:
    _Base.grad.__set__(self, None)


def _grad_fn(self: Tensor) -> Any:
    node = _Base.grad_fn.__get__(self)
    if node is not None:
        flags.python_in_backward = True  # nodes take hooks
    return node


def _registering(original: Any) -> Any:
    def register(self: Any, *args: Any, **kwargs: Any) -> Any:
        flags.python_in_backward = True
        return original(self, *args, **kwargs)

    register.__name__, register.__doc__ = original.__name__, original.__doc__
    return register


def patch(patches: Patches) -> None:
    patches.set_many(
        Tensor,
        device=property(device_of),
        is_cuda=property(is_accelerated),
        is_cpu=property(lambda self: not is_accelerated(self) and real_device(self).type == "cpu"),
        get_device=lambda self: 0 if is_accelerated(self) else _Base.get_device(self),
        to=_to,
        cuda=_cuda,
        cpu=_cpu,
        numpy=_numpy,
        type=_type,
        type_as=_type_as,
        new_tensor=_new_tensor,
        new=_new,
        pin_memory=_pin_memory,
        is_pinned=_is_pinned,
        __dlpack_device__=_dlpack_device,
        grad=property(_grad, _set_grad, _delete_grad),
        grad_fn=property(_grad_fn),
        register_hook=_registering(Tensor.register_hook),
        register_post_accumulate_grad_hook=_registering(Tensor.register_post_accumulate_grad_hook),
    )
    # lazy layers refuse every function but these before they know their sizes
    patches.set(
        UninitializedTensorMixin,
        "_allowed_methods",
        [*UninitializedTensorMixin._allowed_methods, _to, _cuda, _cpu, Tensor.get_device],
    )
    materialize = UninitializedTensorMixin.materialize

    def made(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        if device is None and is_accelerated(self):
            device = CUDA
        materialize(self, shape, device, dtype)

    patches.set(UninitializedTensorMixin, "materialize", made)
    parse = torch._C._nn._parse_to

    def _parse_to(*args: Any, **kwargs: Any) -> Any:
        if args:
            args = (as_device(args[0]), *args[1:])
        if "device" in kwargs:
            kwargs["device"] = as_device(kwargs["device"])
        return parse(*args, **kwargs)

    patches.set(torch._C._nn, "_parse_to", _parse_to)


__all__ = ["CPU", "CUDA", "as_device", "move", "patch"]
