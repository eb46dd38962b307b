"""Attributes replaced for a while, and put back exactly."""

from __future__ import annotations

from typing import Any

_ABSENT = object()


class Patches:
    """A stack of replaced attributes of modules and classes.

    What is remembered is the object's own entry (not an inherited one), so that an attribute that was
    inherited before is inherited again afterwards.
    """

    def __init__(self) -> None:
        self._saved: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        own = vars(owner)
        self._saved.append((owner, name, own.get(name, _ABSENT)))
        setattr(owner, name, value)

    def set_many(self, owner: Any, **values: Any) -> None:
        for name, value in values.items():
            self.set(owner, name, value)

    def restore(self) -> None:
        while self._saved:
            owner, name, value = self._saved.pop()
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)

    @property
    def targets(self) -> list[tuple[Any, str]]:
        """What is replaced at present."""
        return [(owner, name) for owner, name, _ in self._saved]
