"""One log line when something goes away, and one when it is back."""

from __future__ import annotations

import logging

from littleq.errors import LittleQError

logger = logging.getLogger(__name__)


class Outage:
    """Logs the first of many failures, and their end.

    Args:
        meaning: what the outage means, for the log.
    """

    def __init__(self, meaning: str) -> None:
        self._meaning = meaning
        self._since: float | None = None

    def failed(self, error: Exception, now: float) -> None:
        """It failed at `now` (monotonic)."""
        if self._since is None:
            self._since = now
            # With a traceback where it is a bug of ours.
            bug = None if isinstance(error, LittleQError) else error
            logger.warning("Ledger unavailable, %s: %s", self._meaning, error, exc_info=bug)

    def over(self, now: float) -> None:
        """It worked at `now` (monotonic)."""
        if self._since is not None:
            logger.warning("Ledger available again after %.0f s", now - self._since)
            self._since = None
