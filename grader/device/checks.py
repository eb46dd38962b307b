"""Which mixtures of devices an operator refuses, and in which words.

Everything here runs only when an operator was given tensors of both devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import messages
from .checked_operators import PLAIN, STRUCTURED
from .tags import is_accelerated, mark

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Check = Callable[[Args, Kwargs], None]


@dataclass(frozen=True)
class Operand:
    """A tensor argument of an operator's schema: its name, whether it is an output, its place (or None)."""

    name: str
    output: bool
    position: int | None

    def tensors(self, args: Args, kwargs: Kwargs) -> Iterator[torch.Tensor]:
        value = kwargs.get(self.name)
        if self.position is not None and self.position < len(args):
            value = args[self.position]
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (one for one in value if isinstance(one, torch.Tensor))


def operands(schema: Any) -> tuple[Operand, ...]:
    """The tensor arguments in the order in which generated code checks them: outputs first."""
    found = []
    place = 0
    for argument in schema.arguments:
        position = None if argument.kwarg_only else place
        place += not argument.kwarg_only
        if "Tensor" in str(argument.type):
            written = argument.alias_info is not None and argument.alias_info.is_write
            found.append(Operand(argument.name, written, position))
    outs = [one for one in found if one.output and one.position is None]
    return (*outs, *(one for one in found if one not in outs))


def _pairs(wanted: Sequence[Operand], args: Args, kwargs: Kwargs) -> list[tuple[Operand, torch.Tensor]]:
    return [(one, tensor) for one in wanted for tensor in one.tensors(args, kwargs)]


def check_iterator(pairs: Sequence[tuple[Operand, torch.Tensor]], scalars: int = 1) -> None:
    """TensorIterator's rule: a CPU operand must be 0-dim and no output, and only `scalars` may be so."""
    exempt = 0
    for operand, tensor in pairs:
        if is_accelerated(tensor):
            continue
        if operand.output or tensor.dim() > 0:
            raise messages.two_devices()
        exempt += 1
    if exempt > scalars:
        raise RuntimeError(messages.TOO_MANY_SCALARS)


def wrapper_name(name: str, overload: str) -> str:
    """The method that generated code names. `name` has its trailing underscore."""
    full = f"{name}.{overload}" if overload else name
    out = "_out" if _is_out(overload) else ""
    if full in STRUCTURED:
        return f"wrapper_CUDA_{name}{out}" + (f"_{overload}" if overload else "")
    return f"wrapper_CUDA_{overload}_{name}{out}"


def _is_out(overload: str) -> bool:
    return overload == "out" or overload.endswith("_out")


def _generated(wanted: Sequence[Operand], method: str) -> Check:
    def check(args: Args, kwargs: Kwargs) -> None:
        pairs = _pairs(wanted, args, kwargs)
        common = pairs[0][1]
        for operand, tensor in pairs:
            if is_accelerated(tensor) != is_accelerated(common):
                raise messages.checked_argument(operand.name, tensor, common, method)

    return check


def _iterator(wanted: Sequence[Operand], scalars: int = 1) -> Check:
    def check(args: Args, kwargs: Kwargs) -> None:
        check_iterator(_pairs(wanted, args, kwargs), scalars)

    return check


def _no_scalars(wanted: Sequence[Operand]) -> Check:
    def check(args: Args, kwargs: Kwargs) -> None:
        for _, tensor in _pairs(wanted, args, kwargs):
            if not is_accelerated(tensor):
                raise messages.two_devices()

    return check


def _renamed(names: Mapping[str, str], method: str) -> Callable[[Sequence[Operand]], Check]:
    """Operators that are made of another one on CUDA, whose argument names are then the ones printed."""

    def build(wanted: Sequence[Operand]) -> Check:
        return _generated([Operand(names.get(o.name, o.name), o.output, o.position) for o in wanted], method)

    return build


def _index(wanted: Sequence[Operand]) -> Check:
    def check(args: Args, kwargs: Kwargs) -> None:
        if is_accelerated(args[0]):
            return  # CPU indices and masks are moved to the tensor they index
        if any(is_accelerated(one) for one in args[1] if one is not None):
            raise RuntimeError(messages.CPU_INDEXED)

    return check


def _index_put(wanted: Sequence[Operand]) -> Check:
    index = _index(wanted)

    def check(args: Args, kwargs: Kwargs) -> None:
        index(args, kwargs)
        target, values = args[0], args[2]
        if values.dim() > 0 and is_accelerated(values) != is_accelerated(target):
            raise messages.two_devices()

    return check


def _masked_fill(wanted: Sequence[Operand]) -> Check:
    def check(args: Args, kwargs: Kwargs) -> None:
        target, mask = args[0], args[1]
        if is_accelerated(target) != is_accelerated(mask):
            raise messages.masked_fill(target, mask)

    return check


