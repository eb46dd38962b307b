"""Optimizer steps: how many, by whom, at which learning rate, where, and with any gradient at all."""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any

import torch
from torch.optim import Optimizer

from .gradients import Mixture, is_nonzero
from .parameters import Leaves
from .quiet import Faults, Quiet
from .threads import is_running
from .usage import Usage

MAX_NAMES = 32
"""Different optimizer class names that are listed."""


def plain(value: float | None) -> float | str | None:
    """A number as JSON can hold it: non-finite ones as text."""
    return value if value is None or math.isfinite(value) else value.hex()


class Optimizers:
    """Global step hooks. A step inside another's (a subclass calling its parent's) is the same step."""

    def __init__(self, faults: Faults, leaves: Leaves, mixture: Mixture, usage: Usage) -> None:
        self._usage = usage
        self._faults = faults
        self._leaves = leaves
        self._mixture = mixture
        self.steps = 0
        self.empty_steps = 0
        self.names: list[str] = []
        self.step_cpu = 0
        self.step_cuda = 0
        self.momentum = 0.0
        """The largest of SGD's and its kind's, at any step."""
        self._rates: dict[str, float | None] = {"first": None, "last": None, "max": None}
        self._running: list[tuple[Optimizer, FrameType]] = []

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            nested = self._begin(optimizer, sys._getframe(1))
            if nested:
                return
            self._rate(optimizer)
            # torch hands the hook the arguments of step, the optimizer among them
            closure = kwargs.get("closure") or (len(args) > 1 and any(callable(item) for item in args[1:]))
            if not closure:
                with Quiet():
                    self._usage.before_step(_parameters(optimizer))
                    for parameter in _parameters(optimizer):
                        if is_nonzero(parameter.grad):
                            break
                    else:
                        self.empty_steps += 1
        except Exception as error:
            self._faults.note("before step", error)

    def after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            nested = self._end(optimizer)
            if nested:
                return
            self.steps += 1
            name = type(optimizer).__name__
            if name not in self.names and len(self.names) < MAX_NAMES:
                self.names.append(name)
            parameters = _parameters(optimizer)
            if parameters and all(p.is_cuda for p in parameters):
                self.step_cuda += 1
            else:
                self.step_cpu += 1
            self._leaves.see_stepped(parameters)
            with Quiet():
                self._usage.after_step(optimizer)
                if self._mixture.any_mixed:
                    self._mixture.moved(parameters)
        except Exception as error:
            self._faults.note("after step", error)

    def rates(self) -> dict[str, float | str | None]:
        return {key: plain(value) for key, value in self._rates.items()}

    def _begin(self, optimizer: Optimizer, frame: FrameType) -> bool:
        # a step that raised never ended: its frame is no longer among the callers
        if self._running:
            self._running = [item for item in self._running if is_running(item[1], frame)]
        nested = any(other is optimizer for other, _ in self._running)
        self._running.append((optimizer, frame))
        return nested

    def _end(self, optimizer: Optimizer) -> bool:
        for index in range(len(self._running) - 1, -1, -1):
            if self._running[index][0] is optimizer:
                del self._running[index:]
                break
        return any(other is optimizer for other, _ in self._running)

    def _rate(self, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            momentum = group.get("momentum")
            if isinstance(momentum, int | float):
                self.momentum = max(self.momentum, float(momentum))
        rates = [float(group["lr"]) for group in optimizer.param_groups if group.get("lr") is not None]
        if not rates:
            return
        known = self._rates
        if known["first"] is None:
            known["first"] = rates[0]
        known["last"] = rates[0]
        highest = known["max"]
        known["max"] = max(rates) if highest is None else max(highest, *rates)


def _parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
