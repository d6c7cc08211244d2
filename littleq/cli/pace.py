"""How fast dead letters go back: at a fixed rate, or as the headroom of their queues allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import click

from littleq.cli import options
from littleq.cli.show import counted, number, percent, seconds
from littleq.policies import admission
from littleq.policies.replay import replay_room

if TYPE_CHECKING:
    from littleq.cli.options import Session
    from littleq.config import SLAQueueConfig
    from littleq.ledger.base import LedgerSnapshot
    from littleq.metrics.observe import QueueReport

#: Most letters that go back before the queue is looked at again.
PAGE = 100
#: How long a snapshot of the ledger is used, in seconds: workers send their counts once a second.
SNAPSHOT_SECONDS = 1.0
#: How far a fixed rate may lag behind and still catch up, in seconds.
CATCH_UP_SECONDS = 1.0
#: Pauses between two looks at a full queue, in seconds: shortest, longest, and where its speed is not known.
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS, BLIND_PAUSE_SECONDS = 0.02, 1.0, 0.25


class Pace(Protocol):
    """When the next letter may go back."""

    def wait(self, queue: str) -> None:
        """Return when a letter of `queue` may go back. Called once for each."""
        ...


@dataclass
class AtRate:
    """So many a second, whatever their queue. Lost time is made up for up to a second: no burst after a pause."""

    rate: float
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _next: float | None = None

    def wait(self, queue: str) -> None:
        now = self.monotonic()
        turn = now if self._next is None else self._next
        self._next = max(turn, now - CATCH_UP_SECONDS) + 1.0 / self.rate
        self.sleep(max(0.0, turn - now))


class Room(NamedTuple):
    """What a queue can take now.

    Attributes:
        jobs: how many letters may go back.
        pause: seconds after which to look again if there are none.
        reason: why there are none, in words.
    """

    jobs: int
    pause: float
    reason: str


@dataclass
class WithinSLA:
    """As many as their queue starts within its SLA: looks, lets so many go, looks again.

    Args:
        look: what a queue can take now.
        say: takes one line, the first time that there is no room in a queue.
    """

    look: Callable[[str], Room]
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    _left: dict[str, int] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    def wait(self, queue: str) -> None:
        while self._left.get(queue, 0) < 1:
            room = self.look(queue)
            self._left[queue] = min(room.jobs, PAGE)
            if room.jobs < 1:
                if queue not in self._said:
                    self._said.add(queue)
                    self.say(f"Waiting for room in {queue!r}: {room.reason}.")
                self.sleep(room.pause)
        self._left[queue] -= 1


class Headroom:
    """Looks at queues through the inspector, the ledger and the configuration."""

    def __init__(self, opened: Session, monotonic: Callable[[], float] = time.monotonic) -> None:
        options.shared_ledger(opened.config)  # else there would never be room, for want of workers
        self._opened = opened
        self._monotonic = monotonic
        self._snapshot: tuple[float, LedgerSnapshot] | None = None

    def __call__(self, queue: str) -> Room:
        """What a queue can take now.

        Raises:
            click.UsageError: nobody has said what the SLA of this queue is.
        """
        from littleq.metrics.observe import report

        opened, snapshot = self._opened, self._ledger()
        if queue not in opened.config.queues and "sla_seconds" not in snapshot.queue(queue).settings:
            raise click.UsageError(
                f"--within-sla needs an SLA, and queue {queue!r} has none: "
                "name it in littleq.toml, or give a --rate."
            )
        truth = opened.backend.inspector.truth([queue])
        return room(report(queue, snapshot, truth[queue], opened.config), opened.config.queue(queue))

    def _ledger(self) -> LedgerSnapshot:
        now = self._monotonic()
        if self._snapshot is None or now - self._snapshot[0] >= SNAPSHOT_SECONDS:
            self._snapshot = (now, self._opened.ledger.snapshot())
        return self._snapshot[1]


def room(report: QueueReport, queue: SLAQueueConfig) -> Room:
    """What a queue can take, by a report on it and by its settings."""
    servers, depth = report.servers or 0, report.number_in_system or 0
    if report.truth is not None and report.truth.paused:
        return Room(0, MOST_PAUSE_SECONDS, "it is paused")
    limit, share = queue_limit(report, queue), queue.criticality_share("sheddable")
    jobs = replay_room(queue_limit=limit, servers=servers, number_in_system=depth, share=share)
    pause = BLIND_PAUSE_SECONDS
    if servers and report.service_time:  # until half of that share has left
        pause = max(1.0, limit * share / 2) * report.service_time / servers
    reason = (
        f"it holds {counted(depth, 'job')} and can start {number(limit)} within {seconds(report.sla_seconds)}, "
        f"{percent(share)} of them replayed"
    )
    return Room(jobs, min(MOST_PAUSE_SECONDS, max(LEAST_PAUSE_SECONDS, pause)), reason)


def queue_limit(report: QueueReport, queue: SLAQueueConfig) -> float:
    """Jobs that may wait or run for each to start within the SLA.

    The limit at which sends are refused; where none is, what the live workers can clear.
    """
    if report.queue_limit is not None:
        return report.queue_limit
    limit = admission.capacity_limit(
        servers=report.servers or 0,
        service_time=report.service_time,
        service_scv=report.service_scv,
        sla_seconds=report.sla_seconds,
        percentile=report.percentile,
        sojourn=report.sla_on == "sojourn",
        worker_processes=report.workers or 0,
        jobs_per_worker=queue.jobs_per_worker,
    )
    return limit.jobs + limit.servers
