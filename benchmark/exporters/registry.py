"""Which formats there are."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from . import formats

if TYPE_CHECKING:
    from .bundle import Bundle
    from .writing import File


def names() -> list[str]:
    """All formats, by the names that the command takes. Nothing of theirs is imported."""
    return sorted(one.name.replace("_", "-") for one in pkgutil.iter_modules(formats.__path__))


def exported(format: str, bundle: Bundle) -> Iterable[File]:
    """The files of an export, in the order in which they are written.

    Raises:
        UsageError: the format cannot hold these tasks, and why.
    """
    module = import_module(f"{formats.__name__}.{format.replace('-', '_')}")
    found: Iterable[File] = module.files(bundle)
    return found
