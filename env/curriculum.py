"""What the next episode is about.

A scheduler hands out assignments and is told how their episodes ended. Three are here: uniform, the first
seed's, which returns to what goes badly, and one that goes where something is being learnt. What they choose
is a function of their seed, of how many assignments they handed out, and of which reports they had by then,
in whichever order those came.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

from ..errors import UsageError
from ..seeds import Draw
from .arms import Arm, arms_of
from .tasks import Assignment

KEPT_OPEN = 4096
"""Assignments for which reports are still taken: the last ones handed out. A session that takes longer than
this many others is not heard."""
UNIT = 1_000_000
"""Scores are added up in millionths, as integers: sums do not depend on the order of reports."""
LARGEST_SCORE = 1_000.0
VERSION = 1


class Scheduler(Protocol):
    """Chooses assignments and learns from how episodes ended. Used by several sessions at once."""

    def next(self) -> Assignment:
        """What the next episode is about."""
        ...

    def report(self, assignment: Assignment, score: float) -> None:
        """How an episode ended."""
        ...


class Curriculum(ABC):
    """What the schedulers share: arms, assignments with fresh seeds, and the books. Safe between threads.

    Several episodes may be reported for one assignment (the completions of a group). Reports for what was
    never handed out (an episode whose seed somebody chose), or too long ago, are ignored and counted.

    Args:
        seed: of all choices. arms: what to choose from; by default `arms_of()`.

    Attributes:
        ignored: reports that were ignored.
    """

    kind: ClassVar[str]
    _kept = 0
    """Of how many of its last assignments an arm remembers the scores."""

    def __init__(self, seed: int = 0, arms: Iterable[Arm] | None = None) -> None:
        self._arms = arms_of() if arms is None else tuple(arms)
        if not self._arms or len(set(self._arms)) != len(self._arms):
            raise UsageError("a scheduler needs arms, each of them once")
        self._seed = seed
        self._draw = Draw("curriculum", self.kind, seed)
        self._lock = threading.Lock()
        self._handed_out = 0
        self._open: OrderedDict[Assignment, tuple[int, int]] = OrderedDict()
        self._totals = [0] * len(self._arms)
        self._counts = [0] * len(self._arms)
        self._recent: list[dict[int, tuple[int, int]]] = [{} for _ in self._arms]
        self.ignored = 0

    @property
    def arms(self) -> tuple[Arm, ...]:
        return self._arms

    def means(self) -> dict[Arm, float]:
        """The mean score of each arm that was reported."""
        with self._lock:
            books = zip(self._arms, self._totals, self._counts, strict=True)
            return {arm: total / UNIT / count for arm, total, count in books if count}

    def next(self) -> Assignment:
        """What the next episode is about; no two are alike."""
        with self._lock:
            number = self._handed_out
            arm = self._choose(self._draw.child(number))
            self._handed_out += 1
            assignment = self._assignment(number, arm)
            self._open[assignment] = (number, arm)
            while len(self._open) > KEPT_OPEN:
                self._open.popitem(last=False)
            return assignment

    def report(self, assignment: Assignment, score: float) -> None:
        """How an episode ended.

        Raises:
            UsageError: the score is no finite number.
        """
        if not (isinstance(score, int | float) and abs(score) <= LARGEST_SCORE):
            raise UsageError(f"a score is a number (episodes are paid 0 to 1.34), got {score!r}")
        with self._lock:
            found = self._open.get(assignment)
            if found is None:
                self.ignored += 1
                return
            number, arm = found
            amount = round(score * UNIT)
            self._totals[arm] += amount
            self._counts[arm] += 1
            recent = self._recent[arm]
            total, count = recent.get(number, (0, 0))
            recent[number] = (total + amount, count + 1)
            if len(recent) > self._kept:
                del recent[min(recent)]

    def state(self) -> dict[str, Any]:
        """All there is to know, as JSON holds it; the same history gives the same value."""
        with self._lock:
            return {
                **self._identity(),
                "handed_out": self._handed_out,
                "open": [list(one) for one in self._open.values()],
                "totals": list(self._totals),
                "counts": list(self._counts),
                "ignored": self.ignored,
                "recent": [[[number, *sums] for number, sums in sorted(one.items())] for one in self._recent],
            }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state()` gave.

        Raises:
            UsageError: it is no such state, or one of a scheduler of another kind, seed, arms or settings;
                nothing is changed then.
        """
        own = self._identity()
        if not isinstance(state, Mapping):
            raise UsageError("a scheduler's state is the mapping that state() gave")
        if differs := [name for name in own if state.get(name) != own[name]]:
            raise UsageError(
                f"this is not the state of such a scheduler: {differs[0]} is not {str(own[differs[0]])[:200]}"
            )
        try:
            handed_out, ignored = _whole(state["handed_out"]), _whole(state["ignored"])
            totals = [_whole(one, -math.inf) for one in state["totals"]]
            counts = [_whole(one) for one in state["counts"]]
            opened = [(_whole(number), _whole(arm)) for number, arm in state["open"]]
            recent = [
                {_whole(number): (_whole(total, -math.inf), _whole(count)) for number, total, count in one}
                for one in state["recent"]
            ]
            if not len(totals) == len(counts) == len(recent) == len(self._arms):
                raise ValueError("wrong number of arms")
            if any(not count for one in recent for _, count in one.values()):
                raise ValueError("an assignment without reports")
            if len(opened) > handed_out or any(number >= handed_out for number, _ in opened):
                raise ValueError("more is open than was handed out")
            again = OrderedDict((self._assignment(*one), one) for one in opened)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UsageError(f"this is not a scheduler's state ({type(error).__name__}: {error})") from None
        with self._lock:
            self._handed_out, self.ignored, self._open = handed_out, ignored, again
            self._totals, self._counts, self._recent = totals, counts, recent

    def _identity(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": VERSION,
            "seed": self._seed,
            "arms": [[list(one.bugs), list(one.scripts)] for one in self._arms],
        }

    def _assignment(self, number: int, arm: int) -> Assignment:
        draw, chosen = self._draw.child(number), self._arms[arm]
        script = draw.choose(chosen.scripts, "script") if chosen.scripts else None
        return Assignment(draw.below(1 << 53, "seed"), chosen.bugs, script)

    @abstractmethod
    def _choose(self, draw: Draw) -> int:
        """The index of the next arm. The lock is held here and in what follows."""


