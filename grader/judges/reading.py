"""A hostile text, made readable: cut, cleaned, split into statements; and whether it addresses the judge."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

LIMIT = 4000
"""Characters of a diagnosis that are read. A thorough one takes about a thousand; the rest is cut."""

WINDOW = 40
"""Words that can make one statement together. A longer sentence is read in pieces, so that a page of
keywords without a full stop does not state everything at once."""

LETTERS = 60
"""Characters of one word; ten times as many of one statement: patterns take time on what has no spaces."""

STATEMENTS = 100
"""Statements that are read; a diagnosis has five, and each costs time."""

NOTES = 8
"""Plain words that may stand without grammar: `missing zero_grad() -> grads pile up over batches` is fine."""

CODE_LINES = 12
"""Lines of code that are looked at. A quoted fix is shorter, a copied script longer."""

# Said of a thing to take it out of the discussion: neither blamed nor named.
_DENIED = re.compile(
    r"\b(is|are|was|were|looks?|seems?) (all |both |probably )?"
    r"(fine|ok|okay|correct|unrelated|innocent|right(?! (after|before|between|in|at)))\b"
    r"|\bnot (an?|because|due|about|caused)\b"
    r"|\b(not|n't) the (problem|cause|issue|bug|culprit|fault|reason)\b"
    r"|\bnothing (is )?wrong\b|\bno (problem|issue)s? with\b|\bruled? out\b"
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_PART = re.compile(r", |(?=,?\s+\b(?:but|whereas|however)\b)")
_BULLET = re.compile(r"^\s*([-*+•]|\d+[.)])\s+")
_CODE = re.compile(
    r"\s*(import \w|from [\w.]+ import|(async )?def \w|class \w|@\w|#|return\b|@@ |[+-]{1,3}[ \w]"
    r"|(with|for|if|elif|while|except|else|try)\b.*:$"
    r"|[\w.\[\]\"']+(, ?[\w.\[\]]+)*\s*[-+*/]?=\s?\S|[\w.]+\(.*\)?[,:]?$|[)\]}]+,?$)"
)

# Narrow on purpose: an honest text must not be taken for one of these. What slips through gains nothing
# either, since the endpoint cannot pay more than the rubric.
_ADDRESSED = re.compile(
    r"\b(ignore|disregard|forget|override|bypass)\b.{0,30}\b(instructions?|prompts?|rubric"
    r"|criteria|guidelines)\b"
    r"|\b(previous|prior|above|earlier|system) (instructions|prompts?)\b"
    r"|\byou are (now )?(an?|the|my) (\w+ )?(judge|grader|evaluator|assistant|examiner|model)\b"
    r"|\b(dear|attention|note to|message (to|for)|hey|as) (the |you,? )?(\w+ )?(judge|grader"
    r"|evaluator|examiner)\b"
    r"|^[^\w\n]*(judge|grader|evaluator|system|assistant|user|developer)\s*:"
    r"|\b(answer|respond|reply) (only )?(with )?(only )?[\"'{]?(yes|true|json|1\.0)\b"
    r"|\b(full|perfect) (marks|credit|bonus)\b"
    r"|\b(award|grant|deserves?|earns?|give (me|this|it|us))\b.{0,30}"
    r"\b(full|max\w*|highest|top|perfect)\b.{0,20}\b(marks?|scores?|credit|bonus|points?|share)\b"
    r"|\ball (the )?(criteria|questions) (are|were|as) (met|satisfied|true|yes|fulfilled)\b"
    r"|[\"'](identifies|mechanism|cause|place|consequence|blames_other_causes|bugs|scores?|share"
    r"|verdict)[\"']\s*:"
    r"|<[|/]?\s*(im_start|im_end|system|assistant|user|endoftext|diagnosis|instructions?)"
    r"|\[/?inst\]|<</?sys>>",
    re.MULTILINE | re.DOTALL,
)

_SMALL_WORDS = """
    a after an and are as at be because been before but by can do does each every for from had has have
    if in into is it its never no not of on only or should so still than that the their them then there
    this to too was were when which while with without
"""
_FUNCTION_WORDS = frozenset(_SMALL_WORDS.split())
_KEYWORDS = frozenset(("and", "as", "for", "from", "if", "in", "is", "not", "or", "while", "with"))


@dataclass(frozen=True)
class Reading:
    """A cleaned diagnosis.

    text: at most LIMIT characters without control or invisible ones. cut: whether there was more.
    """

    text: str
    cut: bool

    @cached_property
    def lines(self) -> tuple[list[str], list[str]]:
        """Lines of prose and lines of code. Only prose states anything; code may show a place."""
        prose: list[str] = []
        code: list[str] = []
        fenced = False
        for line in self.text.split("\n"):
            if line.lstrip().startswith("```"):
                fenced = not fenced
            elif fenced or _is_code(line):
                code.append(line)
            else:
                prose.append(line)
        return prose, code

    @cached_property
    def statements(self) -> list[str]:
        """Sentences of the prose in lower case, at most WINDOW words each, without the parts that deny."""
        found = []
        for sentence in _SENTENCE.split("\n".join(self.lines[0]).casefold()):
            parts = [part for part in _PART.split(sentence) if not _DENIED.search(part)]
            words = re.findall(rf"\S{{1,{LETTERS}}}", ", ".join(parts))
            pieces = (" ".join(words[at : at + WINDOW]) for at in range(0, len(words), WINDOW))
            found += [piece[: 10 * LETTERS] for piece in pieces]
        return list(dict.fromkeys(found))[:STATEMENTS]

    @cached_property
    def shown(self) -> str:
        """Where a place may be named: the prose and a few lines of code; a copied script is no place."""
        prose, code = self.lines
        return "\n".join(prose + (code if len(code) <= CODE_LINES else []))

    @property
    def addresses_judge(self) -> bool:
        """Whether the text speaks to its reader about the answer, instead of about the job."""
        return _ADDRESSED.search(self.text.casefold()) is not None

    @property
    def is_list_of_words(self) -> bool:
        """Whether it is keywords and no sentences. Short notes are let through: they hold few keywords."""
        words = [word for one in self.statements for word in one.replace(",", "").split() if word.isalpha()]
        return len(words) > NOTES and sum(word in _FUNCTION_WORDS for word in words) < 0.15 * len(words)


def read(text: object) -> Reading:
    """Any value as a reading: no surrogates, NULs, invisible characters or look-alikes of plain letters."""
    if not isinstance(text, str):
        return Reading("", False)
    # Compatibility forms grow (one character can become 18), so the cut is made on both sides.
    folded = unicodedata.normalize("NFKC", text[: 2 * LIMIT])
    kept = "".join(map(_plain, folded[: 2 * LIMIT])).replace("’", "'")
    return Reading(kept[:LIMIT], len(text) > 2 * LIMIT or len(folded) > 2 * LIMIT or len(kept) > LIMIT)


def _is_code(line: str) -> bool:
    """A line of Python or of a diff, not a sentence that begins like one (`lr=2e-6 in entry is too low`)."""
    line = _BULLET.sub("", line.rstrip())
    words = [word for word in re.findall(r"[a-z]+", line.casefold()) if word in _FUNCTION_WORDS - _KEYWORDS]
    return _CODE.match(line) is not None and (len(words) < 2 and " is " not in line)


def _plain(character: str) -> str:
    if character in "\n\u2028\u2029\u0085\r":
        return "\n"
    kind = unicodedata.category(character)
    if kind in ("Cf", "Cs", "Co", "Cn"):
        return ""
    return " " if kind == "Cc" or kind.startswith("Z") else character
