"""Which remarks may stand beside code that a mutator may break.

A remark that explains why a line is right ("clear old gradients", "statistics of the training rows only")
is false, and gives the bug away, once that line is broken. Such remarks are dropped in every style, so the
list is wide on purpose: a lost comment costs nothing, a contradicted one spoils a variant.
"""

from __future__ import annotations

import re

WORD_LIST = (
    # gradients
    r"grad\w*",
    r"zero\w*",
    r"backward\w*",
    r"backprop\w*",
    r"accumul\w*",
    r"detach\w*",
    r"autograd",
    r"stale",
    r"clip\w*",
    r"explod\w*",
    # evaluation and training mode
    r"eval",
    r"evaluation",
    r"evaluating",
    r"mode\b",
    r"inference",
    r"dropout\w*",
    r"drop(?:ped|s)?",
    r"batch ?norm\w*",
    r"running",
    r"stochastic",
    r"deterministic",
    r"frozen",
    r"freeze\w*",
    # devices
    r"device\w*",
    r"cuda",
    r"gpus?",
    r"cpus?",
    r"accelerator\w*",
    r"move[ds]?",
    r"moving",
    r"transfer\w*",
    # shapes
    r"shape[ds]?",
    r"dim\w*",
    r"width\w*",
    r"height\w*",
    r"sizes?",
    r"channels?",
    r"flat\w*",
    r"squeez\w*",
    r"reshap\w*",
    r"transpos\w*",
    r"broadcast\w*",
    r"match\w*",
    r"axis",
    r"axes",
    r"\w+ ?[×] ?\w+",
    r"\w+ x \w+",
    r"\d+x\d+",
    r"pixels?",
    r"half",
    r"halv\w*",
    r"twice",
    r"doubl\w*",
    r"\(\w+(?:, ?[\w*]+)+,?\)",
    r"\[\w+(?:, ?[\w*]+)+,?\]",
    # leakage and held-out rows
    r"leak\w*",
    r"held[ -]?out",
    r"hold[ -]?out\w*",
    r"hold(?:s|ing)?",
    r"unseen",
    r"never",
    r"only",
    r"peek\w*",
    r"statistic\w*",
    r"stats",
    r"means?",
    r"std\w*",
    r"deviations?",
    r"moments?",
    r"fit(?:s|ted|ting)?",
    r"normali[sz]\w*",
    r"standardi[sz]\w*",
    r"scal(?:e|es|ed|er|ers|ing)",
    r"training (?:rows?|part|set|data|split|windows?|images?|machines?|statistics|mode)",
    r"train (?:rows?|part|set|data|split|mode)",
    r"validation",
    r"split\w*",
    r"test (?:rows?|part|set|data)",
    r"before",
    r"after",
    r"first",
    r"best",
    r"checkpoint\w*",
    r"shuffl\w*",
    r"order(?:s|ed)?",
    r"random\w*",
    r"overlap\w*",
    # rates, losses
    r"learning[ -]rates?",
    r"lr",
    r"rates?",
    r"step size",
    r"schedul\w*",
    r"momentum",
    r"decay\w*",
    r"per",
    r"once",
    r"every",
    r"warm\w*",
    r"anneal\w*",
    r"converg\w*",
    r"diverg\w*",
    r"stable",
    r"stabil\w*",
    r"unstable",
    r"logits?",
    r"softmax",
    r"sigmoid",
    r"probabilit\w*",
    r"initiali[sz]\w*",
    r"optimi[sz]er\w*",
    r"update\w*",
    r"loss(?:es)?",
)

_HINT = re.compile(r"(?<![a-z0-9])(?:" + "|".join(WORD_LIST) + r")(?![a-z0-9])", re.IGNORECASE)

_SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n\s*\n")


def speaks_of_bugs(remark: str) -> bool:
    """Whether a comment or sentence speaks of something that a mutator may break."""
    return _HINT.search(remark.replace("_", " ")) is not None


def safe_sentences(text: str) -> list[str]:
    """The sentences of a docstring that may stay, each on one line."""
    sentences = (" ".join(part.split()) for part in _SENTENCE.split(text))
    return [one for one in sentences if one and not speaks_of_bugs(one)]
