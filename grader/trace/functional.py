"""`torch.nn.functional`: what no module hook sees. Dropout, batch statistics, and shapes at losses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .forwards import NAMED_LAYERS, Forwards
from .losses import LossShapes
from .quiet import Faults, Quiet
from .threads import Thread

Call = tuple[tuple[Any, ...], dict[str, Any]]

DROPOUTS = {
    "dropout": True,
    "dropout1d": True,
    "dropout2d": True,
    "dropout3d": True,
    "alpha_dropout": False,
    "feature_alpha_dropout": False,
}
"""Name in torch.nn.functional → its default for `training`."""
PLAIN_DROPOUTS = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout")
"""Names in torch, called with (input, p, train)."""
LOSSES = (
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "gaussian_nll_loss",
    "poisson_nll_loss",
)
"""Elementwise: a target of another shape is broadcast, with a warning at most."""


def _is_expanded(tensor: torch.Tensor) -> bool:
    """Whether elements stand for several places, as `expand` and `broadcast_tensors` leave them."""
    if tensor.layout != torch.strided:
        return False
    return any(size > 1 and step == 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _argument(call: Call, position: int, name: str, default: Any) -> Any:
    args, kwargs = call
    return args[position] if len(args) > position else kwargs.get(name, default)


def _dropout(call: Call, default: bool, flag: str = "training") -> bool | None:
    return bool(_argument(call, 2, flag, default)) if _argument(call, 1, "p", 0.5) > 0 else None


def _noise_tests() -> dict[tuple[Any, str], Callable[[Call], bool | None]]:
    """(Namespace, name) → whether a call adds noise or mixes rows: True, False where it would in training
    mode, None where it does neither or does not say."""
    functional = nn.functional
    tests: dict[tuple[Any, str], Callable[[Call], bool | None]] = {}
    for name, default in DROPOUTS.items():
        tests[functional, name] = functools.partial(_dropout, default=default)
    for name in PLAIN_DROPOUTS:
        tests[torch, name] = functools.partial(_dropout, default=True, flag="train")
    # batch statistics, whether the layer is training or keeps no running ones: rows then see each other
    for space in (functional, torch):
        tests[space, "batch_norm"] = lambda call: bool(_argument(call, 5, "training", False))
    # without running statistics instance norm does the same in either mode
    tests[functional, "instance_norm"] = lambda call: (
        (
            _argument(call, 1, "running_mean", None) is not None
            and bool(_argument(call, 5, "use_input_stats", True))
        )
        or None
    )
    tests[functional, "multi_head_attention_forward"] = lambda call: (
        bool(_argument(call, 10, "dropout_p", 0.0) > 0 and _argument(call, 13, "training", True)) or None
    )
    tests[functional, "scaled_dot_product_attention"] = lambda call: (
        bool(_argument(call, 4, "dropout_p", 0.0) > 0) or None
    )
    return tests


class Functional:
    """Wrappers that look at the arguments and pass everything on unchanged.

    A function that a wrapped function calls is not looked at again.
    """

    def __init__(self, thread: Thread, faults: Faults, forwards: Forwards, shapes: LossShapes) -> None:
        self._thread = thread
        self._faults = faults
        self._forwards = forwards
        self._shapes = shapes

    def wrappers(self, active: Callable[[], bool]) -> list[tuple[Any, str, Callable[..., Any]]]:
        """(Namespace, name, replacement) of every function observed."""
        made = []
        for (space, name), test in _noise_tests().items():
            made.append((space, name, self._wrap(getattr(space, name), active, self._noise_look(name, test))))
        for name in LOSSES:
            original = getattr(nn.functional, name)
            made.append((nn.functional, name, self._wrap(original, active, self._shape_look(name))))
        return made

    def _wrap(
        self, original: Callable[..., Any], active: Callable[[], bool], look: Callable[[Call], None]
    ) -> Callable[..., Any]:
        thread, faults = self._thread, self._faults

        @functools.wraps(original)
        def observed(*args: Any, **kwargs: Any) -> Any:
            if thread.functional or not active():
                return original(*args, **kwargs)
            try:
                look((args, kwargs))
            except Exception as error:
                faults.note(original.__name__, error)
            thread.functional += 1
            try:
                return original(*args, **kwargs)
            finally:
                thread.functional -= 1

        return observed

    def _noise_look(self, name: str, test: Callable[[Call], bool | None]) -> Callable[[Call], None]:
        def look(call: Call) -> None:
            noisy = test(call)
            if noisy:
                stack = self._thread.stack
                layer = stack[-1].module if stack else None
                named = isinstance(layer, NAMED_LAYERS)
                self._forwards.noise(type(layer).__name__ if named else f"F.{name}")
            elif noisy is False:
                self._forwards.rest()

        return look

    def _shape_look(self, name: str) -> Callable[[Call], None]:
        def look(call: Call) -> None:
            given, target = _argument(call, 0, "input", None), _argument(call, 1, "target", None)
            if isinstance(given, torch.Tensor) and isinstance(target, torch.Tensor):
                crossed = _is_expanded(given) and _is_expanded(target)
                self._shapes.compare(name, given.shape, target.shape, crossed=crossed)
                inputs = self._forwards.inputs
                if inputs is not None and torch.is_grad_enabled() and given.requires_grad:
                    with Quiet():
                        inputs.target(target)

        return look
