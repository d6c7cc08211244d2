"""The fleet as one process last heard of it, read without any I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, get_args

from littleq import estimators
from littleq.clock import Clock
from littleq.config import Criticality
from littleq.ledger import fields
from littleq.ledger.base import Counts, Ledger, LedgerSnapshot, Settings

#: A queue that nobody has asked about for this long is not read any more, in seconds.
FORGET_SECONDS = 60.0

#: What a view is made of. Every process that sends asks for it once a second: bins would be most of the work.
_FIELDS: Final = (
    fields.OCCUPIED,
    *(
        f"{histogram}:{moment}"
        for histogram in (fields.SERVICE, fields.WAIT)
        for moment in ("count", "sum", "sumsq")
    ),
    *(fields.qualified(fields.OFFERED, criticality) for criticality in get_args(Criticality)),
)


class FleetView(NamedTuple):
    """What the whole fleet does for one queue.

    "Recent" is the ledger's window of up to a minute; None where nothing was observed.

    Attributes:
        servers: c, live worker threads, as far as the queue's bounds let them work at the same time.
        worker_processes: live worker processes.
        service_time: S, mean of the recent services, or of all where there are no recent ones, in seconds.
        service_scv: squared coefficient of variation of the same services.
        occupancy_time: mean time that an attempt holds its thread: S, the hooks around it and the ack.
        waiting_time: Wq, mean of the recent waits, in seconds.
        arrival_rate: λ, recent first-time sends offered per second.
        settings: what the processes run with.
        age_seconds: since this was read from the ledger. It grows while the ledger is away.
    """

    servers: int
    worker_processes: int
    service_time: float | None
    service_scv: float | None
    occupancy_time: float | None
    waiting_time: float | None
    arrival_rate: float | None
    settings: Settings
    age_seconds: float


def fleet_view(snapshot: LedgerSnapshot, queue: str) -> FleetView:
    """One queue of a snapshot; `age_seconds` is 0."""
    known = snapshot.queue(queue)
    services = known.recent if known.recent.get(f"{fields.SERVICE}:count", 0) > 0 else known.totals
    count, total, squares = _moments(services, fields.SERVICE)
    waits, waited, _ = _moments(known.recent, fields.WAIT)
    processes = snapshot.worker_processes(queue)
    return FleetView(
        servers=_servers(snapshot.servers(queue), processes, known.settings),
        worker_processes=processes,
        service_time=estimators.mean(total, count),
        service_scv=estimators.scv(count, total, squares),
        occupancy_time=estimators.mean(services.get(fields.OCCUPIED, 0.0), count),
        waiting_time=estimators.mean(waited, waits),
        arrival_rate=estimators.rate(fields.total(known.recent, fields.OFFERED), known.recent_seconds),
        settings=known.settings,
        age_seconds=0.0,
    )


def _servers(threads: int, processes: int, settings: Settings) -> int:
    """Threads that the queue's bounds, per process and over the fleet, let work at the same time."""
    per_process, fleet = settings.get("concurrency"), settings.get("concurrency_global")
    if per_process is not None:
        threads = min(threads, processes * int(per_process))
    return threads if fleet is None else min(threads, int(fleet))


def _moments(counts: Counts, histogram: str) -> tuple[float, float, float]:
    return (
        counts.get(f"{histogram}:count", 0.0),
        counts.get(f"{histogram}:sum", 0.0),
        counts.get(f"{histogram}:sumsq", 0.0),
    )


class FleetWatch:
    """Keeps a view of each queue that somebody asks about.

    Args:
        ledger: read by `refresh`, nowhere else.
        clock: monotonic time dates views and questions.
        wake: called at the first question about a queue.
    """

    def __init__(self, ledger: Ledger, clock: Clock, wake: Callable[[], object]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._wake = wake
        # Both are only ever read, set and replaced as a whole, which needs no lock.
        self._asked_at: dict[str, float] = {}
        self._views: dict[str, tuple[float, FleetView]] = {}

    def ask(self, queue: str) -> FleetView | None:
        """The last view of a queue, or None until there is one. No I/O, no lock."""
        now = self._clock.monotonic()
        is_new = queue not in self._asked_at
        self._asked_at[queue] = now
        if is_new:
            self._wake()
        known = self._views.get(queue)
        if known is None:
            return None
        taken_at, view = known
        return FleetView(*view[:-1], now - taken_at)

    def refresh(self) -> None:
        """Read the ledger, if somebody has asked lately.

        Raises:
            LedgerUnavailable: the views stay as they are, and get older.
        """
        since = self._clock.monotonic() - FORGET_SECONDS
        asked_at = self._asked_at.copy()
        for queue, asked in asked_at.items():
            if asked < since:
                self._asked_at.pop(queue, None)
        watched = [queue for queue, asked in asked_at.items() if asked >= since]
        if not watched:
            return
        began = self._clock.monotonic()
        snapshot = self._ledger.snapshot(watched, fields=_FIELDS)
        self._views = {queue: (began, fleet_view(snapshot, queue)) for queue in watched}
