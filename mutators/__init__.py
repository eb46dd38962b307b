"""Source in, source out: where a bug can be injected, and the edits that inject it. Nothing runs here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules


@cache
def load_all() -> None:
    """Import every module of this folder, so that all mutators are registered."""
    for module in iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")
