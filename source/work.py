"""Many variants of a script of somebody's own (see `output.work.Work`)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..executors.base import Executor
from ..factory import Exhausted, Known
from .factory import OwnRequest, OwnScript, OwnVariant, own_outcomes, prepared
from .folder import OwnSource
from .task import own_files, own_row


@dataclass(frozen=True)
class OwnWork:
    """first: the request, with index 0. source: the script, its data prepared.

    warn: is told, in a sentence, what may make the proofs weaker.
    """

    first: OwnRequest
    own: OwnScript
    verify: bool = True
    warn: Callable[[str], None] = field(default=lambda text: None)
    repeats: bool = True
    """A script has few sites, and its data is always the same."""

    @classmethod
    def of(
        cls, first: OwnRequest, source: OwnSource, *, verify: bool, warn: Callable[[str], None]
    ) -> OwnWork:
        """The work, after the user's command has prepared the data.

        Raises:
            NoSiteError: the script has no site for a class. SetupFailedError: see `prepared`.
        """
        own = OwnScript(source)
        own.check_hosts(first.bugs)
        if first.setup is not None:
            own = OwnScript(prepared(source, first.setup))
            own.check_hosts(first.bugs)
        return cls(first, own, verify, warn)

    @property
    def bugs(self) -> tuple[str, ...]:
        return self.first.bugs

    @property
    def seed(self) -> int:
        return self.first.seed

    @property
    def asked(self) -> Mapping[str, Any]:
        found = self.own.source
        return {
            "bugs": list(self.first.bugs),
            "seed": self.first.seed,
            "script": None,
            "source": found.sources_sha256(),
            "data": found.data_sha256(),
            "entrypoint": found.entrypoint,
            "arguments": list(self.first.arguments),
            "timeout": self.first.timeout,
            "setup": self.first.setup,
            "verify": self.verify,
        }

    def outcomes(
        self,
        indices: Iterable[int],
        *,
        known: Known | None,
        share: bool,
        seen: Mapping[str, int],
        executor: Executor,
    ) -> Generator[OwnVariant | Exhausted]:
        requests = (replace(self.first, index=index) for index in indices)
        return own_outcomes(
            self.own,
            requests,
            self.first,
            verify=self.verify,
            known=known,
            seen=seen,
            executor=executor,
            warn=self.warn,
        )

    def row(self, variant: OwnVariant) -> dict[str, Any]:
        return own_row(variant)

    def files(self, variant: OwnVariant) -> dict[str, bytes]:
        return own_files(variant)

    def script(self, variant: OwnVariant) -> str:
        return variant.source.name
