"""`brute_force`: looks at the source, then guesses."""

from __future__ import annotations

import re
from collections.abc import Callable

from ...env.models import Observation
from .alerts import fitting
from .base import Agent, Brief, Turn, fix, inspect
from .reading import read_sources


class BruteForce(Agent):
    """What the first seed's untrained model did with almost every task: it calls `view_source` at once and
    hands in the fix it knows best for one class after the other. Its fixes are regular expressions that take
    no evidence into account."""

    name = "brute_force"
    about = "Views the source, then guesses a class and its most usual repair, until the steps are spent."
    draws = True

    def __init__(self, brief: Brief) -> None:
        super().__init__(brief)
        self._sources: dict[str, str] = {}
        self._guesses: list[str] = []

    def act(self, seen: Observation) -> Turn:
        if seen.step == 0:
            self._guesses = fitting(seen.alert, self.brief.draw.shuffled(self.brief.classes, "order"))
            return Turn(inspect("view_source"))
        if not self._sources:
            self._sources = read_sources(seen.text, seen.entrypoint)
        guess = self._guesses[(seen.step - 1) % len(self._guesses)]
        repair = REPAIRS.get(guess)
        files = {path: repair(text) if repair else text for path, text in self._sources.items()}
        return Turn(fix((guess,), files or None))


def _zeroed(text: str) -> str:
    return re.sub(
        r"^( *)(\w+)\.backward\(\)", r"\1optimizer.zero_grad()\n\1\2.backward()", text, count=1, flags=re.M
    )


def _evaluated(text: str) -> str:
    return re.sub(
        r"^( *)with torch\.(no_grad|inference_mode)\(\)", r"\1model.eval()\n\g<0>", text, flags=re.M
    )


def _moved(text: str) -> str:
    return re.sub(r"\bmodel\((\w+)\)", r"model(\1.to(device))", text)


def _slower(text: str) -> str:
    return re.sub(r"\blr=[^,)\s]+", "lr=1e-3", text)


def _wider(text: str) -> str:
    return re.sub(r"nn\.Linear\([^,()]+,", "nn.LazyLinear(", text, count=1)


def _split_first(text: str) -> str:
    return re.sub(r"(\w+)\.mean\(", r"\1[train].mean(", text, count=1)


REPAIRS: dict[str, Callable[[str], str]] = {
    "shape_mismatch": _wider,
    "training_collapse": _slower,
    "wrong_device": _moved,
    "gradient_not_zeroed": _zeroed,
    "data_leakage": _split_first,
    "missing_eval_mode": _evaluated,
}
