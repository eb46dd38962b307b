"""What the recorder does unseen: tensor work that no mode of the script takes part in, and guarded hooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

MAX_FAULTS = 20
"""Internal failures that are kept; a broken hook would otherwise write one a step."""
FAULT_LENGTH = 200
"""Characters kept of one failure."""


class Faults:
    """Failures of the recorder itself: noted, never raised into the script."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, where: str, error: BaseException) -> None:
        """Keep `where: Type: message`, shortened; drop repetitions and what comes after MAX_FAULTS."""
        try:
            text = f"{where}: {type(error).__name__}: {error}"[:FAULT_LENGTH]
        except Exception:
            text = f"{where}: {type(error).__name__}"
        if len(self.notes) < MAX_FAULTS and text not in self.notes:
            self.notes.append(text)

    @contextmanager
    def guard(self, where: str) -> Iterator[None]:
        """Swallow and note whatever the body raises."""
        try:
            yield
        except Exception as error:
            self.note(where, error)


class Quiet:
    """Context in which tensor work is plain: no gradients, no `__torch_function__`, no dispatch modes.

    Under it a tensor of the simulated accelerator is the ordinary CPU tensor that it is.
    """

    __slots__ = ("_dispatch", "_functions", "_gradients")

    def __enter__(self) -> None:
        self._functions: Any = torch._C.DisableTorchFunction()
        self._functions.__enter__()
        self._gradients = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        # a guard of C++: taking the modes off their stack instead costs ten times as much
        self._dispatch: Any = None
        if torch._C._len_torch_dispatch_stack():
            self._dispatch = torch._C._DisableTorchDispatch()
            self._dispatch.__enter__()

    def __exit__(self, *exception: object) -> None:
        if self._dispatch is not None:
            self._dispatch.__exit__(None, None, None)
        torch._C._set_grad_enabled(self._gradients)
        self._functions.__exit__(None, None, None)
