"""How many different bugs there are, once spelling is taken away: `python -m mldebug.benchmark.forms`.

Two mutants collide when their normal forms are equal (`mutators/normal_form.py`): names, numbers, what is
printed, comments, layout, dead code, the order of definitions and defaults said aloud do not tell them apart.
From n mutants with c colliding pairs, n(n−1)/(2c) estimates how many equally likely forms they were drawn
from. A bug shape is the difference between a mutant and its reference, in the same terms. Beside them stand
the figures of a generator of fixed templates: for each class one script with one bug, in which a seed draws
the numbers.

Nothing is executed.
"""

from __future__ import annotations

import argparse
import ast
import json
import multiprocessing
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from ..errors import MldebugError
from ..factory import Request, drawn_base, hosts, written
from ..mutators.base import bug_classes, canonical_bugs
from ..mutators.bases import base
from ..mutators.compose import NoCompositionError, choose, edits_of
from ..mutators.normal_form import Statement, bare, numbered
from ..mutators.workspace import Edit, Workspace, splice
from ..output.progress import progress
from ..seeds import Draw, digest

FACTORS = (0.25, 0.5, 2, 4)
"""What a template's drawn number is multiplied by, or it stays as it is."""

TEMPLATE_SEEDS = 500
"""Mutants of a template, at most: from the second on they say nothing new."""


class Found(NamedTuple):
    """Hashes of a mutant's form, of its form with numbers, of its bug's shape, and of the form it would have
    as its base puts it (`mutators.phrasings`)."""

    form: str
    with_numbers: str
    shape: str
    unphrased: str


@dataclass(frozen=True)
class Forms:
    """What `count` mutants of one class look like.

    distinct, colliding: forms, and pairs of mutants of the same form. effective: n(n−1)/(2 × colliding); with
    no colliding pair at least n(n−1)/2, and `at_least` is true. with_numbers: forms where numbers count as
    well. shapes: different bugs. unphrased: effective forms if no variant said anything otherwise than its
    base does.
    """

    bug_class: str
    generator: str
    count: int
    distinct: int
    colliding: int
    effective: float
    at_least: bool
    with_numbers: int
    shapes: int
    unphrased: float


def effective_forms(forms: Sequence[str]) -> tuple[int, float, bool]:
    """Colliding pairs, how many equally likely forms give so many, and whether that is a lower bound only.

    >>> effective_forms(["a", "a", "b", "b"])
    (2, 3.0, False)
    >>> effective_forms(["a", "b", "c"])
    (0, 3.0, True)
    """
    pairs = len(forms) * (len(forms) - 1) / 2
    colliding = sum(count * (count - 1) // 2 for count in Counter(forms).values())
    return colliding, pairs / max(colliding, 1), colliding == 0


def bug_shape(before: Sequence[Statement], after: Sequence[Statement]) -> str:
    """The statements that a bug took away and put in: of a reference and its mutant, without numbers."""
    changed: list[Statement] = []
    for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            changed += [("-",), *before[a:b], ("+",), *after[c:d]]
    return "\n".join(numbered(changed))


def spelled(mutant: Workspace, like: Workspace) -> tuple[str, str, list[Statement]]:
    """Hashes of a mutant's form without numbers and with them, and its statements without.

    like: whose names are its own; the mutant was made of it.
    """
    program = bare(mutant, like=like, printed=False, defaults=False, vouched=True)
    if program is None:
        return (whole := _hash(repr(mutant.sources))), whole, []
    plain, valued = (program.statements(numbers=numbers) for numbers in (False, True))
    form, with_numbers = (_hash("\n".join(numbered(one))) for one in (plain, valued))
    return form, with_numbers, plain


def looked_at(mutant: Workspace, before: Sequence[Statement], like: Workspace) -> Found:
    """A mutant as its base puts it, without its spelling. before: its reference, without numbers."""
    form, with_numbers, plain = spelled(mutant, like)
    return Found(form, with_numbers, _hash(bug_shape(before, plain)), form)


@dataclass(frozen=True)
class Unit:
    """Mutants that are looked at together: those of one base, which is made once.

    wanted: (class, seed, attempt) each.
    """

    job: str
    style: int
    wanted: tuple[tuple[str, int, int], ...]

    def look(self) -> tuple[list[tuple[str, Found]], list[tuple[str, int, int]]]:
        """What is found of each class, and the mutants for which generation would draw another base."""
        made = base(self.job, self.style)
        before = spelled(made.workspace, made.workspace)[2]
        known: dict[tuple[Edit, ...], Found] = {}
        found, others = [], []
        for bug, seed, attempt in self.wanted:
            request = Request((bug,), seed)
            draw = drawn_base(request, attempt)[2]
            try:
                injections = choose(made.workspace, made.offers, (bug,), draw.child("injection"))
            except NoCompositionError:
                others.append((bug, seed, attempt + 1))
                continue
            edits = edits_of(injections)
            if edits not in known:
                known[edits] = looked_at(splice(made.workspace, edits), before, made.workspace)
            worded = written(request, made, injections, draw)
            one = known[edits]
            if worded.kinds:
                mutant = splice(worded.workspace, edits_of(worded.injections))
                form, with_numbers, _ = spelled(mutant, made.workspace)
                one = one._replace(form=form, with_numbers=with_numbers)
            found.append((bug, one))
        return found, others


def units(wanted: Iterable[tuple[str, int, int]]) -> list[Unit]:
    """Mutants, (class, seed, attempt) each, by base."""
    of_base: dict[tuple[str, int], list[tuple[str, int, int]]] = {}
    for one in wanted:
        bug, seed, attempt = one
        of_base.setdefault(drawn_base(Request((bug,), seed), attempt)[:2], []).append(one)
    return [Unit(*base, tuple(of_base[base])) for base in sorted(of_base)]


Spread = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]
"""As `map`: in this process, or in others."""


