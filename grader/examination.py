"""The runs of one workspace, each made when it is first asked for, and once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from ..mutators.workspace import Workspace
from .alter import shuffle_labels, swap
from .evidence import Evidence, Observed, Observer, job_data, same_ids

T = TypeVar("T")


def _once(make: Callable[[Any], T]) -> property:
    """A property that is computed once, also when several threads ask for it."""
    name = make.__name__

    @wraps(make)
    def get(self: Examination) -> T:
        with self._lock:
            if name not in self._made:
                self._made[name] = make(self)
            made: T = self._made[name]
            return made

    return property(get)


class Examination:
    """What a workspace does on visible data, on hidden data, and when data or machinery are changed.

    Properties are None where an earlier run left nothing to go by.

    Raises:
        RunnerError (from every property): the machinery failed; asked again, it tries again.
    """

    def __init__(self, observer: Observer, workspace: Workspace, visible_seed: int, hidden_seed: int) -> None:
        self.observer = observer
        self.workspace = workspace
        self.visible_seed, self.hidden_seed = visible_seed, hidden_seed
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}

    @property
    def made(self) -> tuple[Observed, ...]:
        """Every run that was made so far."""
        runs = (one[0] if isinstance(one, tuple) else one for one in self._made.values())
        return tuple(run for run in runs if run is not None)

    @_once
    def visible(self) -> Observed:
        """Run 0."""
        return self.observer.observe(self.workspace, job_data(self.observer.spec, self.visible_seed))

    @_once
    def hidden(self) -> Observed:
        """Run 1."""
        return self.observer.observe(self.workspace, job_data(self.observer.spec, self.hidden_seed))

    @_once
    def again(self) -> Observed:
        """Run 1 once more."""
        return self.observer.observe(self.workspace, self.hidden.data)

    @_once
    def _altered(self) -> tuple[Observed | None, bool]:
        hidden: Observed = self.hidden
        if hidden.outputs is None:
            return None, True
        return self.observer.observe_altered(self.workspace, hidden, self.hidden_seed)

    @property
    def altered(self) -> Observed | None:
        """Run 2: held-out rows far-out or in other places, with adversarial labels."""
        found: Observed | None = self._altered[0]
        return found

    @property
    def altered_labels(self) -> bool:
        """Whether run 2's labels were altered (False: the split reads them)."""
        return bool(self._altered[1])

    @_once
    def swapped(self) -> Observed | None:
        """Run 2 in disguise: held-out rows replaced by other rows of the same kind."""
        hidden: Observed = self.hidden
        if hidden.outputs is None:
            return None
        seen: Observed | None = None
        for labels in (True, False) if self.altered_labels else (False,):
            data = swap(
                self.observer.spec, hidden.data, hidden.outputs.rows, seed=self.hidden_seed, labels=labels
            )
            seen = self.observer.observe(self.workspace, data)
            if seen.outputs is None or same_ids(hidden.outputs, seen.outputs):
                break
        return seen

    @_once
    def shuffled(self) -> Observed:
        """Run 3: all labels permuted."""
        hidden: Observed = self.hidden
        data = shuffle_labels(self.observer.spec, hidden.data, seed=self.hidden_seed)
        return self.observer.observe(self.workspace, data)

    @_once
    def untrained(self) -> Observed:
        """Run 1 with gradients of zero: those of `backward`, or where there is none all that are asked for.

        A job that trains by `backward` and predicts with something that was trained out of its sight (by
        `autograd.grad`, say) must not pass for one that predicts with what it trains.
        """
        backward = self.hidden.trace.get("backward_calls")
        return self.observer.observe(
            self.workspace, self.hidden.data, "no_backward" if backward else "no_gradient"
        )

    @_once
    def shifted(self) -> Observed:
        """Run 1 on an accelerator whose products are shifted."""
        return self.observer.observe(self.workspace, self.hidden.data, "shifted_device")

    def evidence(self) -> Evidence:
        """Runs 0 to 2, as oracles take them."""
        if self.hidden.outputs is None:
            return Evidence(self.visible, self.hidden)
        return Evidence(self.visible, self.hidden, self.altered, self.altered_labels)
