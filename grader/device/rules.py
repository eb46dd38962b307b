"""What to do when an operator is called: one cached plan for each operator.

A plan is a function (operator, arguments, keywords) → result. Operators that cannot change or mix devices
(views, in-place operators of one tensor, reads of a number) get the plan that does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import checks, messages
from .checks import Args, Kwargs
from .generators import check_generator
from .state import local
from .tags import CPU, is_accelerated, mark, mark_all, mark_pinned, names_accelerator

Plan = Callable[[Any, Args, Kwargs], Any]
Tensor = torch.Tensor


def _plain(func: Any, args: Args, kwargs: Kwargs) -> Any:
    return func(*args, **kwargs)


def _unary(func: Any, args: Args, kwargs: Kwargs) -> Any:
    out = func(*args, **kwargs)
    if is_accelerated(args[0] if args else next(iter(kwargs.values()))):
        mark_all(out)
    return out


def _random_inplace(func: Any, args: Args, kwargs: Kwargs) -> Any:
    generator = kwargs.get("generator")
    if generator is not None:
        check_generator(generator, is_accelerated(args[0]))
    return func(*args, **kwargs)


def _factory(func: Any, args: Args, kwargs: Kwargs) -> Any:
    source = args[0] if args and isinstance(args[0], Tensor) else kwargs.get("self")
    device = kwargs.get("device")
    pinned = kwargs.get("pin_memory")
    if device is None:
        target = isinstance(source, Tensor) and is_accelerated(source)
    else:
        target = names_accelerator(device)
    if target or pinned:
        kwargs = dict(kwargs)
        if device is not None:
            kwargs["device"] = CPU
        if pinned:
            kwargs["pin_memory"] = None
    generator = kwargs.get("generator")
    if generator is not None:
        check_generator(generator, target)
    out = func(*args, **kwargs)
    if target:
        mark(out)
    elif pinned:
        mark_pinned(out)
    return out


def _pack(func: Any, args: Args, kwargs: Kwargs) -> Any:
    if is_accelerated(args[1]):
        raise messages.packed_lengths(args[1])
    out = func(*args, **kwargs)
    if is_accelerated(args[0]):
        mark(out[0])
    return out


def _first_result_follows(func: Any, args: Args, kwargs: Kwargs) -> Any:
    out = func(*args, **kwargs)
    if is_accelerated(args[0]):
        mark(out[0])
    return out


def _copy(func: Any, args: Args, kwargs: Kwargs) -> Any:
    out = func(*args, **kwargs)
    if is_accelerated(args[0]):
        mark(out)
    return out


def _foreach(name: str) -> Plan:
    inplace = name.endswith("_")

    def plan(func: Any, args: Args, kwargs: Kwargs) -> Any:
        first = args[0] if args else ()
        states = {is_accelerated(one) for one in first}
        for value in args[1:]:
            if isinstance(value, Tensor):
                states.add(is_accelerated(value))
            elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
                states.update(map(is_accelerated, value))
        if len(states) > 1 and not local.in_backward:
            return checks.run_foreach(func, args, kwargs, inplace)
        out = func(*args, **kwargs)
        if not inplace and True in states:
            mark_all(out)
        return out

    return plan


def _general(check: checks.Check, marks: bool) -> Plan:
    def plan(func: Any, args: Args, kwargs: Kwargs) -> Any:
        on = off = False
        for value in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(value, Tensor):
                if is_accelerated(value):
                    on = True
                else:
                    off = True
            elif type(value) is list or type(value) is tuple:
                for one in value:
                    if isinstance(one, Tensor):
                        if is_accelerated(one):
                            on = True
                        else:
                            off = True
        if on:
            if off and not local.in_backward:
                check(args, kwargs)
            out = func(*args, **kwargs)
            if marks:
                mark_all(out)
            return out
        return func(*args, **kwargs)

    return plan


def _index(check: checks.Check) -> Plan:
    """Indexing: the result follows the tensor that is indexed, not its indices."""

    def plan(func: Any, args: Args, kwargs: Kwargs) -> Any:
        check(args, kwargs)
        out = func(*args, **kwargs)
        if is_accelerated(args[0]):
            mark(out)
        return out

    return plan


_BY_NAME: dict[str, Plan] = {
    "_pack_padded_sequence": _pack,
    "_pad_packed_sequence": _first_result_follows,
    "copy": _copy,
    "lift_fresh": _plain,
    "lift": _plain,
    "copy_": _plain,
    "set_": _plain,
    "resize_": _plain,
    "_local_scalar_dense": _plain,
}


def plan_for(func: Any) -> Plan:
    """The plan of one operator overload."""
    schema = func._schema
    namespace, _, name = schema.name.partition("::")
    arguments = schema.arguments
    tensors = checks.operands(schema)
    if namespace == "aten" and name in _BY_NAME:
        return _BY_NAME[name]
    if any(argument.name == "device" for argument in arguments):
        return _factory
    returns = any("Tensor" in str(one.type) for one in schema.returns)
    if not tensors:
        return _plain
    inplace = (
        all(one.alias_info is not None and one.alias_info.is_write for one in schema.returns) and returns
    )
    if name.startswith("_foreach"):
        return _foreach(name)
    random = any(argument.name == "generator" for argument in arguments)
    single = len(tensors) == 1 and "[]" not in str(_type_of(schema, tensors[0].name))
    if single:
        if random and inplace:
            return _random_inplace
        if random:
            return _checked_random(_unary)
        if func.is_view or inplace or not returns:
            return _plain
        if tensors[0].position == 0:
            return _unary
    check = checks.check_for(name, schema.overload_name, schema)
    if name in ("index", "_unsafe_index") and not inplace:
        return _index(check)
    plan = _general(check, marks=returns and not inplace)
    return _checked_random(plan) if random else plan


def _type_of(schema: Any, name: str) -> str:
    return next(str(argument.type) for argument in schema.arguments if argument.name == name).replace(
        "List[", "[]"
    )


def _checked_random(plan: Plan) -> Plan:
    def checked(func: Any, args: Args, kwargs: Kwargs) -> Any:
        generator = kwargs.get("generator")
        if generator is None:
            generator = next((one for one in args if isinstance(one, torch._C.Generator)), None)
        if generator is not None:
            check_generator(generator, is_accelerated(args[0]))
        return plan(func, args, kwargs)

    return checked
