"""What consumers of all brokers have in common: what an ack means, and how to wait for room."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from littleq import job

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

#: Once there is room, wait this long for a quarter of the prefetch to be free, in seconds: about a round trip or two.
GATHER_SECONDS = 0.002

#: What to do with a job that Dramatiq acks: nothing, since its retry took its place already; give it back, since a time
#: limit or a shutdown hit between the attempt and its verdict, and nobody knows that it succeeded; or settle it, on the
#: account "done", "skipped" or "" (it never passed LittleQ).
Verdict = Literal["rescheduled", "interrupted", "done", "skipped", ""]


def verdict(message: MessageProxy) -> Verdict:
    """What an ack of Dramatiq's means."""
    if job.noted(message, "rescheduled"):
        return "rescheduled"
    if job.noted(message, "started") is not None and not job.noted(message, "judged"):
        return "interrupted"
    if not job.is_known(message.options):
        return ""
    return "skipped" if job.noted(message, "skipped") else "done"


class Room:
    """Lets a consumer with a full prefetch sleep until jobs end.

    Args:
        running: jobs that were handed out and have not ended; whoever takes one away calls `left`.
        prefetch: how many there may be.
    """

    def __init__(self, running: Collection[str], prefetch: int) -> None:
        self._running = running
        self._prefetch = prefetch
        self._event = threading.Event()
        self._wanted = -1  # number of running jobs at which the event is set; -1: nobody waits

    def wait(self, seconds: float) -> bool:
        """Whether a job more may be fetched, within `seconds`; then a moment more, to fetch a few at a time."""
        if not self._until(self._prefetch - 1, seconds):
            return False
        self._until(self._prefetch * 3 // 4, GATHER_SECONDS)
        return True

    def left(self) -> None:
        """A job has ended."""
        if len(self._running) <= self._wanted:
            self._event.set()

    def _until(self, running: int, seconds: float) -> bool:
        if len(self._running) <= running:
            return True
        self._event.clear()
        self._wanted = running
        try:
            # Looked at again: a job that ended before `_wanted` was set did not set the event.
            return len(self._running) <= running or self._event.wait(seconds)
        finally:
            self._wanted = -1
