"""The deterministic judge: the rubric's questions, answered from words, lines and names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from .base import Judgement, Question
from .place import Spot, names_spot, spots, tokens
from .reading import LIMIT, Reading, read
from .rubric import KEYWORDS, Answers, Assessment
from .vocabulary import EFFECT, REMEDY, SHORT, THEMES, accused, label, says, stems, themes_in

TOLD = 0.4
"""Share of a summary's content words that one statement must have to tell the same."""

FEWEST = 2
"""Content words that make a match of words at all."""

DERIVED = 4
"""Content words of explanation and summary that state the mechanism of a class without a table entry."""

LISTED = 3
"""Classes in one statement that make it a list."""


@cache
def registered() -> Mapping[str, str]:
    """Class → explanation, of every class the engine knows. Loads the mutators."""
    from ...mutators.base import all_mutators

    return {one.bug_class: one.explanation() for one in all_mutators()}


@dataclass(frozen=True)
class OfflineJudge:
    """Judges by the rubric alone. The same question gives the same judgement, anywhere.

    known: class → explanation of all classes that a diagnosis could blame; None: those of the registry.
    """

    known: Mapping[str, str] | None = None

    def assess(self, question: Question) -> Judgement:
        found = self.answer(question)
        return Judgement(found.share, "offline", found.reason)

    def answer(self, question: Question) -> Assessment:
        """All answers of the rubric; nothing is right about a text that addresses the judge."""
        reading = read(question.diagnosis)
        nothing = {bug: Answers() for bug in question.bugs}
        if not reading.text.strip():
            return Assessment(nothing, remarks=("the diagnosis is empty",))
        if reading.addresses_judge:
            return Assessment(nothing, remarks=("the text addresses the judge, which earns nothing",))
        where = spots(question.bugs, question.places, question.patch)
        answers = {bug: _answers(bug, question, reading, where[bug]) for bug in question.bugs}
        remarks = [f"only the first {LIMIT:,} characters were read"] * reading.cut
        listed = reading.is_list_of_words
        remarks += ["a list of words, not sentences"] * listed
        known = self.known if self.known is not None else registered()
        blamed = _blamed(question, reading, known)
        return Assessment(answers, blamed, tuple(remarks), KEYWORDS if listed else 1.0)


def _answers(bug: str, question: Question, reading: Reading, spot: Spot) -> Answers:
    told = _told_by(bug, question)
    stating = [one for one in reading.statements if told(one)]
    cause, explained = stems(question.causes.get(bug, "")), question.explanations.get(bug, "")
    special = cause - stems(explained) or cause
    enough = max(FEWEST, math.ceil(TOLD * len(cause)))
    # What the class's explanation says too is true of every such bug, and tells nothing of this one.
    essence = spot.essence - set(tokens(explained))
    return Answers(
        identifies=bool(stating) or any(says(label(bug), one) for one in reading.statements),
        mechanism=bool(stating),
        cause=any(len(stems(one) & cause) >= enough and stems(one) & special for one in reading.statements)
        or any(not essence.isdisjoint(tokens(one)) for one in stating),
        place=names_spot(reading.shown, spot, len(question.bugs)),
        consequence=any(
            EFFECT.search(one) or (REMEDY.search(one) and not spot.touched.isdisjoint(tokens(one)))
            for one in reading.statements
        ),
    )


def _told_by(bug: str, question: Question) -> Callable[[str], bool]:
    """Whether one statement states the mechanism of a true class."""
    cause = stems(question.causes.get(bug, ""))
    if bug not in THEMES:
        explained = cause | stems(question.explanations.get(bug, ""))
        needed = min(FEWEST, len(cause))
        return lambda one: len(stems(one) & explained) >= DERIVED and len(stems(one) & cause) >= needed
    right = _right_themes(bug, question)
    return lambda one: bool(themes_in(one, bug) & right)


def _right_themes(bug: str, question: Question) -> frozenset[str]:
    """The mechanisms that the summary states; a summary in words the table lacks may mean any of them."""
    return themes_in(question.causes.get(bug, ""), bug) or frozenset(THEMES[bug])


def _blamed(question: Question, reading: Reading, known: Mapping[str, str]) -> tuple[str, ...]:
    found: set[str] = set()
    rivals = (set(known) | set(THEMES)) - set(question.bugs)
    truth = " ".join([*question.causes.values(), *question.explanations.values()])
    # The true classes' own texts may use a rival's words, and so may a diagnosis.
    granted = {(bug, theme) for bug in rivals for part in truth.split(". ") for theme in themes_in(part, bug)}
    for one in reading.statements:
        listed = sum(says(pattern, one) for pattern in SHORT.values()) >= LISTED
        for bug in rivals:
            themes = {(bug, theme) for theme in themes_in(one, bug)} - granted
            by_words = bug not in THEMES and len(stems(one) & (stems(known[bug]) - stems(truth))) > DERIVED
            by_list = listed and bug in SHORT and says(SHORT[bug], one)
            if themes or by_words or by_list or says(accused(bug), one):
                found.add(bug)
    return (*sorted(found), *_other_mechanisms(question, reading))


def _other_mechanisms(question: Question, reading: Reading) -> list[str]:
    """Mechanisms of the true classes that are not at work. Where the right one is stated too, one is let
    pass: a large momentum does make the steps too large."""
    found: list[str] = []
    for bug in question.bugs:
        stated = {theme for one in reading.statements for theme in themes_in(one, bug)}
        right = _right_themes(bug, question) if bug in THEMES else frozenset()
        found += sorted(stated - right)[bool(stated & right) :]
    return found
