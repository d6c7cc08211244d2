"""Helpers for tests of code that uses LittleQ: a clock that only moves when told to."""

from __future__ import annotations


class ManualClock:
    """A clock under the test's control; wall and monotonic time move together.

    >>> clock = ManualClock(start=100.0)
    >>> clock.advance(2.5)
    >>> clock.now(), clock.monotonic()
    (102.5, 2.5)
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds` (>= 0)."""
        if seconds < 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} s: give 0 or more seconds")
        self._elapsed += seconds

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone (either way), as NTP or an operator does."""
        self._start += seconds
