"""One log line when the ledger goes away, and one when it is back."""

from __future__ import annotations

import logging

from littleq.errors import LittleQError

logger = logging.getLogger(__name__)


class Outage:
    """Logs the first of many failures and the end of the last, whatever it was that failed."""

    def __init__(self) -> None:
        self._failing: set[str] = set()
        self._since = 0.0

    def failed(self, what: str, error: Exception, now: float) -> None:
        """`what` failed at `now` (monotonic)."""
        if not self._failing:
            self._since = now
            # With a traceback where it is a bug of ours.
            bug = None if isinstance(error, LittleQError) else error
            logger.warning("Ledger unavailable, counts are kept and sent later: %s", error, exc_info=bug)
        self._failing.add(what)

    def over(self, what: str, now: float) -> None:
        """`what` worked at `now` (monotonic)."""
        if what in self._failing:
            self._failing.remove(what)
            if not self._failing:
                logger.warning("Ledger available again after %.0f s", now - self._since)
