"""Hypothesis strategies for property tests of graders, environments and agents.

    from hypothesis import given
    from mldebug.strategies import submissions, variants

    @given(submissions(variants(bugs={"eval"}, verified=True)))
    def test_my_grader(submission):
        solved = my_grader(submission.variant, submission.files)
        assert submission.expected in (None, solved)

Needs the extra `test`. Everything is drawn from hashes of small numbers, so an example that fails is found
again on any machine, and shrinks to the first script, seed 0, one bug class, one rewrite.
"""

from __future__ import annotations

import atexit
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations
from typing import Any, Literal, cast, get_args

try:
    from hypothesis import note, reject
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError as error:
    raise ImportError(
        "mldebug.strategies needs Hypothesis, which is not installed; "
        "install the extra with `pip install 'mldebug[test]'`"
    ) from error

from . import factory
from .clean_scripts.library import job_names, load_job, sources
from .errors import NoSiteError, NoValidVariantError, SpliceError, UsageError
from .factory import Request, Variant, hosted
from .grader.runner import Pool
from .mutators.analysis import analyse
from .mutators.base import bug_classes, canonical_bugs
from .mutators.compose import NoCompositionError, compose, edits_of
from .mutators.rewrites import REWRITES, Amount, Choice, Rewrite, rewrite_all
from .mutators.workspace import Workspace, splice
from .seeds import Draw

__all__ = ["KINDS", "Kind", "Submission", "Variant", "equivalent_rewrites", "submissions", "variants"]

Names = str | Collection[str]

