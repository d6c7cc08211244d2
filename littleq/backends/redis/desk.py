"""What this process holds of one queue, and what it has done and not told the server yet.

An ack is written down and goes out with the next fetch: one round trip for a few jobs. It waits for that only while the
consumer is certain to fetch within moments; otherwise, and when `MOST_ACKS` wait, whoever brings it sends them. A
desk outlives its consumers: an ack that met an outage is sent by the next one.

Window of at-least-once: a process that is killed takes along the acks that wait, at most `MOST_ACKS` of them, each
for no longer than its consumer's next fetch (milliseconds). Those jobs run again.
"""

from __future__ import annotations

import threading

#: Acks that wait for a fetch at most; at two a prefetch it is reached only by small jobs under load.
MOST_ACKS = 64

Ack = tuple[str, str]  # id, account


class Desk:
    """One per queue and process.

    Attributes:
        held: ids of jobs that are this process's, as far as it knows. An id goes when the server has confirmed that.
        running: ids of jobs that were handed to Dramatiq and have not ended.
    """

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.running: set[str] = set()
        self._acks: list[Ack] = []
        self._fetches = False  # whether a fetch is certain to come, and takes the acks along
        self._lock = threading.Lock()

    def write_down(self, ack: Ack) -> bool:
        """Note an ack; whether the caller has to see to it that the acks are sent."""
        with self._lock:
            self._acks.append(ack)
            return not self._fetches or len(self._acks) >= MOST_ACKS

    def expect_fetch(self, certain: bool) -> bool:
        """Say whether a fetch is certain to come; whether acks wait."""
        with self._lock:
            self._fetches = certain
            return bool(self._acks)

    def take(self) -> list[Ack]:
        """The acks that wait. They stay in `held` until `sent`, or come back by `keep`."""
        with self._lock:
            acks, self._acks = self._acks, []
            return acks

    def sent(self, acks: list[Ack]) -> None:
        self.held.difference_update([redis_message_id for redis_message_id, _ in acks])

    def keep(self, acks: list[Ack]) -> None:
        """The server did not answer: they wait again. Sent twice, they count once."""
        with self._lock:
            self._acks = acks + self._acks
