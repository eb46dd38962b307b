"""Making the tasks of a release again from what its solutions say they follow from. Nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import MldebugError, UsageError
from ...factory import ATTEMPTS, Draft, Request, draft
from ...mutators.compose import NoCompositionError
from .freeze import Choice
from .layout import Content
from .plan import Plan
from .rows import Row, form_of, solution_row, task_row


class CannotRegenerateError(MldebugError):
    """This version does not make a task of what a solution says it follows from."""


def redraw(solution: Mapping[str, Any]) -> Draft:
    """The attempt that gave a task, made again.

    Raises:
        CannotRegenerateError: the solution does not say enough, or another task comes out.
    """
    try:
        truth = solution["truth"]
        # With its script named, a request gives the same whatever scripts the library has gained.
        request = Request.of(
            list(truth["bugs"]),
            truth["seed"],
            truth["index"],
            str(truth["script"]),
            str(truth["versions"]["engine"]),
        )
        attempt, id = int(truth["attempt"]), str(solution["id"])
        if not 0 <= attempt < ATTEMPTS:
            raise ValueError(f"attempt {attempt}")
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise CannotRegenerateError(f"does not say what it follows from ({error})") from None
    try:
        made = draft(request, attempt)
    except (UsageError, NoCompositionError) as error:
        raise CannotRegenerateError(f"nothing comes of its request any more ({error})") from None
    if made.variant.id != id:
        raise CannotRegenerateError(
            f"its request gives task {made.variant.id} here: {_differing(made, solution)}"
        )
    return made


def _differing(made: Draft, solution: Mapping[str, Any]) -> str:
    truth = solution["truth"]
    if made.variant.data != truth.get("data"):
        return "its data comes out otherwise"
    if dict(made.variant.reference) != solution.get("reference"):
        return "its reference comes out otherwise"
    return "its broken sources come out otherwise, or its id was changed"


def rows_again(solution: Mapping[str, Any], alert: str, plan: Plan) -> tuple[Row, Row]:
    """The task's row and the solution's, made again; the alert, which was measured, is taken over, as are the
    versions that made it.

    Raises:
        CannotRegenerateError: as `redraw`.
    """
    variant = replace(redraw(solution).variant, alert=alert)
    form = form_of(variant)
    again = solution_row(variant, form, plan)
    again["truth"] = {**again["truth"], "versions": solution["truth"].get("versions")}
    return task_row(variant, form, plan), again


def check_complete(content: Content) -> str | None:
    """Why the tasks of a release are not those that its plan comes to; None if they are."""
    tasks = {row["id"]: row for row in content.tasks}
    found: dict[tuple[tuple[str, ...], int], Row] = {}
    for row in content.solutions:
        key = tuple(row["truth"]["bugs"]), int(row["truth"]["index"])
        if row["id"] not in tasks:
            return f"task {row['id']} has a solution, and is in no file of tasks"
        if key in found or row["truth"]["seed"] != content.plan.seed:
            return f"task {row['id']} is of no request of the plan"
        found[key] = {"task": tasks[row["id"]], "solution": row}
    skipped = {(tuple(row["bugs"]), int(row["index"])) for row in content.skipped}
    choice = Choice(content.plan, {})
    try:
        while slots := choice.selection.round():
            for slot in slots:
                key, shown = (slot.bugs, slot.index), f"{', '.join(slot.bugs)}, index {slot.index}"
                if key in skipped:
                    skipped.remove(key)
                elif key not in found:
                    return f"{shown}: there is neither a task nor a reason for having none"
                elif not choice.take(slot, found.pop(key)):
                    return f"{shown}: its task is withdrawn, or its program is another task's already"
    except MldebugError as error:
        return str(error)
    for bugs, index in (*found, *sorted(skipped)):
        return f"{', '.join(bugs)}, index {index}: the plan does not ask for that"
    return None
