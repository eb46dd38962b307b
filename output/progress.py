"""A progress line for long work: how much is done, how fast, and how long it will take."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

EVERY = 0.25
"""Seconds between two drawings of the line."""

WINDOW = 60
"""Samples, one a second at most, over which the rate is taken: a run that slows down soon says so."""


class Progress:
    """Counts what is done. Nothing is drawn unless the stream is a terminal and the work has several parts.

    Args:
        total: how many parts there are. stream: where the line is drawn. clock: seconds, rising.
    """

    def __init__(
        self, total: int, label: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.label, self.done = total, label, 0
        self._stream, self._clock = stream, clock
        self._shown = total > 1 and stream.isatty()
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=WINDOW)
        self._last_drawn = -EVERY
        self._kept = 0

    def advance(self) -> None:
        """One more part is done."""
        self.done += 1
        self._sample()

    def keep(self) -> None:
        """One more part was done before: it tells nothing about the rate."""
        self.done += 1
        self._kept += 1
        self._sample()

    def say(self, text: str) -> None:
        """A line of text that stays, above the progress line."""
        if self._shown:
            self._stream.write("\r\x1b[K")
        self._stream.write(text + "\n")
        self._last_drawn = -EVERY
        self._sample()

    def close(self) -> None:
        if self._shown:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    @property
    def rate(self) -> float | None:
        """Parts a second lately; None while nothing is known."""
        (start, before) = self._samples[0]
        seconds, parts = self._clock() - start, self.done - self._kept - before
        return parts / seconds if parts and seconds > 0 else None

    def line(self) -> str:
        """`generating 1,200/100,000 (1%), 35.1/s, 0:46:55 left`."""
        text = f"{self.label} {self.done:,}/{self.total:,} ({100 * self.done // self.total}%)"
        rate = self.rate
        if rate is None:
            return text
        left = round((self.total - self.done) / rate)
        speed = f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
        return f"{text}, {speed}, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"

    def _sample(self) -> None:
        now = self._clock()
        if self._shown and now - self._last_drawn >= EVERY:
            self._last_drawn = now
            self._draw()
        if now - self._samples[-1][0] >= 1:
            self._samples.append((now, self.done - self._kept))

    def _draw(self) -> None:
        self._stream.write(f"\r\x1b[K{self.line()}")
        self._stream.flush()


@contextmanager
def progress(total: int, label: str) -> Iterator[Progress]:
    """A progress line on stderr, finished when the work ends, however it ends."""
    line = Progress(total, label, sys.stderr)
    try:
        yield line
    finally:
        line.close()
