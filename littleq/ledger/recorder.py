"""How a process counts: in memory, and once a second into the ledger.

    jobs ── add ──> pending ── seal ──> held Batch ── apply ──> Ledger
                    (dict)              (one, until the ledger has confirmed it)

A job pays for a lock and a few additions. All I/O is done by one background thread, or by whoever calls
`flush` or `close`.

Failure handling. A batch that was not confirmed is held and sent again, first and with the same sequence
number, so it counts exactly once however often its answer got lost. Newer counts add up behind it: they need
no more memory than the fields they name, however long the outage. Each failed flush counts as
`errors:ledger_flush`; `unflushed` tells how many increments wait; the log gets one line when the ledger goes
away and one when it is back. What a process still holds when it exits is lost, and so is the last second of
one that is killed: both are counts, never jobs.

Forks. A child starts afresh: a writer id of its own, no counts, no presence, no thread until it counts. What
the parent had pending stays with the parent.

Known weakness. The monotonic clock dates what waits, so a host that sleeps makes its counts too young. Where
background threads do not run (uWSGI without `enable-threads`), nothing is sent before the process ends.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from littleq.background import Background, at_process_exit, not_at_process_exit, survive_forks
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.errors import ValidationError
from littleq.ledger import fields
from littleq.ledger.base import PRESENCE_SECONDS, Batch, Counts, Ledger, Presence
from littleq.ledger.fleet import FleetView, FleetWatch
from littleq.ledger.outage import Outage

__all__ = ["FleetView", "Recorder"]

logger = logging.getLogger(__name__)

#: How often a process says again what it runs with, in seconds, for a ledger that lost its data.
SETTINGS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A sealed batch, and when its counts were collected (monotonic)."""

    batch: Batch
    increments: int
    began: float
    ended: float