Kind = Literal[
    "untouched",
    "reference",
    "partial",
    "rewritten_untouched",
    "rewritten_reference",
    "garbage",
    "swapped",
    "other_bug",
]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""What `submissions` draws, the plainest first."""

MOST_BUGS = 3
"""Classes in one variant; a set that no script can host is not drawn."""

LARGEST_SEED = 2**40
LARGEST_INDEX = 1000
LARGEST_STYLE = 2**32
"""How far numbers are drawn. Enough for everything to differ, small enough to be read."""

MOST_REWRITES = 6
PROVED_KEPT = 64
"""Proved variants that are remembered: Hypothesis asks for the same ones again while it shrinks."""

GARBAGE = (
    "",
    "\n",
    "# done\n",
    "pass\n",
    "def main(:\n",
    "I fixed the bug.\n",
    "\x00\x01",
    "print(1)\n",
    "{}",
)
"""Texts in the place of an entry point that train nothing."""


@dataclass(frozen=True)
class Submission:
    """A workspace that somebody claims is fixed, and what a right grader says of it.

    files: path → text, all source files. fixed: the classes whose bug is not in it.
    expected: True, it is solved; False, it is not; None, nobody can say without running it: an unverified
        variant may be no bug at all, and two bugs of three were never proved to show together.
    remark: what was done, for people who read a failing example.
    """

    variant: Variant
    files: Mapping[str, str]
    kind: Kind
    fixed: tuple[str, ...]
    expected: bool | None
    remark: str = ""

    def __repr__(self) -> str:
        """Without the texts, which a failing example would otherwise print in full."""
        one = self.variant
        return (
            f"Submission(kind={self.kind!r}, expected={self.expected}, bugs={','.join(one.bugs)}, "
            f"script={one.script}, seed={one.seed}, index={one.index}, remark={self.remark!r})"
        )


def variants(
    *,
    bugs: Names | SearchStrategy[Names] | None = None,
    scripts: Names | SearchStrategy[Names] | None = None,
    verified: bool = False,
    pool: Pool | None = None,
) -> SearchStrategy[Variant]:
    """Variants: any seed, any set of one to three classes that a script can host.

    Args:
        bugs: the classes of every variant (short or long names, compounds too), or a strategy of such sets.
        scripts: the jobs to choose from, a name or several, or a strategy of them; by default all.
        verified: only variants that were executed and proved. Some seconds each; by default nothing runs.
        pool: a running pool for that; by default one process is started and kept until the program ends.

    Raises:
        UsageError: an unknown class or script; NoSiteError (one of them), when a variant is drawn, where no
            script asked for can host the classes asked for.
    """
    if bugs is not None and not isinstance(bugs, SearchStrategy):
        bugs = _canonical(bugs)
    if scripts is not None and not isinstance(scripts, SearchStrategy):
        scripts = _known(scripts)
    return _variants(bugs, scripts, verified, pool)


@st.composite
def _variants(draw: DrawFn, bugs: Any, scripts: Any, proved: bool, pool: Pool | None) -> Variant:
    wanted = draw(st.sampled_from(bug_sets())) if bugs is None else _drawn(draw, bugs)
    names = _canonical(wanted)
    allowed = job_names() if scripts is None else _known(_drawn(draw, scripts))
    able = [name for name in allowed if hosted(name).issuperset(names)]
    if not able:
        fixed = not any(isinstance(one, SearchStrategy) for one in (bugs, scripts))
        if bugs is not None and fixed:
            raise NoSiteError(f"none of {', '.join(allowed)} can host {', '.join(names)}")
        reject()
    request = Request(
        names,
        draw(st.integers(0, LARGEST_SEED)),
        draw(st.integers(0, LARGEST_INDEX)),
        draw(st.sampled_from(able)),
    )
    try:
        return _proved(request, pool) if proved else factory.unverified(request)
    except NoValidVariantError:
        reject()


@cache
def bug_sets() -> tuple[tuple[str, ...], ...]:
    """All sets of one to three classes that a script of the library can host, single classes first."""
    sets = (names for size in range(1, MOST_BUGS + 1) for names in combinations(bug_classes(), size))
    return tuple(names for names in sets if any(hosted(script).issuperset(names) for script in job_names()))


def _drawn(draw: DrawFn, given: Any) -> Any:
    return draw(given) if isinstance(given, SearchStrategy) else given


def _canonical(names: str | Collection[str]) -> tuple[str, ...]:
    return canonical_bugs(names if isinstance(names, str) else sorted(names))


def _known(scripts: str | Collection[str]) -> tuple[str, ...]:
    names = {scripts} if isinstance(scripts, str) else set(scripts)
    if not names:
        raise UsageError("scripts is empty; name at least one script, or leave it out for all of them")
    return tuple(sorted(load_job(name).name for name in names))


@lru_cache(maxsize=PROVED_KEPT)
def _proved(request: Request, pool: Pool | None) -> Variant:
    return factory.verified(request, (pool or _shared_pool()).run)


@cache
def _shared_pool() -> Pool:
    pool = Pool(1)
    atexit.register(pool.close)
    return pool


def submissions(
    variant: Variant | SearchStrategy[Variant], kinds: Collection[Kind] = KINDS
) -> SearchStrategy[Submission]:
    """Submissions to a variant: its own files, its reference, parts of it, the same respelled, and nonsense.

    Args:
        variant: a variant, or a strategy of variants.
        kinds: which kinds are drawn:
            `untouched`: the broken files; `reference`: the fix; `partial`: a compound with some of its bugs
            fixed, not all (no example where there is one bug only);
            `rewritten_untouched`, `rewritten_reference`: the same after `equivalent_rewrites`;
            `garbage`: an entry point that is empty, no Python, another text, or breaks off in its first half;
            `swapped`: the clean sources of another job; `other_bug`: the fix with a bug of another class.

    Raises:
        UsageError: an unknown kind, or none.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise UsageError(f"unknown kinds {unknown}; choose one or more of: {', '.join(KINDS)}")
    return _submissions(variant, tuple(kind for kind in KINDS if kind in kinds))


@st.composite
def _submissions(draw: DrawFn, given: Any, kinds: Sequence[Kind]) -> Submission:
    variant = cast(Variant, _drawn(draw, given))
    fitting = [kind for kind in kinds if kind != "partial" or len(variant.bugs) > 1]
    if not fitting:
        reject()
    kind: Kind = draw(st.sampled_from(fitting))
    if kind == "garbage":
        return Submission(variant, *_garbage(draw, variant))
    if kind == "swapped":
        return _swapped(draw, variant)
    if kind == "other_bug":
        return _other_bug(draw, variant)
    if kind == "partial":
        left = draw(st.sampled_from(_parts(variant.bugs)))
        files = _with_bugs(variant, left)
        expected = False if variant.verified and len(left) == 1 else None
        fixed = tuple(bug for bug in variant.bugs if bug not in left)
        return Submission(variant, files, kind, fixed, expected, f"still there: {', '.join(left)}")
    correct = kind in ("reference", "rewritten_reference")
    files, remark = dict(variant.reference if correct else variant.files), ""
    if kind in ("rewritten_untouched", "rewritten_reference"):
        steps = draw(_STEPS)
        files, remark = rewrite_all(files, variant.entrypoint, steps), _described(steps)
    expected = correct if variant.verified else None
    return Submission(variant, files, kind, variant.bugs if correct else (), expected, remark)


