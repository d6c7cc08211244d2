"""What this process holds of one queue: received, waiting for its moment, ready, running, done but not yet deleted.

A desk outlives its consumers: a job that runs while Dramatiq makes a new consumer is settled by that one.

    receive ─> waiting (due in a moment) ─> ready ─> running ─> done ─> deleted
                                              └─────────┴─> given back (visibility 0)

Everything here is hidden from other workers for `visibility` seconds, and is renewed before they are over
(`littleq.backends.sqs.heart`). What this process does not hold any more, since it was suspended too long, say, is not
handed out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from dramatiq import Message
from dramatiq.broker import MessageProxy


class Held:
    """One received message.

    Attributes:
        receipt: what settles it.
        body: as it is stored.
        group: of a FIFO queue's message, else None.
        receives: how often it was handed out to anybody, this time included.
        hidden_until: until when others do not see it (monotonic, s).
        received_at: when this process got it (monotonic, s): SQS hides it for 12 hours from then at most.
        is_gone: it is not this process's any more.
    """

    __slots__ = ("body", "group", "hidden_until", "is_gone", "receipt", "received_at", "receives", "sent_at")

    def __init__(self, found: dict[str, Any], *, asked_at: float, visibility: float) -> None:
        attributes = found.get("Attributes", {})
        self.receipt: str = found["ReceiptHandle"]
        self.body: str = found["Body"]
        self.group: str | None = attributes.get("MessageGroupId")
        self.receives = int(attributes.get("ApproximateReceiveCount", 1))
        self.sent_at = int(attributes.get("SentTimestamp", 0)) / 1000
        self.received_at = time.monotonic()
        # From before the answer: on its way it may have taken a moment, but a long poll begins to hide at its end.
        self.hidden_until = max(asked_at, self.received_at - 1.0) + visibility
        self.is_gone = False


class Job(MessageProxy):
    """A message as a worker gets it."""

    def __init__(self, message: Message[Any], held: Held) -> None:
        super().__init__(message)
        self.held = held


class Desk:
    """One per queue and process. All methods take its lock; none goes to the network.

    Args:
        in_order: a FIFO queue: of each group one job runs at a time.
    """

    def __init__(self, *, in_order: bool) -> None:
        self.in_order = in_order
        self.changed = threading.Condition()
        self.held: dict[str, Held] = {}
        self.running: dict[str, Job] = {}
        self._ready: deque[Job] = deque()
        self._waiting: list[tuple[float, int, Job]] = []
        self._numbers = count()

    @property
    def prefetched(self) -> int:
        """Received and not handed out, without those that wait for their moment."""
        return len(self._ready)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def keep(self, held: Iterable[Held]) -> None:
        """This process has these, from now on."""
        with self.changed:
            self.held.update({each.receipt: each for each in held})

    def drop(self, held: Iterable[Held]) -> None:
        """These are deleted, or somebody else's."""
        with self.changed:
            for each in held:
                self.held.pop(each.receipt, None)

    def add(self, job: Job, due_in: float) -> None:
        """A job to hand out, at once or in `due_in` seconds."""
        with self.changed:
            if due_in > 0:
                heappush(self._waiting, (time.monotonic() + due_in, next(self._numbers), job))
            else:
                self._ready.append(job)
            self.changed.notify_all()

    def take(self, room: int) -> tuple[Job | None, list[Job], float | None]:
        """The next job to run.

        Args:
            room: how many may run at a time.

        Returns:
            The job, if there is one; jobs to give back, since they are due and there is no room; and in how many
            seconds the next one is due. The caller holds the lock.
        """
        now = time.monotonic()
        surplus: list[Job] = []
        while self._waiting and self._waiting[0][0] <= now:
            job = heappop(self._waiting)[2]
            if len(self.running) + len(self._ready) < room:
                self._ready.append(job)
            else:
                surplus.append(job)
        due_in = self._waiting[0][0] - now if self._waiting else None
        return self._next(room, now), surplus, due_in

    def _next(self, room: int, now: float) -> Job | None:
        if len(self.running) >= room:
            return None
        busy = {job.held.group for job in self.running.values()} if self.in_order else ()
        for job in list(self._ready):
            if job.held.is_gone or job.held.hidden_until <= now:
                self._ready.remove(job)
                self.held.pop(job.held.receipt, None)
            elif job.held.group not in busy:
                self._ready.remove(job)
                self.running[job.held.receipt] = job
                return job
        return None

    def ended(self, job: Job) -> None:
        """It runs no more: there is room for another one, and for the next of its group."""
        with self.changed:
            self.running.pop(job.held.receipt, None)
            self.changed.notify_all()

    def behind(self, jobs: Iterable[Job]) -> list[Job]:
        """Jobs that must go back along with these: they come after one of them in a group that keeps its order."""
        if not self.in_order:
            return []
        with self.changed:
            groups = {job.held.group for job in jobs}
            found = [job for job in self._ready if job.held.group in groups]
            self._ready = deque(job for job in self._ready if job.held.group not in groups)
            return found

    def seated(self) -> set[str]:
        """Receipts of what is ready, waits for its moment, or runs."""
        jobs = [*self._ready, *(job for _, _, job in self._waiting), *self.running.values()]
        return {job.held.receipt for job in jobs}

    def unseen(self) -> list[Job]:
        """All that was not handed out; it is taken away from here."""
        with self.changed:
            found = [*self._ready, *(job for _, _, job in self._waiting)]
            self._ready.clear()
            self._waiting.clear()
            return found