def ours(bugs: Sequence[str], seeds: int, spread: Spread = map) -> Iterator[tuple[str, Found]]:
    """The generator's own mutants of each class, one a seed, in no order that means anything."""
    left = [(bug, seed, 0) for bug in bugs for seed in range(seeds)]
    while left:
        given, left = units(left), []
        for found, others in spread(Unit.look, given):
            yield from found
            left += others


@contextmanager
def spreading(jobs: int) -> Iterator[Spread]:
    """Processes that share work, or this one."""
    if jobs == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that hands out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def template(bug: str, seeds: int) -> list[Found]:
    """One script with one bug at one place; a seed draws its numbers anew."""
    found = []
    job = hosts((bug,))[0]
    made = base(job, 0)
    clean = made.workspace
    broken = splice(clean, edits_of(choose(clean, made.offers, (bug,), Draw("template", bug))))
    for seed in range(seeds):
        reference, mutant = (_renumbered(one, Draw("template", bug, seed)) for one in (clean, broken))
        found.append(looked_at(mutant, spelled(reference, clean)[2], clean))
    return found


def _renumbered(workspace: Workspace, draw: Draw) -> Workspace:
    """Each number but 0 and 1 is multiplied by a factor that depends on the seed and on what it was."""

    def text(source: str) -> str:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, bool) or not isinstance(value, int | float) or value in (0, 1):
                continue
            drawn = value * draw.choose((1, *FACTORS), repr(value))
            node.value = int(drawn) if isinstance(value, int) else drawn  # type: ignore[attr-defined]
        return ast.unparse(tree)

    files = {name: text(source) for name, source in workspace if name.endswith(".py")}
    return Workspace.of({**workspace.files, **files}, workspace.entrypoint)


def summed(bug: str, generator: str, found: Sequence[Found]) -> Forms:
    """Count what was found of the mutants of one class."""
    forms = [one.form for one in found]
    colliding, effective, at_least = effective_forms(forms)
    return Forms(
        bug,
        generator,
        len(found),
        len(set(forms)),
        colliding,
        effective,
        at_least,
        len({one.with_numbers for one in found}),
        len({one.shape for one in found}),
        effective_forms([one.unphrased for one in found])[1],
    )


def measure(
    bugs: Sequence[str], seeds: int, *, jobs: int = 1, advance: Callable[[], None] = lambda: None
) -> list[Forms]:
    """Draw `seeds` mutants of each class, and of each template `TEMPLATE_SEEDS` at most, and count."""
    found: dict[str, list[Found]] = {bug: [] for bug in bugs}
    fixed: dict[str, list[Found]] = {}
    with spreading(jobs) as spread:
        for bug, one in ours(bugs, seeds, spread):
            found[bug].append(one)
            advance()
        few = partial(template, seeds=min(seeds, TEMPLATE_SEEDS))
        for bug, of_template in zip(bugs, spread(few, bugs), strict=True):
            fixed[bug] = of_template
            for _ in of_template:
                advance()
    return [
        summed(bug, name, of[bug]) for bug in bugs for name, of in (("mldebug", found), ("template", fixed))
    ]


def _hash(text: str) -> str:
    return digest(text).hex()


def table(found: Sequence[Forms]) -> str:
    rows = [
        (
            one.bug_class,
            one.generator,
            one.count,
            one.distinct,
            one.colliding,
            f"{'≥ ' if one.at_least else ''}{one.effective:,.0f}",
            one.with_numbers,
            one.shapes,
            f"{one.unphrased:,.0f}",
        )
        for one in found
    ]
    headers = ("class", "generator", "mutants", "forms", "colliding pairs", "effective forms")
    return tabulate(rows, (*headers, "forms with numbers", "bug shapes", "effective as bases put it"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mldebug.benchmark.forms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=200, help="mutants of each class; default: 200")
    parser.add_argument("--bugs", help="classes, e.g. shape,eval; default: all six")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    found: list[Forms] = []
    try:
        if options.seeds < 2:
            parser.error(f"--seeds must be at least 2, got {options.seeds}")
        if options.jobs < 1:
            parser.error(f"--jobs must be at least 1, got {options.jobs}")
        bugs = canonical_bugs(options.bugs) if options.bugs else bug_classes()
        drawn = options.seeds + min(options.seeds, TEMPLATE_SEEDS)
        with progress(len(bugs) * drawn, "drawing") as line:
            found = measure(bugs, options.seeds, jobs=options.jobs, advance=line.advance)
    except MldebugError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
