"""mldebug: bugs in PyTorch training scripts, injected from a seed, proved by execution."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .env import DebugEnv as DebugEnv
    from .factory import Variant as Variant
    from .factory import generate as generate
    from .grader.grade import Fix as Fix
    from .grader.verdict import Verdict as Verdict
    from .grading import grade as grade
    from .grading import grade_many as grade_many

__version__ = "0.1.0"

# Names a user reaches as `mldebug.<name>`, and the module that holds each. Resolved on first use, so
# that `import mldebug` costs neither torch nor libcst.
_PUBLIC = {
    "DebugEnv": "env",
    "Fix": "grader.grade",
    "Variant": "factory",
    "Verdict": "grader.verdict",
    "generate": "factory",
    "grade": "grading",
    "grade_many": "grading",
}

__all__ = ["DebugEnv", "Fix", "Variant", "Verdict", "__version__", "generate", "grade", "grade_many"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"mldebug.{_PUBLIC[name]}"), name)
    if name == "strategies":
        return import_module("mldebug.strategies")
    raise AttributeError(f"module 'mldebug' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
