"""`submit`: hand in the working copy as it is."""

from __future__ import annotations

from typing import Any

from ..models import ActionRefused
from ..workbench import Workbench
from .base import Parameter, Tool


class Submit(Tool):
    """The environment reads it as a fix without changes and grades it, so that it needs no doing here."""

    name = "submit"
    description = "Hand in the working copy as it is, as a fix."
    parameters = (
        Parameter("bugs", list, "the classes of bug that it repairs", required=True),
        Parameter("diagnosis", str, "what was wrong, where, and what it did", default=""),
    )

    def use(self, workbench: Workbench, **arguments: Any) -> str:
        raise ActionRefused("submit is a fix: it is graded by an environment, not used on a workbench")
