"""Scripts as other people write them, and what is shared by the tests of own scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="session")
def scripts() -> Path:
    return SCRIPTS
