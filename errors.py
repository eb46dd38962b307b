"""The errors a user can cause. Each message says what was wrong, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Mapping


class MldebugError(Exception):
    """Base of every error this package raises on purpose.

    `exit_code` is what the command line returns for it: 1 a check failed, 2 wrong usage.
    """

    exit_code = 1


class UsageError(MldebugError):
    """The request itself is wrong: an unknown name, a bad number, an unusable folder."""

    exit_code = 2


class NoSiteError(UsageError):
    """No script can host the bug classes that were asked for."""


class SpliceError(MldebugError):
    """Edits overlap, leave the file, or leave text that is not valid Python."""


class RunnerError(MldebugError):
    """The machinery that runs workspaces failed (not the workspace itself)."""


class NoValidVariantError(MldebugError):
    """Every candidate that was tried for a request was discarded."""

    def __init__(self, message: str, reasons: Mapping[str, int]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)
