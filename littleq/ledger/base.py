"""The ledger: what all processes of a fleet know together.

Each process counts in memory (`Recorder`) and sends a `Batch` once a second. A ledger applies a batch exactly
once: a batch carries its writer and a sequence number, and one that was applied already is ignored, so a
flush whose answer got lost can simply be sent again. Nothing here is on the path of a job: a dead ledger
stops nothing.

    process ── Recorder ── Batch(writer, sequence, counts, …) ──> Ledger ── snapshot() ──> exporter, gate, CLI

Counters only grow. Beside them the ledger keeps the same counts by slots of a few seconds for a quarter of an
hour, so that rates and means over the last minute are the same whichever process computes them. A batch says
when its counts were collected, and they go to the slots of that time: after an outage the rates show no spike
where the batches arrive and no dent where they did not. The clock is the ledger's own; a batch gives
durations only.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from littleq.errors import BackendError
from littleq.ledger.attempts import Attempts

#: Width of a slot of recent counts, in seconds, and how many complete ones a snapshot sums up.
SLOT_SECONDS = 5.0
RECENT_SLOTS = 12
#: How long a slot is kept, in seconds.
SLOT_EXPIRY_SECONDS = 900
#: A worker that has not been heard of for this long is gone, in seconds: ten missed flushes.
PRESENCE_SECONDS = 10.0
#: A setting that no process has published for this long is forgotten, in seconds. Each process publishes once
#: a minute; an hour bridges the pauses of a fleet that scales to zero.
SETTINGS_EXPIRY_SECONDS = 3600.0
#: How long the last sequence number of a writer is kept, in seconds: a batch may be sent again within a day.
SEQUENCE_EXPIRY_SECONDS = 86400
#: A queue that nobody has decided about for this long is forgotten, in seconds, and so is a lease: a decision of
#: yesterday says nothing about today.
RECORD_EXPIRY_SECONDS = 86400

Counts = Mapping[str, float]
Settings = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Presence:
    """A live worker process: who it is and how many jobs it can run at a time."""

    writer: str
    host: str
    pid: int
    threads: int
    queues: tuple[str, ...]
    started_at: float

    @classmethod
    def here(cls, *, threads: int, queues: Collection[str], started_at: float, writer: str = "") -> Presence:
        """The presence of this process. `Recorder.attend` fills in the writer."""
        return cls(writer, socket.gethostname(), os.getpid(), threads, tuple(sorted(queues)), started_at)

    def servers(self, queue: str) -> int:
        """Threads of this process that serve `queue`."""
        return self.threads if queue in self.queues else 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One flush of one process.

    Attributes:
        writer: who counted; sends one batch at a time, in order of `sequence`.
        sequence: 1, 2, 3, …; only a higher one than the last is counted. Presence and settings, which may be
            said twice, are taken from any.
        counts: increments by queue and field, finite numbers.
        presence: where the writer is a live worker.
        settings: by queue and name. Merged with those of other writers, last one wins.
        age_seconds: how long ago the last of the counts was collected, as of sending, >= 0.
        span_seconds: how long the collecting took, >= 0. The counts are spread evenly over that time.
        running: jobs that it runs at this moment. Not in the presence, which hardly ever changes and is cached.
    """

    writer: str
    sequence: int
    counts: Mapping[str, Counts]
    presence: Presence | None = None
    settings: Mapping[str, Settings] = field(default_factory=dict)
    age_seconds: float = 0.0
    span_seconds: float = 0.0
    running: int = 0


@dataclass(frozen=True, slots=True)
class QueueLedger:
    """What the fleet has counted for one queue.

    Attributes:
        totals: monotonic counters by field name (`littleq.ledger.fields`).
        recent: the same fields, over the last `recent_seconds`. Not always whole: a batch that was collected
            in two slots is shared between them.
        recent_seconds: width of that window: up to a minute, 0 when nothing is known yet. A rate is a recent
            count divided by this.
        settings: what the processes run with: `sla_seconds`, `percentile`, `arrival_rate`, `queue_limit`, …
    """

    totals: Counts
    recent: Counts
    recent_seconds: float
    settings: Settings


EMPTY_QUEUE = QueueLedger(totals={}, recent={}, recent_seconds=0.0, settings={})


