"""Many variants of one request: what is there already, what has to be made, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ..errors import NoValidVariantError
from ..factory import Exhausted, Proof, Request, Tally, Variant, counted, no_variant, outcomes
from ..task_folder import OutputFolder
from .ledger import Ledger, Skips
from .progress import Progress


class Target(Protocol):
    """Where variants go that is there for a later run to go on with: `OutputFolder` and `RowFile`."""

    ledger: Ledger

    def done(self, index: int) -> bool: ...
    def proof(self, index: int) -> Proof | None: ...
    def skip(self, index: int, reasons: Mapping[str, int]) -> None: ...
    def write(self, variant: Variant) -> tuple[Path, bool]: ...


@dataclass
class Report:
    """What a run has come to.

    written: variants that were not there before. kept: indices that needed no work. skips: indices without a
    variant, those that earlier runs found included.
    """

    tally: Tally = field(default_factory=Tally)
    skips: Skips = field(default_factory=Skips)
    written: int = 0
    kept: int = 0


def fill(
    target: Target | None,
    first: Request,
    count: int,
    report: Report,
    line: Progress,
    *,
    jobs: int,
    verify: bool,
    require: str | None,
) -> Iterator[tuple[Variant, Path | None]]:
    """The variants of indices 0 to `count`, each with its place, after it was written there.

    An index that gives none is written down and passed over. `report` and `line` are kept up to date. Memory
    does not grow with `count`.
    """
    if target:
        report.skips = target.ledger.skips

    def pending() -> Iterator[Request]:
        for index in range(count):
            if target and target.done(index):
                report.kept += 1
                line.keep()
            else:
                yield replace(first, index=index)

    known = target.proof if target else None
    share = isinstance(target, OutputFolder)  # a row has no room for the record that says so
    made = outcomes(pending(), jobs=jobs, verify=verify, known=known, share=share, require=require)
    with closing(made):
        for outcome in made:
            if isinstance(outcome, Exhausted):
                index, reasons = outcome.request.index, outcome.reasons
                if target:
                    target.skip(index, reasons)
                else:
                    report.skips.add(index, reasons)
                report.tally.discard(reasons)
                if count > 1:
                    line.say(f"index {index}: skipped, no valid variant ({counted(reasons)})")
            else:
                place, new = target.write(outcome) if target else (None, True)
                report.tally.add(outcome)
                report.written += new
                yield outcome, place
            line.advance()


def without_variant(first: Request, count: int, skips: Skips, target: Target | None) -> NoValidVariantError:
    """What a request ends with some of whose indices gave no variant."""
    if count == 1:
        return no_variant(first, skips.reasons)
    listed = f"; {target.ledger.skipped_path} lists them" if target else ""
    return NoValidVariantError(
        f"{skips.count} of {count} indices gave no valid variant, index {skips.first} first "
        f"({counted(skips.reasons)}); the others are whole{listed}",
        skips.reasons,
    )
