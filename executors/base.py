"""What an executor is: a stream of items goes in, a stream of results comes out, and few are under way."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ..grader.runner import Pool

Asked = TypeVar("Asked")
Made = TypeVar("Made")
AskedIn = TypeVar("AskedIn", contravariant=True)
MadeOut = TypeVar("MadeOut", covariant=True)


class Recipe(Protocol[AskedIn, MadeOut]):
    """How a result is made of an item. It can be pickled, as items and results can, and what it makes follows
    from it and the item alone: an item that is done twice gives the same bytes."""

    def begin(self, pool: Pool) -> Callable[[AskedIn], MadeOut]:
        """What does the work, for one process; threads may use it at once. pool: runs what has to be run."""
        ...


@dataclass(frozen=True)
class Settled(Generic[Made]):
    """An item that nothing has to be done for: `in_order` passes its value on in its place."""

    value: Made


class Executor(Protocol):
    """Does the items of a recipe, so many at a time. Items are drawn in the caller's thread, when there is
    room for them, so memory does not grow with how many there are. A caller who closes the generator, an
    error, or Ctrl-C ends what is under way at once.

    remote: whether other processes do the work, which share no memory with this one.
    """

    @property
    def remote(self) -> bool: ...

    def in_order(
        self, recipe: Recipe[Asked, Made], items: Iterable[Asked | Settled[Made]]
    ) -> Generator[Made]:
        """The results in the order of the items, of which at most twice as many are drawn ahead as are done
        at a time. The first error of an item is raised in its place."""
        ...

    def as_they_end(
        self, recipe: Recipe[Asked, Made], items: Iterable[Asked]
    ) -> Generator[tuple[Asked, Made | BaseException]]:
        """Each item with its result, or with what was raised, in the order in which they end."""
        ...

    def close(self) -> None:
        """Let go of what was started or connected to."""
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error: Any) -> None: ...
