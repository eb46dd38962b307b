"""The field's words for each bug class.

What a mechanism is called comes first from the mutators: the explanation of a class and the summary of a
manifestation. A class that is not in the table below is judged by the words of those alone. The table adds
what engineers say instead, for the classes that many agents will have met. A theme is one mechanism: a few
patterns that must all occur in one statement, typically a thing and what is wrong with it, so that naming the
thing alone states nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

_WRONG = (
    r"(missing|never|not|n't|no|without|forg[eo]t\w*|omit\w*|remov\w*|lack(s|ed)?|absent|fail(s"
    r"|ed)? to|nobody"
    r"|left out)"
)
_GRADIENTS = r"zero_?grad|gradient|\bgrads?\b|\.grad\b"
_CLEAR = r"(zero(ed|ing|es)?|clear\w*|reset\w*|zero_?grad\w*|wip\w+|set to none)"
_HELD_OUT = r"(test|held[- ]?out|hold[- ]?out|validation|valid|val|evaluation|dev)"
_ALL = (
    r"\b(all|every|whole|entire|full|complete)( of)?( the)?( \w+)? "
    r"(rows?|data\w*|samples?|examples?|images?|labels?|targets?|records?|array|set)\b"
)
_STATISTIC = (
    r"\bmeans?\b|\bstd\b|deviation|statistic|scal(e|ed|er|ing)\b|normali[sz]|standardi[sz]"
    r"|minimum|maximum|min-?max|\bfill|imput|median|cent(re|er)|average"
)
_PLACES = r"\bcpu\b|\bgpu\b|\bcuda\b|accelerator|\bdevices?\b|\.to\(|\.cpu\(\)|\.cuda\("
_SHAPE = (
    r"shape|(?<!step )\bsizes?\b|dimension|\bdims?\b(?!=)|in_features|num_features|input_size|channels?|width"
    r"|\bax[ie]s\b(?!=)|broadcast|squeeze|flatten|hidden state|number of (\w+ )?(features|inputs|columns)"
    r"|\b(in|out)put features|\bexpects?\b"
)

Theme = tuple[str, ...]

THEMES: Mapping[str, Mapping[str, Theme]] = {
    "gradient_not_zeroed": {
        "gradients are kept": (
            _GRADIENTS,
            r"accumulat|\badd(s|ed|ing)? up|pil(e|es|ed|ing) up|\bsum(s|med)?\b|stale|left ?over|mixture"
            rf"|carr(y|ies|ied) over|{_WRONG}\W.{{0,40}}\b{_CLEAR}|{_CLEAR}[ `(][^,]{{0,30}}\b{_WRONG}\b"
            rf"|{_CLEAR}.{{0,40}}(once (per|an|every|each)|outside|(another|wrong|different) (object|module))"
            rf"|{_CLEAR}.{{0,40}}(every (few|second|other|\d+|k)|instead of (the |every |all )|only)",
        ),
        "gradients are emptied before the step": (
            _GRADIENTS,
            rf"{_CLEAR}.{{0,40}}(after|between)\b.{{0,20}}backward|step.{{0,20}}\b(empty|no "
            rf"gradient|nothing)",
        ),
    },
    "missing_eval_mode": {
        "evaluated in training mode": (
            r"\beval(\(|\.| mode|\b)|evaluation mode|inference mode|train(ing)? mode|\btrain\(|drop-?out"
            r"|batch ?-?norm|\bmode\b|batch statistics",
            rf"{_WRONG}\W.{{0,40}}(\beval\b|evaluation mode|told the mode)|\beval\b(\(\))?( call)? "
            rf"(\w+ )?{_WRONG}\b"
            r"|train\(\).{0,60}(should|undoes|instead|before|during)|(should|instead).{0,30}\beval\b"
            r"|\b(in|to|at) train(ing)? mode|eval\(\).{0,20}(only )?after|batch statistics"
            r"|drop-?out.{0,60}(active|still|switched on|stays? on|remains? on|\bon\b|enabled"
            r"|always|whatever)"
            r"|drop-?out.{0,60}(while|during|at) (\w+ )?(predict|evaluat|inference|valid|test)"
            r"|ignor\w+ .{0,20}\bmode\b",
        ),
    },
    "data_leakage": {
        "statistics of all rows": (
            _STATISTIC,
            rf"{_ALL}|before .{{0,30}}\b(split|divid|partition)|divided .{{0,30}}afterwards"
            rf"|(includ\w+|contain\w*|see\w*|us(es|ing)|from|of|over|on|and|with) (the )?{_HELD_OUT}"
            r"( rows?| data| labels?| set| samples?| part)|held-out rows are part"
            rf"|{_HELD_OUT} (rows?|data|labels?|set|samples?)( \w+)? (too|as well|leak|influence)",
        ),
        "held-out rows are trained on": (
            r"\btrain\w*\b|\bindices|\bindex|\bsplit|\bfit",
            rf"overlap|\b(contain|includ|shar)\w* .{{0,30}}\b{_HELD_OUT}|never reduced|both (sets"
            rf"|splits|parts)"
            rf"|train\w* on .{{0,20}}({_ALL}|\b{_HELD_OUT} (rows|data|set|samples))|disjoint"
            rf"|instead of .{{0,20}}train\w*( \w+)? (rows|indices|set|subset|split|part)",
        ),
        "selected on the test rows": (
            r"\bselect|\bchos|\bchoose|\bpick|early stop|best (epoch|model|checkpoint|state)|checkpoint",
            r"\btest\b|held[- ]?out",
        ),
    },
    "shape_mismatch": {
        "sizes do not fit": (
            _SHAPE,
            r"mismatch(es)? (between|with|of|in)|mismatched|\b(do|does|did)(n't| not) (fit|match"
            r"|agree)|wrong|expect|instead of|should "
            r"(be|have|read)"
            r"|\b(extra|swapped|missing|unflattened|unsqueezed?|hard-?coded|incompatible)\b|off "
            r"by|too (wide|many|few|small|large)"
            r"|\btwice|one (more|less|too)|broadcasts? .{0,30}(against|over|every|all)|\bdoes not have\b"
            r"|(stay|keep|left|kept|vanish|meets|another) .{0,40}"
            r"(size|width|axis|shape|feature)|without .{0,20}(axis|channel|squeeze|flatten)"
            r"|batch size .{0,30}(written|fixed|baked|into)|another number|never (un)?squeezed"
            r"|not (un)?squeezed",
        ),
    },
    "training_collapse": {
        "learning rate too high": (
            r"learning[ -]rate|\blr\b|step size",
            r"(?<!not )too (high|large|big)|huge|far above|explod|enormous",
        ),
        "learning rate too low": (
            r"learning[ -]rate|\blr\b|step size",
            r"(?<!not )too (low|small|tiny)|tiny|vanishing|practically zero|far below|thousands of times",
        ),
        "wrong sign": (
            r"loss|objective|optimi[sz]er|gradient|cost|criterion",
            r"ascent|ascend|\bsign\b|maximi[sz]|negat(ed|ive|es)|climb",
        ),
        "started at zero": (
            r"parameter|weight|initiali[sz]|init\b",
            r"\b(start|initiali[sz]\w*|init|set|filled)\b.{0,40}\b(zeros?\b|zeros_|constant)|zero "
            r"init|all zeros?",
        ),
        "pairs torn apart": (
            r"label|target|inputs?\b|pair|\by\b|order",
            r"torn|two different orders|(different|another|wrong|other) order|\bsort(ed|s)?\b"
            r"|misalign|shuffl|scrambl"
            r"|no longer (match|correspond|belong)|mismatched (pair|label)|do(es)? not (belong|correspond)",
        ),
        "softmax twice": (
            r"soft-?max",
            r"cross[- ]?entropy|twice|double|already|logits|another|over the batch|probabilit",
        ),
        "output activation": (
            r"relu|sigmoid|tanh|softplus|activation|clamp",
            r"output|last|final|head|prediction|regression|target|cannot reach",
        ),
        "features detached": (
            r"detach|no_grad|requires_grad|frozen|cut off",
            r"head|last layer|below|encoder|backbone|features|graph|gradient|learn",
        ),
        "weight decay too strong": (
            r"weight[ _]decay|regulari[sz]ation|\bl2\b",
            r"(?<!not )too (strong|high|large)|undo|huge|shrink|dominat|enormous",
        ),
        "momentum too high": (
            r"momentum",
            r"above (one|1)|(?<!not )too (high|large)|larger than (one|1)|exceeds|greater than|> "
            r"?1|\b1\.\d|never decays",
        ),
        "schedule too fast": (
            r"schedul|decay of the rate|step_?lr|annealing",
            r"(per|every|each|after (every|each)) (batch|iteration|step)|inside the batch|too "
            r"(often|fast|early)"
            r"|in the (inner|batch)",
        ),
    },
    "wrong_device": {
        "devices differ": (
            _PLACES,
            r"\b(not|never|n't|nothing) (been |being |get |ever )?(moved?|sent|transferred|copied"
            r"|put|placed|on the)"
            r"|\bstay(s|ed)?\b|\bremain(s|ed)?\b|left (on|behind)|leaves? .{0,20}behind|forg[eo]t|still (on"
            r"|lives?|lies?|sits?)"
            r"|\b(missing|lacks?|without|no|needs?|forgot\w*|add) (an? |the )?(call |to |of )*"
            r"`?(\w+)?\.(to|cpu|cuda)\("
            r"|(different|two|both|wrong|another|mixed|mixes) devices?|plain attribute"
            r"|(made|created|allocated|built|computed|lives?|lies?|is|are|was|were) .{0,30}(on|in) (the )?"
            r"(cpu|gpu|host|cuda|device|accelerator)|numpy|unregistered|register_buffer",
        ),
    },
}
"""Class → mechanism → patterns that must all occur in one statement (in lower case)."""

LABELS: Mapping[str, str] = {
    "gradient_not_zeroed": r"gradients? not zeroed|zero_?grad",
    "missing_eval_mode": r"eval(uation)?[ -]mode|\beval\(\)|\.eval\b",
    "data_leakage": r"\bleak(s|ed|age|ing)?\b",
    "shape_mismatch": r"(shape|dimension|size)s? (mismatch|error|bug|problem|issue)|mismatch(ed|ing)? shape",
    "training_collapse": r"training collapse|learning[ -]rate|initiali[sz]ation",
    "wrong_device": r"device (mismatch|error|bug|problem|issue|placement)|wrong device",
}
"""What else a class is called, where it is the true one."""

ACCUSED: Mapping[str, str] = {
    "gradient_not_zeroed": r"missing `?zero_?grad|zero_?grad (bug|problem|issue)",
    "missing_eval_mode": r"missing `?eval|eval (bug|problem|issue)",
    "data_leakage": r"\b(data|test|label|target|train-test|information) leak|(?<!data )\bleakage\b",
    "shape_mismatch": LABELS["shape_mismatch"],
    "wrong_device": LABELS["wrong_device"],
}
"""What it is called when it is blamed. Narrower: honest texts on other classes say "learning rate"."""

SHORT: Mapping[str, str] = {
    "gradient_not_zeroed": r"zero_?grad|\bgradients?\b",
    "missing_eval_mode": r"\beval\b|dropout|batch ?norm",
    "data_leakage": r"\bleak\w*",
    "shape_mismatch": r"\bshapes?\b|\bdimensions?\b",
    "training_collapse": r"collapse|learning[ -]rate|\blr\b|\binit",
    "wrong_device": r"\bdevices?\b|\bgpu\b|\bcuda\b",
}
"""Single words. A statement that has those of several classes is a list, whatever it says of each."""

EFFECT = re.compile(
    r"\bnan\b|diverg|explod|crash|exception|runtimeerror|typeerror|\braises?\b|\bstops\b"
    r"|\bfails\b|noisy|nois[ey]\b|random"
    r"|each time|(another|different|changing) (prediction|result|output)|(predictions?|results?"
    r"|outputs?) (vary|varies|"
    r"differ|change|depend)|depends? on|optimistic|inflat|too good|overstat|better than|no longer "
    r"says|slow|swing|jump"
    r"|oscillat|unstable|never (learn|improve|move|fall)|(not|n't|hardly|barely) (learn|fall"
    r"|improve|converge|train|move)\b"
    r"|(no better than|as good as) (a |an )?(guess|chance)|learns? (only )?the mean|same value|stuck|plateau"
    r"|wrong direction|too (large|small) (a )?steps?|constant prediction"
)
"""What somebody would notice."""

REMEDY = re.compile(
    r"(?<!not )(?<!never )(?<!n't )\b(add(ed|ing)?|call|insert(ed|ing)?|mov(e|ing)|put|replac(e"
    r"|ed|ing)|use|chang(e|ed)"
    r"|remov(e|ing)|delet(e|ed|ing)|restor(e|ed|ing)|append(ed|ing)?|set|pass|compute|fit|should"
    r"|must|needs?|fix(ed)?)\b"
)
"""What somebody would do."""

_COMMON_WORDS = """
    about after all also and another any are batch because before bug but code come crash data did does
    each every for from give had has have here into its job line loss made make many model more mostly
    never nor not nothing one only other over row run script see some stand step such take tensor than
    that the their them then there they this too train training two under until was were what when where
    which while who with wrong
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_SAME = {
    "cuda": "gpu",
    "accelerator": "gpu",
    "std": "deviation",
    "reset": "clear",
    "zeroed": "clear",
    "zero": "clear",
    "grad": "gradient",
}