class Recorder:
    """Counts for one process. Thread-safe and fork-safe; starts its thread at the first use.

    Args:
        ledger: where the counts go.
        clock: monotonic time dates the batches.
        flush_seconds: pause between two flushes, > 0. A live worker says so at least every 2.5 s, whatever
            this is.
    """

    def __init__(self, ledger: Ledger, *, clock: Clock = SYSTEM_CLOCK, flush_seconds: float = 1.0) -> None:
        self._ledger = ledger
        self._clock = clock
        self._background = Background("littleq-ledger", flush_seconds, self._tick)
        self._fleet = FleetWatch(ledger, clock, self._wake)
        self._settings: dict[str, dict[str, float | str]] = {}
        self._begin()
        survive_forks(self)

    def _begin(self) -> None:
        """The state of a process that has counted nothing yet."""
        self.writer = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._lock = threading.RLock()  # re-entrant: a signal handler may count while its thread does
        self._flushing = threading.Lock()
        self._pending: dict[str, defaultdict[str, float]] = {}
        self._increments = 0
        self._opened_at = 0.0
        self._held: _Held | None = None
        self._sequence = 0
        self._presence: Presence | None = None
        self._running: Callable[[], int] = lambda: 0
        self._attended = False
        self._undeclared = set(self._settings)
        self._declared_at = -math.inf
        self._outage = Outage()

    @property
    def unflushed(self) -> int:
        """Increments that the ledger has not confirmed: in the batch that is held, and behind it."""
        held = self._held
        return self._increments + (held.increments if held is not None else 0)

    def add(self, queue: str, counts: Mapping[str, float] | Iterable[tuple[str, float]]) -> None:
        """Increment some fields of a queue. Hot path: no I/O, about a microsecond for a handful.

        Args:
            queue: "" where none is known.
            counts: field and amount; see `littleq.ledger.fields`. A field may come more than once.
        """
        # Asking whether it is a Mapping would cost as much as all the rest.
        items = getattr(counts, "items", None)
        pairs: Iterable[tuple[str, float]] = counts if items is None else items()  # type: ignore[assignment]
        with self._lock:
            found = self._pending.get(queue)
            if found is None:
                found = self._open(queue)
            increments = 0
            for field, amount in pairs:
                found[field] += amount
                increments += 1
            self._increments += increments
        if self._background.idle:
            self._start()

    def count(self, queue: str, field: str, amount: float = 1) -> None:
        """Increment one field of a queue."""
        self._count(queue, field, amount)
        if self._background.idle:
            self._start()

    def error(self, place: str, queue: str = "") -> None:
        """Count a failure inside LittleQ."""
        self.count(queue, fields.qualified(fields.ERRORS, place))

    def declare(self, queue: str, settings: Mapping[str, float | str]) -> None:
        """Publish what a queue runs with, in the next batch and once a minute from then on.

        Adds to what was declared before. Starts no thread, so it may be called at import.

        Raises:
            ValidationError: a value is neither a number nor a text; it would make every batch fail.
        """
        for name, value in settings.items():
            if not isinstance(value, int | float | str):
                raise ValidationError(f"{name} of queue {queue!r} is {value!r}: declare a number or a text.")
        with self._lock:
            known = self._settings.setdefault(queue, {})
            if any(known.get(name) != value for name, value in settings.items()):
                self._settings[queue] = {**known, **settings}
                self._undeclared.add(queue)

    def attend(self, presence: Presence, running: Callable[[], int] = lambda: 0) -> None:
        """This process is a live worker from now on; called again, it replaces what was said before.

        Args:
            running: how many jobs it runs; asked at each flush.
        """
        self._running = running
        self._presence = replace(presence, writer=self.writer)
        self._attended = True
        self._background.interval_seconds = min(self._background.interval_seconds, PRESENCE_SECONDS / 4)
        self._wake()

    def leave(self) -> None:
        """This process is no worker any more: the ledger hears it with the next flush."""
        self._presence = None
        self._wake()

    def fleet(self, queue: str) -> FleetView | None:
        """The fleet as last heard of, at most a second or two ago while the ledger answers. Hot path: no I/O.

        Returns:
            None until the ledger was read for the first time after the first question.
        """
        if self._background.idle:
            self._start()
        return self._fleet.ask(queue)

    def look(self, queue: str) -> FleetView | None:
        """As `fleet`, but reads the ledger now, in the calling thread: once, where a guess would be far off."""
        self._fleet.ask(queue)
        try:
            self._fleet.refresh()
        except Exception as error:
            self._failed("snapshot", error)
        return self.fleet(queue)

    def flush(self) -> bool:
        """Send what was counted: the batch that is held, if there is one, and then what came after.

        Returns:
            Whether the ledger has everything. If not, nothing is lost.
        """
        with self._flushing:
            if not self._send_held():
                return False
            self._held = self._seal()
            if not (self._send_held() and self._retire()):
                return False
            self._outage.over("flush", self._clock.monotonic())
            return True

    def close(self) -> None:
        """Leave, flush, end the thread. Called at exit too; may be called again, and counting may go on."""
        self._presence = None
        self._background.stop()
        not_at_process_exit(self.close)
        if not self.flush():
            logger.warning("Ledger unavailable at shutdown: %d increments not sent", self.unflushed)

    def after_fork_in_child(self) -> None:
        self._begin()

    def _count(self, queue: str, field: str, amount: float) -> None:
        with self._lock:
            found = self._pending.get(queue)
            if found is None:
                found = self._open(queue)
            found[field] += amount
            self._increments += 1

    def _open(self, queue: str) -> defaultdict[str, float]:
        if not self._pending:
            self._opened_at = self._clock.monotonic()
        found = self._pending[queue] = defaultdict(float)
        return found

    def _start(self) -> None:
        self._background.start()
        at_process_exit(self.close)

    def _wake(self) -> None:
        if self._background.idle:
            self._start()
        self._background.wake()

    def _tick(self) -> None:
        if not self.flush():
            return  # a second call would only wait for the same timeout
        try:
            self._fleet.refresh()
        except Exception as error:
            self._failed("snapshot", error)
        else:
            self._outage.over("snapshot", self._clock.monotonic())

    def _seal(self) -> _Held | None:
        now = self._clock.monotonic()
        with self._lock:
            counts, self._pending = self._pending, {}
            increments, self._increments = self._increments, 0
            began = self._opened_at if counts else now
            if now - self._declared_at >= SETTINGS_SECONDS:
                self._undeclared.update(self._settings)
                self._declared_at = now
            settings = {queue: self._settings[queue] for queue in self._undeclared}
            self._undeclared.clear()
        if not counts and not settings and self._presence is None:
            return None
        self._sequence += 1
        batch = Batch(self.writer, self._sequence, self._finite(counts), settings=settings)
        return _Held(batch, increments, began, now)

    def _finite(self, counts: Mapping[str, Counts]) -> Mapping[str, Counts]:
        """Without what is no number: it would spoil a sum for ever, or the whole batch."""
        finite: dict[str, Counts] = {}
        for queue, named in counts.items():
            finite[queue] = {field: amount for field, amount in named.items() if math.isfinite(amount)}
            if len(finite[queue]) < len(named):
                self._count(queue, fields.qualified(fields.ERRORS, "ledger_value"), 1)
        return finite

    def _send_held(self) -> bool:
        held = self._held
        if held is None:
            return True
        batch = replace(
            held.batch,
            presence=self._presence,  # of now, not of when the batch was sealed
            running=self._running(),
            age_seconds=self._clock.monotonic() - held.ended,
            span_seconds=held.ended - held.began,
        )
        try:
            self._ledger.apply(batch)
        except Exception as error:
            self._failed("flush", error)
            return False
        self._held = None
        return True

    def _retire(self) -> bool:
        if self._attended and self._presence is None:
            try:
                self._ledger.retire(self.writer)
            except Exception as error:
                self._failed("flush", error)
                return False
            self._attended = False
        return True

    def _failed(self, what: str, error: Exception) -> None:
        self._count("", fields.qualified(fields.ERRORS, f"ledger_{what}"), 1)
        self._outage.failed(what, error, self._clock.monotonic())
