"""Shared by all tests: `--deep`, Hypothesis profiles, and one pool of warm workers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mldebug.grader.runner import Pool

ROOT = Path(__file__).parent.parent

settings.register_profile(
    "default", max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "deep", max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="run the big counts and write docs/evidence/*.json")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("deep" if config.getoption("--deep") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--deep"):
        skip = pytest.mark.skip(reason="big counts: run with --deep")
        elsewhere = pytest.mark.skip(reason="a job that other modules look at: run with --deep or -k NAME")
        for item in items:
            other = item.get_closest_marker("other_job")
            if "deep" in item.keywords:
                item.add_marker(skip)
            elif other is not None and other.args[0] not in config.option.keyword:
                item.add_marker(elsewhere)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    with Pool(workers=2) as running:
        yield running


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Callable[[str, dict[str, Any]], None]:
    """Writes figures of a deep run to docs/evidence/NAME.json with command, commit and versions."""

    def write(name: str, figures: dict[str, Any]) -> None:
        commit = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        record = {
            "command": f"pytest --deep {request.node.nodeid}",
            "commit": commit.stdout.strip() or "unknown",
            "versions": {"python": platform.python_version()}
            | {name: metadata.version(name) for name in ("mldebug", "torch", "numpy", "libcst")},
            "cores": os.cpu_count(),
            "figures": figures,
        }
        folder = ROOT / "docs" / "evidence"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        (folder / f"{name}.json").write_text(text, "utf-8")
        print(text, file=sys.stderr)

    return write