def _convolution(wanted: Sequence[Operand]) -> Check:
    def check(args: Args, kwargs: Kwargs) -> None:
        input, weight, bias = args[0], args[1], args[2] if len(args) > 2 else None
        groups = args[8] if len(args) > 8 else 1
        kernel = weight.shape[2:]
        # PyTorch picks the oneDNN kernel, with a longer message, for a CPU input of float32 that is not tiny.
        mkldnn = (
            not is_accelerated(input)
            and input.dtype == torch.float32
            and (groups > 1 or input.shape[0] > 1 or min(kernel) > 3 or input.numel() > 20480)
            and (max(kernel) > 1 or input.shape[0] >= 16 or torch.get_num_threads() > 1)
        )
        for role, other in (("weight", weight), ("bias", bias)):
            if other is not None and is_accelerated(other) != is_accelerated(input):
                raise messages.convolution_types(input, other, role, mkldnn)

    return check


def _batch_norm(method: str) -> Callable[[Sequence[Operand]], Check]:
    def build(wanted: Sequence[Operand]) -> Check:
        native = _generated(wanted, method)
        cudnn = _generated(wanted, "wrapper_CUDA__cudnn_batch_norm")

        def check(args: Args, kwargs: Kwargs) -> None:
            # cuDNN takes images and sequences of the accelerator; rows of a table go to PyTorch's own kernel.
            (cudnn if is_accelerated(args[0]) and args[0].dim() >= 3 else native)(args, kwargs)

        return check

    return build


def _attention(wanted: Sequence[Operand]) -> Check:
    rest = _iterator(wanted)

    def check(args: Args, kwargs: Kwargs) -> None:
        query, key, value = args[:3]
        if len({is_accelerated(one) for one in (query, key, value)}) > 1:
            raise messages.attention(query, key, value)
        rest(args, kwargs)

    return check


def _accepted(wanted: Sequence[Operand]) -> Check:
    def check(args: Args, kwargs: Kwargs) -> None:
        """Any mixture is fine."""

    return check


_STACK = _renamed({}, "wrapper_CUDA_cat")
_EMBEDDING = _renamed({"weight": "self", "indices": "index"}, "wrapper_CUDA__index_select")

_SPECIAL: dict[str, Callable[[Sequence[Operand]], Check]] = {
    "index": _index,
    "_unsafe_index": _index,
    "index_put": _index_put,
    "_index_put_impl": _index_put,
    "_unsafe_index_put": _index_put,
    "masked_fill": _masked_fill,
    "convolution": _convolution,
    "_convolution": _convolution,
    "native_batch_norm": _batch_norm("wrapper_CUDA__native_batch_norm"),
    "_native_batch_norm_legit": _batch_norm("wrapper_CUDA__native_batch_norm_legit"),
    "stack": _STACK,
    "embedding": _EMBEDDING,
    "where": lambda wanted: _iterator(wanted, scalars=3),
    "binary_cross_entropy": _no_scalars,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "copy": _accepted,
    "set": _accepted,
    "_to_copy": _accepted,
    "resize_as": _accepted,
    "_pad_packed_sequence": _accepted,
}


def check_for(name: str, overload: str, schema: Any) -> Check:
    """The check of one operator, by its name (without namespace) and overload."""
    wanted = operands(schema)
    base = name.rstrip("_") if not name.startswith("__") else name
    if base in _SPECIAL:
        return _SPECIAL[base](wanted)
    full = f"{name}.{overload}" if overload else name
    if full in STRUCTURED or full in PLAIN:
        positional = [one for one in wanted if one.position is not None or one.output]
        return _generated(positional, wrapper_name(name, overload))
    return _iterator(wanted)


def run_foreach(func: Any, args: Args, kwargs: Kwargs, inplace: bool) -> Any:
    """A list operator over both devices: entry by entry, as its fallback does it on CUDA builds."""
    values = [*args, *kwargs.values()]
    lists = [
        one for one in values if isinstance(one, (list, tuple)) and one and isinstance(one[0], torch.Tensor)
    ]
    scalars = [one for one in values if isinstance(one, torch.Tensor)]
    on = []
    for entry in zip(*lists, strict=False):
        together = [*entry, *scalars]
        on.append(any(map(is_accelerated, together)))
        if on[-1] and "copy" not in func.__name__:
            first, *rest = together
            pairs = [
                (Operand("self", inplace, 0), first),
                *((Operand("other", False, 1), one) for one in rest),
            ]
            check_iterator(pairs)
    out = func(*args, **kwargs)
    if not inplace and isinstance(out, (list, tuple)):
        for one, accelerated in zip(out, on, strict=False):
            mark(one, accelerated)
    return out
