"""Where each thread of the script is: inside which module, custom function or engine call."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import nn

from .rows import NONE, Keys


@dataclass(slots=True, eq=False)
class Forward:
    """One call of an outermost module.

    rows: size of the first dimension of the first tensor argument; keys: one for each of them.
    noise: names of what ran in training mode inside, or drew random numbers. at_rest: whether something that
    could have ran in evaluation mode inside. counted: whether the module owns a parameter. differentiated: a
    backward reached it.
    """

    rows: int = 0
    keys: Keys = field(default_factory=lambda: NONE)
    sample: Any = None
    """Numbers of those rows, where inputs are followed."""
    noise: set[str] = field(default_factory=set)
    at_rest: bool = False
    counted: bool = False
    cuda: bool = False
    differentiated: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """A module call in progress. frame: the frame that called the hook, alive as long as the call is.

    handled: the exception that was being handled when the call began, or None.
    """

    module: nn.Module
    frame: FrameType
    handled: BaseException | None


def is_running(frame: FrameType, current: FrameType) -> bool:
    """Whether `frame` is `current` or one of its callers."""
    walker: FrameType | None = current
    while walker is not None and walker is not frame:
        walker = walker.f_back
    return walker is frame


class Thread(threading.local):
    """Per-thread state of the recorder."""

    def __init__(self) -> None:
        self.stack: list[Entry] = []
        self.forward: Forward | None = None
        self.region: list[Forward] | None = None
        """Outermost module calls inside the custom autograd function that is running, if one is."""
        self.engine = 0
        self.functional = 0

    def drop_dead(self, frame: FrameType) -> None:
        """Forget calls that were left by an exception which no hook sees (SystemExit and its kind)."""
        while self.stack:
            if is_running(self.stack[-1].frame, frame):
                return
            self.stack.pop()
        self.forward = None