@dataclass(frozen=True)
class LedgerSnapshot:
    """The ledger at one moment of its own clock (`taken_at`, s since the epoch)."""

    taken_at: float
    queues: Mapping[str, QueueLedger]
    workers: tuple[Presence, ...]

    def queue(self, name: str) -> QueueLedger:
        return self.queues.get(name, EMPTY_QUEUE)

    def servers(self, queue: str) -> int:
        """c: live worker threads that serve the queue, over all processes."""
        return self._fleet.get(queue, (0, 0))[0]

    def worker_processes(self, queue: str) -> int:
        """Live worker processes that serve the queue."""
        return self._fleet.get(queue, (0, 0))[1]

    @cached_property
    def _fleet(self) -> dict[str, tuple[int, int]]:
        """Threads and processes by queue: ten thousand workers are gone through once, not once for each queue."""
        alike: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
        for worker in self.workers:
            sums = alike[worker.queues]
            sums[0] += worker.threads
            sums[1] += 1
        found: dict[str, tuple[int, int]] = {}
        for queues, (threads, processes) in alike.items():
            for queue in set(queues):
                others = found.get(queue, (0, 0))
                found[queue] = others[0] + threads, others[1] + processes
        return found


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to decide, held by one process at a time.

    Attributes:
        name: what about.
        holder: who.
        token: grows with each new holder, also where the lease ran out or was lost: what an older one writes is
            refused.
        decided_at: when something was published under this name last, by anybody, s since the epoch by the ledger's
            clock; None: never, or it was lost.
        taken_at: the ledger's clock at the answer.
    """

    name: str
    holder: str
    token: int
    decided_at: float | None
    taken_at: float


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a decision about one queue.

    Attributes:
        decision: JSON, for everybody (`littleq.ledger.decisions.document`).
        state: JSON, for the next decision; None where it was not asked for.
        decided_at: when it was published, by the ledger's clock.
        holder: by whom.
    """

    decision: Mapping[str, Any]
    state: Mapping[str, Any] | None
    decided_at: float = 0.0
    holder: str = ""


class LedgerUnavailable(BackendError):
    """The ledger did not take or give anything; the caller keeps what it has and tries again."""


class Ledger(Attempts, Protocol):
    """Where counts are kept. Every method may raise `LedgerUnavailable`."""

    def apply(self, batch: Batch) -> None:
        """Add a batch, exactly once for each (writer, sequence)."""
        ...

    def retire(self, writer: str) -> None:
        """Forget a worker's presence at once: it has shut down."""
        ...

    def busy(self) -> Mapping[str, int]:
        """Jobs that run now, by writer, of the live workers that run some; one round trip."""
        ...

    def snapshot(
        self,
        queues: Collection[str] | None = None,
        *,
        fields: Collection[str] | None = None,
        recent: bool = True,
    ) -> LedgerSnapshot:
        """Read the given queues, or all, in one round trip. Unknown ones are left out.

        Args:
            queues: which ones; None: all that somebody has counted or declared.
            fields: which counters; None: all. Two thirds of them are bins of histograms.
            recent: read the recent counts as well, which are most of the work; else there are none.
        """
        ...

    def lease(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take or renew the right to decide; None while another holds it.

        Args:
            name: what about; one holder at a time.
            holder: unique to the process.
            seconds: how long without another call until anybody may take it; > 0.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give the right back at once; nothing happens if somebody else has it by now."""
        ...

    def publish(self, lease: Lease, records: Mapping[str, Record]) -> bool:
        """Store decisions and states, all or none; their `decided_at` and `holder` are the ledger's to fill in.

        What is stored about other queues stays, until a day has passed without a word about it.

        Returns:
            False, and nothing is stored, where the lease was given back, has gone to another holder, or is not known
            (the ledger was emptied). One that has run out while nobody else took it is as good as held.
        """
        ...

    def records(
        self, queues: Collection[str] | None = None, *, states: bool = False
    ) -> tuple[float, dict[str, Record]]:
        """The ledger's clock, and what was published about the given queues, or about all; one round trip.

        Args:
            states: read the states as well, which are larger than the decisions.
        """
        ...


def slot_shares(began: float, ended: float, now: float) -> Iterator[tuple[int, float]]:
    """The slots in which counts were collected, and the share of them that each gets.

    What lies further back than a snapshot looks is left out: nobody would read it, and after a long outage it
    would be the bulk of the work. `apply.lua` does the same.

    >>> list(slot_shares(9.0, 11.0, 11.5)), list(slot_shares(11.0, 11.0, 11.5))
    ([(1, 0.5), (2, 0.5)], [(2, 1.0)])
    """
    last = int(ended // SLOT_SECONDS)
    first = max(int(began // SLOT_SECONDS), int(now // SLOT_SECONDS) - RECENT_SLOTS)
    for slot in range(first, last + 1):
        if ended <= began:
            yield slot, 1.0
            continue
        overlap = min(ended, (slot + 1) * SLOT_SECONDS) - max(began, slot * SLOT_SECONDS)
        if overlap > 0:
            yield slot, overlap / (ended - began)


def recent_window(first_seen: float, now: float) -> tuple[range, float]:
    """The complete slots that count as recent, and their width in seconds.

    The window begins when the queue was first seen, if that is later. Narrower than one slot it is no window
    yet: a job that comes alone a millisecond before a slot ends is not a thousand a second.

    >>> recent_window(0.0, 1000.0)
    (range(188, 200), 60.0)
    >>> recent_window(991.0, 1003.0), recent_window(998.0, 1001.0)
    ((range(188, 200), 9.0), (range(0, 0), 0.0))
    """
    end = int(now // SLOT_SECONDS)
    width = end * SLOT_SECONDS - max(first_seen, (end - RECENT_SLOTS) * SLOT_SECONDS)
    if width < SLOT_SECONDS:
        return range(0), 0.0
    return range(end - RECENT_SLOTS, end), width
