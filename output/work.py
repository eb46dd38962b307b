"""What a long run makes: variants of the library's jobs, or of a script of somebody's own."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..executors.base import Executor
from ..factory import Emitted, Exhausted, Known, Request, Variant, check_hosts, outcomes
from ..task_folder import Made, folder_files, json_row


class Shown(Made, Emitted, Protocol):
    """A variant, whatever it was made of."""

    @property
    def bugs(self) -> tuple[str, ...]: ...
    @property
    def alert(self) -> str | None: ...
    @property
    def verified(self) -> bool: ...


class Work(Protocol):
    """What is asked for, but for the count.

    bugs, seed: of all variants. asked: all that their bytes follow from, for the mark of an output.
    verify: whether they are executed. repeats: whether several indices may well give the same task.
    """

    @property
    def bugs(self) -> tuple[str, ...]: ...
    @property
    def seed(self) -> int: ...
    @property
    def asked(self) -> Mapping[str, Any]: ...
    @property
    def verify(self) -> bool: ...
    @property
    def repeats(self) -> bool: ...

    def outcomes(
        self,
        indices: Iterable[int],
        *,
        known: Known | None,
        share: bool,
        seen: Mapping[str, int],
        executor: Executor,
    ) -> Generator[Any]:
        """A variant (`Shown`) or `Exhausted` for each index, in order; see `factory.outcomes`.

        seen: id → index of the tasks that earlier indices gave; grows while this runs.
        """

    def row(self, variant: Any) -> dict[str, Any]:
        """A variant as a JSON row."""

    def files(self, variant: Any) -> dict[str, bytes]:
        """A variant as files of a task folder."""

    def script(self, variant: Any) -> str:
        """What people are told it was made of."""


@dataclass(frozen=True)
class LibraryWork:
    """Variants of the jobs of the library. first: the request, with index 0.

    Raises:
        NoSiteError: no job can host the classes.
    """

    first: Request
    verify: bool = True
    repeats: bool = False
    """Every variant has data of its own, so that no two are the same task."""

    def __post_init__(self) -> None:
        check_hosts(self.first)

    @property
    def bugs(self) -> tuple[str, ...]:
        return self.first.bugs

    @property
    def seed(self) -> int:
        return self.first.seed

    @property
    def asked(self) -> Mapping[str, Any]:
        return {
            "bugs": list(self.first.bugs),
            "seed": self.first.seed,
            "script": self.first.script,
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
    ) -> Generator[Variant | Exhausted]:
        requests = (replace(self.first, index=index) for index in indices)
        return outcomes(requests, verify=self.verify, known=known, share=share, executor=executor)

    def row(self, variant: Variant) -> dict[str, Any]:
        return json_row(variant)

    def files(self, variant: Variant) -> dict[str, bytes]:
        return folder_files(variant)

    def script(self, variant: Variant) -> str:
        return variant.script