def stems(text: str) -> frozenset[str]:
    """The content words of a text, without endings and without words that every diagnosis has.

    >>> sorted(stems("The gradients are cleared outside the batch loop"))
    ['clear', 'gradient', 'loop', 'outside']
    """
    words = re.findall(r"[^\W\d_]{3,}", text.casefold())
    return frozenset(found for word in words if (found := _stem(_SAME.get(word, word))) not in _COMMON)


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ers", "ies", "ied", "ed", "es", "er", "ly", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


def label(bug: str, names: Mapping[str, str] = LABELS) -> str:
    """A pattern for the names of a class: the canonical one in any spelling, and what the table adds."""
    return rf"{_own(bug)}|{names[bug]}" if bug in names else _own(bug)


def _own(bug: str) -> str:
    return r"\b" + r"[ _-]?".join(map(re.escape, bug.casefold().split("_"))) + r"\b"


def accused(bug: str) -> str:
    """A pattern for a class that is blamed by name; "no data leakage" blames nothing."""
    return rf"(?<!\bno )(?<!\bnot )(?<!\bnor )(?<!\bany )(?<!without )(?:{label(bug, ACCUSED)})"


def themes_in(text: str, bug: str) -> frozenset[str]:
    """The mechanisms of a known class that one statement states; none for an unknown class.

    The name of the class ("a shape mismatch", but not "on the wrong device") is taken out: it says none.
    """
    said = _compiled(rf"(?<!the ){_own(bug)}").sub(" ", text.casefold())
    return frozenset(name for name, theme in THEMES.get(bug, {}).items() if _holds(theme, said))


def _holds(theme: Iterable[str], text: str) -> bool:
    return all(_compiled(pattern).search(text) for pattern in theme)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def says(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text) is not None
