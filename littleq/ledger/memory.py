"""A ledger inside one process: for tests, and for brokers that live in memory."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from littleq.background import survive_forks
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger.attempts import MemoryAttempts
from littleq.ledger.base import (
    PRESENCE_SECONDS,
    RECENT_SLOTS,
    RECORD_EXPIRY_SECONDS,
    SETTINGS_EXPIRY_SECONDS,
    SLOT_SECONDS,
    Batch,
    Counts,
    Lease,
    LedgerSnapshot,
    Presence,
    QueueLedger,
    Record,
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

    def read(self, now: float, fields: Collection[str] | None, *, recent: bool) -> QueueLedger:
        slots, width = recent_window(self.first_seen, now) if recent else (range(0), 0.0)
        sums: defaultdict[str, float] = defaultdict(float)
        for slot in slots:
            for field, amount in self.slots.get(slot, {}).items():
                sums[field] += amount
        settings = {
            name: value
            for name, (stamp, value) in self.settings.items()
            if now - stamp < SETTINGS_EXPIRY_SECONDS
        }
        return QueueLedger(_only(fields, self.totals), _only(fields, sums), width, settings)


class _Grant(NamedTuple):
    """The last lease of a name; `ends_at` is monotonic.

    Attributes:
        holder: empty where it was given back.
        decided_at: wall time.
    """

    token: int
    holder: str
    ends_at: float
    decided_at: float | None


class _Kept(NamedTuple):
    """One record, as text: nobody who has read it can change it. `stamp` is monotonic, `decided_at` wall time."""

    stamp: float
    decided_at: float
    holder: str
    decision: str
    state: str | None


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
        self._running: dict[str, int] = {}
        self._grants: dict[str, _Grant] = {}
        self._records: dict[str, _Kept] = {}
        self._attempts = MemoryAttempts(clock)
        survive_forks(self)

    def apply(self, batch: Batch) -> None:
        """As `Ledger.apply`."""
        with self._lock:
            now = self._clock.monotonic()
            ended = now - batch.age_seconds
            began = ended - batch.span_seconds
            if batch.presence is not None:
                self._workers[batch.writer] = now, batch.presence
                self._running[batch.writer] = batch.running
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

    def busy(self) -> Mapping[str, int]:
        """As `Ledger.busy`."""
        with self._lock:
            long_ago = self._clock.monotonic() - PRESENCE_SECONDS
            live = [writer for writer, (seen, _) in self._workers.items() if seen > long_ago]
            return {writer: self._running[writer] for writer in live if self._running[writer] > 0}

    def snapshot(
        self,
        queues: Collection[str] | None = None,
        *,
        fields: Collection[str] | None = None,
        recent: bool = True,
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
                queues={
                    queue: self._queues[queue].read(now, fields, recent=recent) for queue in sorted(wanted)
                },
                workers=tuple(presence for _, (_, presence) in sorted(self._workers.items())),
            )

    def attempt(self, queue: str, message_id: str) -> int:
        """As `Attempts.attempt`; other processes' starts are not known here."""
        with self._lock:
            return self._attempts.attempt(queue, message_id)

    def settled(self, queue: str, message_ids: Collection[str]) -> None:
        """As `Attempts.settled`."""
        with self._lock:
            self._attempts.settled(queue, message_ids)

    def lease(self, name: str, holder: str, seconds: float) -> Lease | None:
        """As `Ledger.lease`."""
        with self._lock:
            now, wall = self._clock.monotonic(), self._clock.now()
            last = self._grants.get(name, _Grant(0, "", now, None))
            token = last.token
            if last.holder != holder:
                if last.holder and now < last.ends_at:
                    return None
                token = max(token + 1, int(wall * 1e6))  # as on a server, which may lose the last one
            self._grants[name] = _Grant(token, holder, now + seconds, last.decided_at)
            return Lease(name, holder, token, last.decided_at, wall)

    def release(self, lease: Lease) -> None:
        """As `Ledger.release`."""
        with self._lock:
            if self._is_held(lease):
                self._grants[lease.name] = self._grants[lease.name]._replace(holder="")

    def publish(self, lease: Lease, records: Mapping[str, Record]) -> bool:
        """As `Ledger.publish`."""
        written = {
            queue: (
                json.dumps(dict(record.decision)),
                None if record.state is None else json.dumps(dict(record.state)),
            )
            for queue, record in records.items()
        }
        with self._lock:
            if not self._is_held(lease):
                return False
            if not written:
                return True
            now, wall = self._clock.monotonic(), self._clock.now()
            self._grants[lease.name] = self._grants[lease.name]._replace(decided_at=wall)
            for queue, texts in written.items():
                self._records[queue] = _Kept(now, wall, lease.holder, *texts)
            self._forget_records(now)
            return True

    def records(
        self, queues: Collection[str] | None = None, *, states: bool = False
    ) -> tuple[float, dict[str, Record]]:
        """As `Ledger.records`."""
        with self._lock:
            self._forget_records(self._clock.monotonic())
            wanted = self._records if queues is None else set(queues) & self._records.keys()
            kept = {queue: self._records[queue] for queue in sorted(wanted)}
            taken_at = self._clock.now()
        return taken_at, {
            queue: Record(
                json.loads(known.decision),
                json.loads(known.state) if states and known.state is not None else None,
                known.decided_at,
                known.holder,
            )
            for queue, known in kept.items()
        }

    def _is_held(self, lease: Lease) -> bool:
        """Whether nobody has taken it since, nor given it back."""
        last = self._grants.get(lease.name)
        return last is not None and (last.token, last.holder) == (lease.token, lease.holder)

    def _forget_records(self, now: float) -> None:
        for queue in [
            queue for queue, known in self._records.items() if now - known.stamp >= RECORD_EXPIRY_SECONDS
        ]:
            del self._records[queue]

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def _queue(self, name: str, first_seen: float) -> _Queue:
        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = _Queue(first_seen)
        return found
