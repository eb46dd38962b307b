"""One pool for each tier, started when first asked for."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mldebug.grader.runner import Limits, Pool, RunRequest
from mldebug.grader.sandbox.guarantees import TIERS

EMPTY = RunRequest({"train.py": b""}, "train.py", trace=False)


@pytest.fixture(scope="session")
def pool_of() -> Iterator[Callable[[str], Pool]]:
    """A pool of exactly this tier; the test is skipped where this machine does not give it."""
    pools: dict[str, Pool] = {}
    with ExitStack() as stack:

        def give(tier: str) -> Pool:
            if tier not in pools:
                pools[tier] = stack.enter_context(Pool(tier=tier))
            result = pools[tier].run(EMPTY)
            if result.tier != tier:
                pytest.skip(f"this machine gives no {tier}: {result.lacking.get(tier)}")
            return pools[tier]

        yield give


@pytest.fixture
def strict(pool_of: Callable[[str], Pool]) -> Pool:
    return pool_of("strict")


@pytest.fixture(params=TIERS)
def tiered(request: pytest.FixtureRequest, pool_of: Callable[[str], Pool]) -> Pool:
    return pool_of(request.param)


@pytest.fixture
def request_for() -> Callable[..., RunRequest]:
    def build(script: str, **options: Any) -> RunRequest:
        names = {field for field in Limits.__dataclass_fields__ if field in options}
        limits = Limits(**{name: options.pop(name) for name in names})
        files = {"train.py": textwrap.dedent(script).encode(), **options.pop("files", {})}
        return RunRequest(files, "train.py", limits=limits, **({"trace": False, "collect": ()} | options))

    return build
