"""A ledger inside one process: for tests, and for brokers that live in memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterable

from littleq.background import survive_forks
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger.base import (
    PRESENCE_SECONDS,
    RECENT_SLOTS,
    SETTINGS_EXPIRY_SECONDS,
    SLOT_SECONDS,
    Batch,
    Counts,
    LedgerSnapshot,
    Presence,
    QueueLedger,
    recent_window,
    slot_shares,
)


class _Queue:
    """All that is kept of one queue; times are monotonic."""

    def __init__(self, first_seen: float) -> None:
        self.first_seen = first_seen
        self.totals: defaultdict[str, float] = defaultdict(float)
        self.slots: dict[int, defaultdict[str, float]] = {}
        self.settings: dict[str, tuple[float, float | str]] = {}

    def count(self, counts: Counts, shares: Iterable[tuple[int, float]], now: float) -> None:
        for field, amount in counts.items():
            self.totals[field] += amount
        for slot, share in shares:
            fields = self.slots.setdefault(slot, defaultdict(float))
            for field, amount in counts.items():
                fields[field] += amount * share
        oldest = int(now // SLOT_SECONDS) - RECENT_SLOTS
        for slot in [slot for slot in self.slots if slot < oldest]:
            del self.slots[slot]

    def read(self, now: float, fields: Collection[str] | None) -> QueueLedger:
        slots, width = recent_window(self.first_seen, now)
        recent: defaultdict[str, float] = defaultdict(float)
        for slot in slots:
            for field, amount in self.slots.get(slot, {}).items():
                recent[field] += amount
        settings = {
            name: value
            for name, (stamp, value) in self.settings.items()
            if now - stamp < SETTINGS_EXPIRY_SECONDS
        }
        return QueueLedger(_only(fields, self.totals), _only(fields, recent), width, settings)


def _only(fields: Collection[str] | None, counts: Counts) -> dict[str, float]:
    return {field: amount for field, amount in counts.items() if fields is None or field in fields}


class MemoryLedger:
    """A `Ledger` in this process's memory.

    Thread-safe. A forked child goes on with a copy of its own, which nobody else sees.

    Args:
        clock: monotonic time decides about slots and presence, so a step of the wall clock changes nothing.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._sequences: dict[str, int] = {}
        self._workers: dict[str, tuple[float, Presence]] = {}
        survive_forks(self)

    def apply(self, batch: Batch) -> None:
        """As `Ledger.apply`."""
        with self._lock:
            now = self._clock.monotonic()
            ended = now - batch.age_seconds
            began = ended - batch.span_seconds
            if batch.presence is not None:
                self._workers[batch.writer] = now, batch.presence
            for queue, settings in batch.settings.items():
                stamped = {name: (now, value) for name, value in settings.items()}
                self._queue(queue, now).settings.update(stamped)
            if batch.sequence <= self._sequences.get(batch.writer, 0):
                return
            self._sequences[batch.writer] = batch.sequence
            for queue, counts in batch.counts.items():
                self._queue(queue, began).count(counts, slot_shares(began, ended, now), now)

    def retire(self, writer: str) -> None:
        """As `Ledger.retire`."""
        with self._lock:
            self._workers.pop(writer, None)

    def snapshot(
        self, queues: Collection[str] | None = None, *, fields: Collection[str] | None = None
    ) -> LedgerSnapshot:
        """As `Ledger.snapshot`."""
        with self._lock:
            now = self._clock.monotonic()
            gone = [name for name, (seen, _) in self._workers.items() if now - seen >= PRESENCE_SECONDS]
            for writer in gone:
                del self._workers[writer]
            wanted = self._queues if queues is None else [queue for queue in queues if queue in self._queues]
            return LedgerSnapshot(
                taken_at=self._clock.now(),
                queues={queue: self._queues[queue].read(now, fields) for queue in sorted(wanted)},
                workers=tuple(presence for _, (_, presence) in sorted(self._workers.items())),
            )

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def _queue(self, name: str, first_seen: float) -> _Queue:
        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = _Queue(first_seen)
        return found
