"""Kinds that are found by themselves: those of a folder's modules, and those that other packages announce."""

from __future__ import annotations

import pkgutil
from importlib import import_module, metadata
from typing import Any, TypeVar

from ..errors import UsageError

K = TypeVar("K")


def kinds(base: type[K], package: str, group: str, what: str) -> dict[str, type[K]]:
    """The subclasses of `base` that can be made, by their `name`: those of the modules of a package, in the
    order of those, then those of an entry point group.

    Args:
        what: one of them in a word, for errors.

    Raises:
        UsageError: an announced one cannot be loaded, or two have one name.
    """
    for module in pkgutil.iter_modules(import_module(package).__path__):
        if not module.ispkg:
            import_module(f"{package}.{module.name}")
    found: dict[str, type[K]] = {}

    def add(kind: Any) -> None:
        if found.setdefault(kind.name, kind) is not kind:
            raise UsageError(f"two {what}s have the name {kind.name!r}: {found[kind.name]} and {kind}")

    for kind in _subclasses(base):
        if kind.__module__.startswith(f"{package}."):
            add(kind)
    for entry in metadata.entry_points(group=group):
        try:
            kind = entry.load()
        except Exception as error:
            raise UsageError(
                f"the {what} {entry.value} of another package cannot be loaded: {error}"
            ) from None
        if not (isinstance(kind, type) and issubclass(kind, base)):
            raise UsageError(f"the entry point {entry.value} ({group}) names no subclass of {base.__name__}")
        add(kind)
    return found


def _subclasses(kind: type[K]) -> list[type[K]]:
    below = [one for direct in kind.__subclasses__() for one in _subclasses(direct)]
    return [one for one in (kind, *below) if not getattr(one, "__abstractmethods__", None)]
