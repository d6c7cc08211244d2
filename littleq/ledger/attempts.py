"""How often jobs were begun that had been handed out before: what tells a job that kills its workers from its victims.

A job that ends, however it ends, is settled and forgotten. One that takes its worker process along is not: it comes
again, and is counted again, until somebody takes it out of the way.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from littleq.clock import Clock

#: A job of which no further start was counted for this long is forgotten, in seconds: as long as a retry may wait.
ATTEMPTS_EXPIRY_SECONDS: Final = 7 * 86400


class Attempts(Protocol):
    """The part of a ledger that counts starts. Every method is one round trip and may raise `LedgerUnavailable`."""

    def attempt(self, queue: str, message_id: str) -> int:
        """Count one more start of a job that was delivered before.

        Returns:
            How many are on record now, >= 1.
        """
        ...

    def settled(self, queue: str, message_ids: Collection[str]) -> None:
        """Forget these jobs; unknown ones are passed over."""
        ...


class MemoryAttempts:
    """`Attempts` in memory. Not thread-safe.

    Args:
        clock: monotonic time says what is old.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[tuple[str, str], tuple[float, int]] = {}  # the one that was counted last is last

    def attempt(self, queue: str, message_id: str) -> int:
        """As `Attempts.attempt`."""
        now = self._clock.monotonic()
        self._forget(now)
        _, known = self._counts.pop((queue, message_id), (now, 0))
        self._counts[queue, message_id] = now, known + 1
        return known + 1

    def settled(self, queue: str, message_ids: Collection[str]) -> None:
        """As `Attempts.settled`."""
        for message_id in message_ids:
            self._counts.pop((queue, message_id), None)

    def _forget(self, now: float) -> None:
        while self._counts:
            oldest = next(iter(self._counts))
            if now - self._counts[oldest][0] < ATTEMPTS_EXPIRY_SECONDS:
                return
            del self._counts[oldest]