def _parts(bugs: Sequence[str]) -> list[tuple[str, ...]]:
    """What may be left of a compound, the smallest parts first."""
    return [part for size in range(1, len(bugs)) for part in combinations(bugs, size)]


def _with_bugs(variant: Variant, bugs: Collection[str]) -> dict[str, str]:
    """The sources with some of the variant's bugs in them, the others fixed."""
    base = Workspace.of(variant.reference, variant.entrypoint)
    edits = edits_of(one for one in variant.injections if one.bug_class in bugs)
    try:
        return dict(splice(base, edits).files)
    except SpliceError:  # one bug of an unverified compound need not compile without the others
        reject()


def _garbage(draw: DrawFn, variant: Variant) -> tuple[dict[str, str], Kind, tuple[str, ...], bool, str]:
    text = draw(st.sampled_from([*GARBAGE, None]))
    remark = f"the entry point is {text!r}"
    if text is None:
        lines = variant.reference[variant.entrypoint].splitlines(keepends=True)
        count = draw(st.integers(1, len(lines) // 2))
        text, remark = "".join(lines[:count]), f"the entry point breaks off after {count} lines"
    return {**variant.files, variant.entrypoint: text}, "garbage", (), False, remark


def _swapped(draw: DrawFn, variant: Variant) -> Submission:
    others = [name for name in job_names() if name != variant.script]
    if not others:
        reject()
    name = draw(st.sampled_from(others))
    other = load_job(name)
    texts = dict(sources(name))
    files = {**variant.files, **texts, variant.entrypoint: texts[other.entrypoint]}
    # a job that asks the data for what is not there cannot run; one that finds all it needs might do well
    missing = {one.name for one in other.fields} - {one.name for one in load_job(variant.script).fields}
    return Submission(variant, files, "swapped", (), False if missing else None, f"the sources of {name}")


def _other_bug(draw: DrawFn, variant: Variant) -> Submission:
    script = analyse(Workspace.of(variant.reference, variant.entrypoint))
    others = [bug for bug in bug_classes() if bug not in variant.bugs and bug in hosted(variant.script)]
    if not others:
        reject()
    bug = draw(st.sampled_from(others))
    number = draw(st.integers(0, LARGEST_STYLE))
    try:
        injections = compose(script, (bug,), Draw("strategies", "other bug", number))
    except NoCompositionError:
        reject()
    files = dict(splice(script.workspace, edits_of(injections)).files)
    remark = f"{bug}/{injections[0].manifestation} instead"
    return Submission(variant, files, "other_bug", variant.bugs, None, remark)


def equivalent_rewrites(
    files: Mapping[str, str], entrypoint: str = "train.py"
) -> SearchStrategy[dict[str, str]]:
    """The same program, respelled: what a run prints and writes to files stays the same, bit for bit.

    Names, comments, docstrings, layout, literals, the order of definitions and named arguments, dead code,
    constants, the form of statements, a function around the script: one to six such rewrites in a row. They
    are for sources of any origin, not only the library's. A place where one is not sure to change nothing is
    left alone; files that do not parse, and programs that read their own source, come back unchanged.

    Args:
        files: path → text. Files that are not Python are kept as they are.
        entrypoint: the file that is run.
    """
    return _STEPS.map(lambda steps: _rewritten(dict(files), entrypoint, steps))


Step = tuple[Rewrite, Choice]


def _step(rewrite: Rewrite, amount: Amount, number: int) -> Step:
    return rewrite, Choice(Draw("strategies", "rewrite", number), amount)


_AMOUNTS: tuple[Amount, ...] = get_args(Amount)
_STEPS: SearchStrategy[list[Step]] = st.lists(
    st.builds(_step, st.sampled_from(REWRITES), st.sampled_from(_AMOUNTS), st.integers(0, LARGEST_STYLE)),
    min_size=1,
    max_size=MOST_REWRITES,
)


def _rewritten(files: Mapping[str, str], entrypoint: str, steps: Sequence[Step]) -> dict[str, str]:
    note(f"rewrites: {_described(steps)}")
    return rewrite_all(files, entrypoint, steps)


def _described(steps: Sequence[Step]) -> str:
    return ", ".join(f"{rewrite.name} ({choice.amount})" for rewrite, choice in steps)
