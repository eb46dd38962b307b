"""What is at work here: versions that bytes and figures follow from."""

from __future__ import annotations

import platform
from importlib import metadata

from .seeds import ENGINE_VERSION


def made_by() -> dict[str, str]:
    """Versions that the bytes of a task follow from."""
    return {
        "engine": ENGINE_VERSION,
        "mldebug": metadata.version("mldebug"),
        "libcst": metadata.version("libcst"),
    }


def run_by() -> dict[str, str]:
    """Versions that what was measured follows from."""
    return {
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "numpy": metadata.version("numpy"),
    }
