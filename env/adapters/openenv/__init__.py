"""The environment as an OpenEnv server and client.

Importing a name from here imports OpenEnv, which takes some seconds; importing this package alone does not.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ....errors import UsageError

if TYPE_CHECKING:
    from .client import DebugClient
    from .environment import DebugEnvironment
    from .models import DebugAction, DebugObservation, DebugState
    from .server import create_server, serve

__all__ = [
    "DebugAction",
    "DebugClient",
    "DebugEnvironment",
    "DebugObservation",
    "DebugState",
    "create_server",
    "require_openenv",
    "serve",
]

_PLACES = {
    "DebugAction": "models",
    "DebugClient": "client",
    "DebugEnvironment": "environment",
    "DebugObservation": "models",
    "DebugState": "models",
    "create_server": "server",
    "serve": "server",
}


def require_openenv() -> None:
    """Say what to install where OpenEnv is missing.

    Raises:
        UsageError: it is.
    """
    if find_spec("openenv") is None:
        raise UsageError("this needs OpenEnv 0.10, which is not installed: pip install 'mldebug[openenv]'")


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_openenv()
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
