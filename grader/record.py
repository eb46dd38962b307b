"""A run's trace, read as hostile: a script can write what it likes into the recorder that watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def amount(trace: Mapping[str, Any], *path: str) -> float:
    """A number in a record that a submission may have written; 0 for anything else."""
    value: Any = trace
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _optional_count(value: Any) -> bool:
    return value is None or _count(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _losses(value: Any) -> bool:
    try:
        return _texts(value) and all(isinstance(float.fromhex(text), float) for text in value)
    except (ValueError, OverflowError):
        return False


def _exception(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and _fits(value, {"type": _text, "message": _text, "steps_before": _count})


def _first_mismatch(value: Any) -> bool:
    names = ("function", "input", "target")
    return value is None or (isinstance(value, dict) and all(name in value for name in names))


def _counts(*names: str, **others: Check) -> Check:
    return lambda value: isinstance(value, dict) and _fits(value, dict.fromkeys(names, _count) | others)


SHAPE: dict[str, Check] = {
    "losses": _losses,
    "losses_digest": _text,
    "backward_calls": _count,
    "gradient_calls": _count,
    "optimizer_steps": _count,
    "mixture": _counts("violations", "leaves", first_backward=_optional_count),
    "empty_steps": _count,
    "parameters": _counts("tensors", "elements", "stepped", "largest", digest=_text),
    "used_gradients": _counts("steps", "unlike", "looked", "erased", "backwards", "discarded"),
    "train_forwards": _counts("calls", "rows", "distinct_rows", "at_rest"),
    "eval_forwards": _counts(
        "calls", "rows", "rounds", "noisy_calls", "noisy_rows_not_trained_on", noisy_layers=_texts
    ),
    "devices": _counts("step_cpu", "step_cuda", "train_cpu", "train_cuda", "eval_cpu", "eval_cuda"),
    "loss_shapes": _counts("mismatched", first=_first_mismatch),
    "swallowed": _count,
    "missing_hooks": _texts,
    "exception": _exception,
}
"""What the grader reads of a record, and what it must look like."""


def _moments(value: Any) -> bool:
    """A list of [mean, deviation], both finite numbers."""
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(isinstance(pair, list) and len(pair) == 2 and all(map(_number, pair)) for pair in value)
    )


def _pools(value: Any) -> bool:
    return isinstance(value, dict) and len(value) <= 3 and all(map(_moments, value.values()))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST < value < MOST


MOST = 1e300
"""Numbers beyond it could overflow where they are compared."""

INPUTS: dict[str, Check] = {
    "inputs": _counts(
        "trained_on",
        "evaluated",
        "evaluated_only",
        "kept_for_the_end",
        complete=lambda value: isinstance(value, bool),
        columns=_moments,
        pools=_pools,
        targets=_moments,
    )
}
"""What is there besides where rows were followed."""


def _fits(value: Mapping[str, Any], shape: Mapping[str, Check]) -> bool:
    return all(name in value and check(value[name]) for name, check in shape.items())


def well_formed(record: Mapping[str, Any] | None, *, inputs: bool = False) -> Mapping[str, Any] | None:
    """The record, or None where it is not one that a recorder makes: it then counts as none at all.

    inputs: whether it must tell of the rows that were trained on and evaluated.
    """
    shape = SHAPE | INPUTS if inputs else SHAPE
    return record if record is not None and _fits(record, shape) else None
