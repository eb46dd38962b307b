"""`null`: hands in the broken job as it is."""

from __future__ import annotations

from ...env.models import Observation
from .alerts import fitting
from .base import Agent, Turn, fix


class Null(Agent):
    """Whatever it is paid, is paid for naming a class: so it names another one with every step, those first
    that the alert makes likely. It marks the height from which on a score means that something was repaired.
    """

    name = "null"
    about = "Hands in the broken job unchanged, naming another class at every step."

    def act(self, seen: Observation) -> Turn:
        order = fitting(seen.alert, self.brief.classes)
        return Turn(fix((order[seen.step % len(order)],)))
