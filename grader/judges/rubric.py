"""The rubric: the same yes-or-no questions for every judge, and what the answers are worth.

For each true class, five questions about a diagnosis:

- `identifies`: does it name the class or its mechanism at all?
- `mechanism`: does one statement say what goes wrong, in the field's words ("the gradients are never
  cleared")? A thing and its fault are both needed; the thing alone is a topic.
- `cause`: does it say how it came about here: the words of the manifestation's summary, or what the fix adds
  or takes away?
- `place`: a line within a few of the fix, the function, or names from the changed lines?
- `consequence`: what it does to the run, or what to do about it?

The share of one class is NAMED for `identifies` alone, MECHANISM for the mechanism; PLACE counts with
either, CAUSE and CONSEQUENCE only with the mechanism. The share of a diagnosis is the mean over the true
classes, less BLAMED for each class that it blames wrongly and for each further mechanism of a true class
that is not the one at work. Repeating anything is worth nothing, since the answers are yes or no; a text of
keywords without sentences gets KEYWORDS at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

NAMED = 0.10
"""The class by name: a submission that is asked has claimed it already, so this says almost nothing new."""
MECHANISM = 0.40
"""What goes wrong: the part without which there is no diagnosis."""
PLACE = 0.25
"""Where: what makes a diagnosis one of this job, and cannot be learned by heart."""
CAUSE = 0.20
"""How it came about here. Below the place, because a short summary leaves many honest ways to say it."""
CONSEQUENCE = 0.15
"""What it did, or what to do. The least: the agent has fixed it already."""
BLAMED = 0.40
"""As much as a mechanism is worth: naming one more mechanism on the chance that it is right never pays."""
KEYWORDS = 0.30
"""The most for a list of words: less than one sentence that states the mechanism."""


@dataclass(frozen=True)
class Answers:
    """The rubric's answers for one true class."""

    identifies: bool = False
    mechanism: bool = False
    cause: bool = False
    place: bool = False
    consequence: bool = False

    @property
    def share(self) -> float:
        if not self.identifies:
            return 0.0
        if not self.mechanism:
            return NAMED + PLACE * self.place
        return MECHANISM + PLACE * self.place + CAUSE * self.cause + CONSEQUENCE * self.consequence

    def both(self, other: Answers) -> Answers:
        """Yes only where both say yes."""
        return Answers(**{name: getattr(self, name) and getattr(other, name) for name in CRITERIA})

    @property
    def words(self) -> str:
        """For people: `mechanism and place`."""
        right = [name for name in CRITERIA[1:] if getattr(self, name)]
        if not self.identifies:
            return "not named"
        return " and ".join([", ".join(right[:-1]), right[-1]][len(right) < 2 :]) if right else "named only"


CRITERIA = ("identifies", "mechanism", "cause", "place", "consequence")


@dataclass(frozen=True)
class Assessment:
    """All answers about one diagnosis.

    answers: true class → answers. blamed: what it blames wrongly, sorted. remarks: what else a person should
    know. limit: the most it can earn.
    """

    answers: Mapping[str, Answers]
    blamed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    limit: float = 1.0

    @property
    def share(self) -> float:
        """In [0, 1], to four digits."""
        if not self.answers:
            return 0.0
        mean = sum(one.share for one in self.answers.values()) / len(self.answers)
        return round(min(max(mean - BLAMED * len(self.blamed), 0.0), self.limit), 4)

    def confirmed(self, others: Mapping[str, Answers], blames: bool) -> Assessment:
        """What is left if a second judge must agree: never more than there was."""
        answers = {bug: one.both(others.get(bug, Answers())) for bug, one in self.answers.items()}
        blamed = self.blamed or (("something else",) if blames else ())
        return replace(self, answers=answers, blamed=blamed)

    @property
    def reason(self) -> str:
        """One sentence."""
        parts = [f"{bug}: {one.words}" for bug, one in sorted(self.answers.items())]
        if self.blamed:
            parts.append(f"wrongly blamed: {', '.join(self.blamed)}")
        return "; ".join([*parts, *self.remarks]) + "."
