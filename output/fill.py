"""Many variants of one request: what is there already, what has to be made, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import NoValidVariantError
from ..executors.base import Executor
from ..factory import Exhausted, Tally, counted, no_variant
from ..task_folder import OutputFolder
from .ledger import Skips
from .progress import Progress
from .row_file import RowFile
from .work import Shown, Work


@dataclass
class Report:
    """What a run has come to.

    written: variants that were not there before. kept: indices that needed no work. same: indices whose task
    an earlier index gave. skips: indices without a variant, those that earlier runs found included.
    """

    tally: Tally = field(default_factory=Tally)
    skips: Skips = field(default_factory=Skips)
    written: int = 0
    kept: int = 0
    same: int = 0


def fill(
    target: OutputFolder | RowFile | None,
    work: Work,
    count: int,
    report: Report,
    line: Progress,
    *,
    executor: Executor,
) -> Iterator[tuple[Any, Path | None]]:
    """The variants (`Shown`) of indices 0 to `count`, each with its place, after it was written there.

    An index that gives none is written down and passed over, as is one that gives the task of an earlier one.
    `report` and `line` are kept up to date. Memory does not grow with `count`, but for the ids of work that
    repeats itself.
    """
    if target:
        report.skips = target.ledger.skips
    seen: dict[str, int] = {}

    def pending() -> Iterator[int]:
        for index in range(count):
            if target and target.done(index):
                report.kept += 1
                line.keep()
                done = target.ledger.at(index)
                if work.repeats and done and "id" in done[1]:
                    seen.setdefault(str(done[1]["id"]), index)
            else:
                yield index

    made = work.outcomes(
        pending(),
        known=target.proof if target else None,
        share=isinstance(target, OutputFolder),  # a row has no room for the record that says so
        seen=seen,
        executor=executor,
    )
    with closing(made):
        for one in made:
            if isinstance(one, Exhausted):
                _pass_over(target, one, report)
                if count > 1:
                    reasons = counted(one.reasons)
                    line.say(f"index {one.request.index}: skipped, no valid variant ({reasons})")
            elif work.repeats and seen.setdefault(one.id, one.index) != one.index:
                report.same += 1
                if target:
                    target.skip(one.index, {}, seen[one.id])
            else:
                place, new = _written(target, work, one)
                report.tally.add(one)
                report.written += new
                yield one, place
            line.advance()


def _pass_over(target: OutputFolder | RowFile | None, one: Exhausted, report: Report) -> None:
    if target:
        target.skip(one.request.index, one.reasons)
    else:
        report.skips.add(one.request.index, one.reasons)
    report.tally.discard(one.reasons)


def _written(target: OutputFolder | RowFile | None, work: Work, one: Shown) -> tuple[Path | None, bool]:
    if isinstance(target, OutputFolder):
        return target.write(one, work.files(one))
    return target.write(one, work.row(one)) if target else (None, True)


@dataclass(frozen=True)
class _First:
    bugs: tuple[str, ...]
    seed: int
    index: int = 0


def without_variant(
    work: Work, count: int, skips: Skips, target: OutputFolder | RowFile | None
) -> NoValidVariantError:
    """What a request ends with some of whose indices gave no variant."""
    if count == 1:
        return no_variant(_First(work.bugs, work.seed), skips.reasons)
    listed = f"; {target.ledger.skipped_path} lists them" if target else ""
    return NoValidVariantError(
        f"{skips.count} of {count} indices gave no valid variant, index {skips.first} first "
        f"({counted(skips.reasons)}); the others are whole{listed}",
        skips.reasons,
    )
