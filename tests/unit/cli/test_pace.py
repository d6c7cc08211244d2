"""When the next dead letter may go back, on a clock of the test's own."""

from __future__ import annotations

from typing import Any

import click
import pytest

from littleq.backends.base import TruthTable
from littleq.cli.options import Session
from littleq.cli.pace import PAGE, AtRate, Headroom, Room, WithinSLA
from littleq.config import Config, SLAQueueConfig
from littleq.ledger import fields
from littleq.ledger.base import Batch, Presence
from littleq.ledger.memory import MemoryLedger
from littleq.testing import ManualClock


class Line:
    """Letters that were let go, and when."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.times: list[float] = []

    def pass_through(self, pace: Any, letters: int, queue: str = "q") -> None:
        for _ in range(letters):
            pace.wait(queue)
            self.times.append(round(self.clock.monotonic(), 6))


def test_a_rate_is_kept_whatever_a_replay_takes() -> None:
    clock = ManualClock()
    line, pace = Line(clock), AtRate(4.0, clock.monotonic, clock.advance)
    line.pass_through(pace, 3)
    clock.advance(0.2)  # a slow round trip
    line.pass_through(pace, 2)
    assert line.times == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_after_a_long_pause_there_is_no_burst_beyond_a_second() -> None:
    """Canaries are watched for a minute: the sixty seconds of letters after it do not come at once."""
    clock = ManualClock()
    line, pace = Line(clock), AtRate(10.0, clock.monotonic, clock.advance)
    line.pass_through(pace, 1)
    clock.advance(60)
    line.pass_through(pace, 30)
    assert sum(time == 60.0 for time in line.times) <= 12
    assert line.times[-1] >= 61.5


class Queue:
    """A queue with one departure every `seconds`; letters that go back are in it."""

    def __init__(self, clock: ManualClock, limit: int, depth: int, seconds: float = 1.0) -> None:
        self.clock, self.limit, self.seconds, self.depth = clock, limit, seconds, depth
        self.looks = self.most = 0

    def look(self, queue: str) -> Room:
        self.looks += 1
        return Room(max(0, self.limit - self.depth), 0.5, f"it holds {self.depth} jobs")

    def sleep(self, seconds: float) -> None:
        before = self.clock.monotonic() // self.seconds
        self.clock.advance(seconds)
        self.depth = max(0, self.depth - int(self.clock.monotonic() // self.seconds - before))

    def take(self, pace: WithinSLA, letters: int) -> None:
        for _ in range(letters):
            pace.wait("q")
            self.depth += 1
            self.most = max(self.most, self.depth)


def test_within_the_sla_the_queue_never_holds_more_than_it_may() -> None:
    clock = ManualClock()
    queue, said = Queue(clock, limit=5, depth=2), []
    queue.take(WithinSLA(queue.look, said.append, queue.sleep), 13)
    assert queue.most == 5
    assert clock.monotonic() == pytest.approx(10)  # three at once, then one for each that leaves
    assert said == ["Waiting for room in 'q': it holds 5 jobs."]  # once, however often it waits


def test_a_roomy_queue_is_looked_at_once_a_page() -> None:
    clock = ManualClock()
    queue = Queue(clock, limit=10**6, depth=0)
    queue.take(WithinSLA(queue.look, lambda _: None, queue.sleep), 3 * PAGE)
    assert queue.looks == 3


def headroom(backend: Any, ledger: MemoryLedger, *queues: SLAQueueConfig) -> Headroom:
    config = Config(url="stub://", queues={queue.name: queue for queue in queues})
    return Headroom(Session(config, None, backend, ledger))  # type: ignore[arg-type]


def workers(ledger: MemoryLedger, *, threads: int, service_time: float) -> None:
    """A worker process that has run a hundred jobs of queue q."""
    moments = {"count": 100.0, "sum": 100 * service_time, "sumsq": 100 * service_time**2}
    counts = {f"{fields.SERVICE}:{name}": value for name, value in moments.items()}
    presence = Presence("w", "host", 1, threads, ("q",), 0.0)
    ledger.apply(Batch("w", 1, {"q": counts}, presence=presence))


def test_room_follows_the_contract(backend: Any) -> None:
    """L = 20/s × 2 s = 40, of which half is open to what may be shed."""
    queue = SLAQueueConfig("q", arrival_rate=20, sla_seconds=2)
    backend.inspector.tables["q"] = [TruthTable("q", ready=10, in_flight=5, delayed=100, dead=9)]
    room = headroom(backend, MemoryLedger(), queue)("q")
    assert room.jobs == 5
    assert room.reason == "it holds 15 jobs and can start 40 within 2 s, 50 % of them replayed"


def test_room_follows_what_the_live_workers_can_start(backend: Any) -> None:
    """Whether or not sends are refused: capacity and off give the same room."""
    backend.inspector.tables["q"] = [TruthTable("q", ready=10)]
    rooms = {}
    for mode in ("capacity", "off"):
        ledger = MemoryLedger()
        workers(ledger, threads=4, service_time=0.1)
        queue = SLAQueueConfig("q", admission=mode, sla_seconds=2, criticality_shares={"sheddable": 1.0})
        rooms[mode] = headroom(backend, ledger, queue)("q").jobs
    # 4 servers clear 80 jobs in 2 s; the percentile keeps some of them back.
    assert 30 < rooms["capacity"] == rooms["off"] < 74


def test_a_paused_queue_has_no_room(backend: Any) -> None:
    backend.inspector.tables["q"] = [TruthTable("q", paused=True)]
    room = headroom(backend, MemoryLedger(), SLAQueueConfig("q", arrival_rate=20))("q")
    assert (room.jobs, room.reason) == (0, "it is paused")


def test_a_full_queue_is_looked_at_again_when_half_of_the_room_should_be_free(backend: Any) -> None:
    backend.inspector.tables["q"] = [TruthTable("q", ready=100)]
    queue = SLAQueueConfig("q", arrival_rate=40, sla_seconds=1)
    for threads, service_time, pause in ((1, 0.05, 0.5), (1000, 0.001, 0.02), (1, 60, 1.0)):
        ledger = MemoryLedger()
        workers(ledger, threads=threads, service_time=service_time)
        room = headroom(backend, ledger, queue)("q")
        assert (room.jobs, room.pause) == (0, pytest.approx(pause))


def test_a_queue_without_an_sla_has_no_headroom(backend: Any) -> None:
    with pytest.raises(
        click.UsageError, match=r"queue 'q' has none: name it in littleq.toml, or give a --rate\."
    ):
        headroom(backend, MemoryLedger())("q")


def test_the_sla_that_the_workers_run_with_counts(backend: Any) -> None:
    """An operator's machine need not have the app's configuration."""
    ledger = MemoryLedger()
    settings = {"sla_seconds": 2.0, "queue_limit": 40.0, "admission": "contract"}
    ledger.apply(Batch("w", 1, {}, settings={"q": settings}))
    backend.inspector.tables["q"] = [TruthTable("q", ready=15)]
    assert headroom(backend, ledger)("q").jobs == 5
