"""How many different bugs there are, once spelling is taken away: `python -m mldebug.benchmark.forms`.

Two mutants collide when their normal forms are equal (`mutators/normal_form.py`): names, numbers, what is
printed, comments, layout, dead code and the order of definitions do not tell them apart. From n mutants with
c colliding pairs, n(n−1)/(2c) estimates how many equally likely forms they were drawn from. A bug shape is
the difference between a mutant and its reference, in the same terms. Beside them stand the figures of a
generator of fixed templates: for each class one script with one bug, in which a seed draws the numbers.

Nothing is executed.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path

from tabulate import tabulate

from ..errors import MldebugError
from ..factory import Request, hosts, styled_script, unverified
from ..mutators.base import bug_classes, canonical_bugs
from ..mutators.compose import compose, edits_of
from ..mutators.normal_form import Statement, normal_form, numbered, statements
from ..mutators.workspace import Workspace, splice
from ..output.progress import progress
from ..seeds import Draw, digest

FACTORS = (0.25, 0.5, 2, 4)
"""What a template's drawn number is multiplied by, or it stays as it is."""

Drawn = tuple[Workspace, Workspace, Workspace]
"""A reference, its mutant, and the workspace whose own names are theirs."""


@dataclass(frozen=True)
class Forms:
    """What `count` mutants of one class look like.

    distinct, colliding: forms, and pairs of mutants of the same form. effective: n(n−1)/(2 × colliding); with
    no colliding pair at least n(n−1)/2, and `at_least` is true. with_numbers: forms where numbers count as
    well. shapes: different bugs.
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


def bug_shape(reference: Workspace, mutant: Workspace, like: Workspace) -> str:
    """The statements that a bug took away and put in, without numbers and own names (those of `like`)."""
    before, after = (
        statements(one, like=like, numbers=False, printed=False) or [] for one in (reference, mutant)
    )
    changed: list[Statement] = []
    for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            changed += [("-",), *before[a:b], ("+",), *after[c:d]]
    return "\n".join(numbered(changed))


def ours(bug: str, seeds: int) -> Iterator[Drawn]:
    """The generator's own mutants of one class, one a seed."""
    for seed in range(seeds):
        variant = unverified(Request((bug,), seed))
        reference = Workspace.of(variant.reference, variant.entrypoint)
        yield reference, Workspace.of(variant.files, variant.entrypoint), reference


def template(bug: str, seeds: int) -> Iterator[Drawn]:
    """One script with one bug at one place; a seed draws its numbers anew."""
    job = hosts((bug,))[0]
    script = styled_script(job, 0)
    broken = splice(script.workspace, edits_of(compose(script, (bug,), Draw("template", bug))))
    for seed in range(seeds):
        drawn = (_renumbered(one, Draw("template", bug, seed)) for one in (script.workspace, broken))
        yield next(drawn), next(drawn), script.workspace


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


GENERATORS: dict[str, Callable[[str, int], Iterator[Drawn]]] = {"mldebug": ours, "template": template}


def measure(bug: str, generator: str, seeds: int, advance: Callable[[], None] = lambda: None) -> Forms:
    """Draw `seeds` mutants of one class and count."""
    forms, valued, shapes = [], set(), set()
    for reference, mutant, like in GENERATORS[generator](bug, seeds):
        forms.append(_hash(normal_form(mutant, like=like, numbers=False, printed=False)))
        valued.add(_hash(normal_form(mutant, like=like, printed=False)))
        shapes.add(_hash(bug_shape(reference, mutant, like)))
        advance()
    colliding, effective, at_least = effective_forms(forms)
    return Forms(
        bug, generator, seeds, len(set(forms)), colliding, effective, at_least, len(valued), len(shapes)
    )


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
        )
        for one in found
    ]
    headers = ("class", "generator", "mutants", "forms", "colliding pairs", "effective forms")
    return tabulate(rows, (*headers, "forms with numbers", "bug shapes"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mldebug.benchmark.forms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=200, help="mutants of each class; default: 200")
    parser.add_argument("--bugs", help="classes, e.g. shape,eval; default: all six")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    found = []
    try:
        if options.seeds < 2:
            parser.error(f"--seeds must be at least 2, got {options.seeds}")
        bugs = canonical_bugs(options.bugs) if options.bugs else bug_classes()
        with progress(len(bugs) * len(GENERATORS) * options.seeds, "drawing") as line:
            found = [measure(bug, one, options.seeds, line.advance) for bug in bugs for one in GENERATORS]
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
