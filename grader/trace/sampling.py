"""Random numbers drawn inside a model: noise that is no layer and no functional dropout."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .forwards import Forwards
from .quiet import Faults
from .threads import Thread

FUNCTIONS = (
    "rand",
    "randn",
    "randint",
    "randperm",
    "rand_like",
    "randn_like",
    "randint_like",
    "bernoulli",
    "multinomial",
    "normal",
    "poisson",
)
"""Names in torch."""
METHODS = (
    "bernoulli",
    "bernoulli_",
    "exponential_",
    "geometric_",
    "log_normal_",
    "multinomial",
    "normal_",
    "random_",
    "uniform_",
)
"""Names in torch.Tensor."""


class Sampling:
    """Wrappers that note a draw inside a call of an outermost module and pass everything on unchanged.

    Filling a parameter is no noise: a lazy layer is initialised in its first call.
    """

    def __init__(self, thread: Thread, faults: Faults, forwards: Forwards) -> None:
        self._thread = thread
        self._faults = faults
        self._forwards = forwards

    def wrappers(self, active: Callable[[], bool]) -> list[tuple[Any, str, Callable[..., Any]]]:
        """(Namespace, name, replacement) of every function observed."""
        places: list[tuple[Any, str]] = [(torch, name) for name in FUNCTIONS]
        places += [(torch.Tensor, name) for name in METHODS]
        return [(space, name, self._wrap(getattr(space, name), name, active)) for space, name in places]

    def _wrap(
        self, original: Callable[..., Any], name: str, active: Callable[[], bool]
    ) -> Callable[..., Any]:
        thread, faults, forwards = self._thread, self._faults, self._forwards

        @functools.wraps(original)
        def drawn(*args: Any, **kwargs: Any) -> Any:
            if thread.forward is not None and not thread.functional and active():
                try:
                    if not (args and isinstance(args[0], nn.Parameter)):
                        forwards.noise(f"torch.{name}")
                except Exception as error:
                    faults.note(name, error)
            return original(*args, **kwargs)

        return drawn
