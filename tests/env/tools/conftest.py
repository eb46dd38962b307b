"""Shared by the tests of the tools."""

from __future__ import annotations

import pytest

from mldebug.env import Services
from mldebug.env.tools.base import Toolbox, toolbox
from mldebug.grader.runner import Pool

from ...written import rows


@pytest.fixture(scope="module")
def services(pool: Pool, request: pytest.FixtureRequest) -> Services:
    """Of the pinned tasks that a module's NAMES lists."""
    return Services((rows()[name] for name in request.module.NAMES), pool=pool)


@pytest.fixture(scope="module")
def tools() -> Toolbox:
    return toolbox()