def _whole(value: Any, least: float = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{value!r:.60} is no whole number")
    return value


class UniformScheduler(Curriculum):
    """Every arm is equally likely, whatever is reported."""

    kind = "uniform"

    def _choose(self, draw: Draw) -> int:
        return draw.below(len(self._arms), "arm")


class AdversarialScheduler(Curriculum):
    """The first seed's: return to what goes badly.

    An arm is weak if at least `ATTEMPTS` of its episodes were reported and their mean score, over all of
    them, is below `WEAK`. If any arm is weak, an assignment goes with probability 7/10 to one of the weak
    ones, each equally likely; otherwise, and if none is weak, to one of all arms, each equally likely. Every
    assignment has a fresh seed. (A weak arm that is still hopeless keeps its full part.)
    """

    kind = "adversarial"
    WEAK = 0.6
    ATTEMPTS = 3

    def _choose(self, draw: Draw) -> int:
        weak = [
            arm
            for arm, (total, count) in enumerate(zip(self._totals, self._counts, strict=True))
            if count >= self.ATTEMPTS and total < self.WEAK * UNIT * count
        ]
        if weak and draw.chance(7, 10, "weak"):
            return draw.choose(weak, "arm")
        return draw.below(len(self._arms), "arm")


class ProgressScheduler(Curriculum):
    """Go where scores change: arms that are mastered, or hopeless yet, get little.

    An arm remembers the mean score of each of its last 2·`window` assignments. With h = half of those it has,
    and s² the pooled variance within the two halves, its progress is

        p = max(0, | mean of the newest h − mean of the h before | − s·√(2/h))

    (less than one standard error may be luck), and p = `UNKNOWN` while it has fewer than `FEWEST`. Its room
    is r = max(`LEAST`, 1 − mean of what it remembers). The next assignment goes to it with probability

        (1 − explore) · p / Σp  +  explore · r / Σr

    where explore counts as 1 while no arm progresses. The absolute value brings back an arm that is being
    forgotten; the second part finds one that has become learnable, and spends little on what is mastered.

    Absolute learning progress as what a bandit over tasks is paid: Matiisen et al. 2017, Teacher-Student
    Curriculum Learning (arXiv 1707.00183, its window algorithm; here two window means instead of a regressed
    slope). A fifth of the choices for exploration: Portelas et al. 2019, ALP-GMM (arXiv 1910.07224). The
    standard error and the room are additions, so that the noise of mastered arms is not taken for progress
    and slow starters do not starve. `tests/env/test_curriculum.py` compares the three on simulated learners.
    """

    kind = "progress"
    UNKNOWN = 1.0
    FEWEST = 4
    LEAST = 0.1

    def __init__(
        self,
        seed: int = 0,
        arms: Iterable[Arm] | None = None,
        *,
        window: int = 5,
        explore: float = 0.2,
    ) -> None:
        super().__init__(seed, arms)
        if window < self.FEWEST // 2 or not 0.0 < explore <= 1.0:
            raise UsageError(f"window must be 2 at least and explore in (0, 1], got {window!r}, {explore!r}")
        self._explore = explore
        self._kept = 2 * window

    def probabilities(self) -> dict[Arm, float]:
        """How likely each arm is next."""
        with self._lock:
            return dict(zip(self._arms, self._weights(), strict=True))

    def _weights(self) -> list[float]:
        remembered = [
            [total / UNIT / count for _, (total, count) in sorted(one.items())] for one in self._recent
        ]
        progress = [self._progress(scores) for scores in remembered]
        room = [max(self.LEAST, 1.0 - (_mean(scores) if scores else 0.0)) for scores in remembered]
        moving, left = math.fsum(progress), math.fsum(room)
        if not moving:
            return [one / left for one in room]
        known = (1.0 - self._explore) / moving
        return [known * p + self._explore * r / left for p, r in zip(progress, room, strict=True)]

    def _progress(self, scores: list[float]) -> float:
        if len(scores) < self.FEWEST:
            return self.UNKNOWN
        half = len(scores) // 2
        older, newer = scores[-2 * half : -half], scores[-half:]
        means = _mean(older), _mean(newer)
        off = [
            (score - mean) ** 2 for part, mean in zip((older, newer), means, strict=True) for score in part
        ]
        error = math.sqrt(math.fsum(off) / (2 * half - 2) * 2 / half)
        return max(0.0, abs(means[1] - means[0]) - error)

    def _choose(self, draw: Draw) -> int:
        weights = self._weights()
        left = draw.number("arm") / 2**128 * math.fsum(weights)
        for arm, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return arm
        return len(weights) - 1

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {"window": self._kept // 2, "explore": self._explore}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
