"""What a pool sees: decisions that get old, and jobs that wait where no worker is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from littleq.autoscale.pool.sight import Desired, Lookout, Sight, is_waiting
from littleq.backends.base import TruthTable
from littleq.testing import ManualClock


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (TruthTable("q"), False),
        (TruthTable("q", ready=1), True),
        (TruthTable("q", orphaned=1), True),
        (TruthTable("q", in_flight=1), False),  # somebody has it
        (TruthTable("q", delayed=1, next_due=2.0), True),  # a worker that starts now is there just in time
        (TruthTable("q", delayed=1, next_due=2.1), False),
        (TruthTable("q", ready=1, paused=True), False),
        (TruthTable("q", dead=9), False),
    ],
)
def test_who_waits_for_a_worker(truth: TruthTable, expected: bool) -> None:
    assert is_waiting(truth, lead=2.0) is expected


def test_a_decision_is_obeyed_until_it_is_stale_however_it_got_old() -> None:
    sight = Sight({"q": Desired(3, age=4.0)}, taken_at=100.0)
    assert sight.desired("q", now=110.0, stale_seconds=14.0) == Desired(3, age=4.0)
    assert sight.desired("q", now=110.1, stale_seconds=14.0) is None
    assert sight.desired("other", now=100.0, stale_seconds=14.0) is None
    assert Sight().desired("q", now=0.0, stale_seconds=14.0) is None


class Server:
    """Truths and decisions, unless it is away."""

    def __init__(self) -> None:
        self.truths: dict[str, TruthTable] = {}
        self.decided: dict[str, Desired] = {}
        self.is_away = self.is_blind = False

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        if self.is_away:
            raise ConnectionError("away")
        return {queue: self.truths[queue] for queue in queues}

    def decisions(self) -> Mapping[str, Desired]:
        if self.is_away or self.is_blind:
            raise ConnectionError("away")
        return self.decided


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def lookout(server: Server, clock: ManualClock, *empty: str) -> Lookout:
    inspector: Any = server
    return Lookout(server.decisions, inspector, lambda: empty, lambda: 1.0, clock)


def test_only_queues_without_a_worker_are_looked_at(server: Server, clock: ManualClock) -> None:
    server.truths = {"empty": TruthTable("empty", ready=1)}
    server.decided = {"empty": Desired(0), "busy": Desired(2)}
    out = lookout(server, clock, "empty")
    out.look()
    assert out().waiting == {"empty"}
    assert out().decisions == server.decided


def test_an_outage_leaves_what_was_seen_and_lets_it_age(server: Server, clock: ManualClock) -> None:
    server.decided = {"q": Desired(2)}
    out = lookout(server, clock)
    out.look()
    server.is_away = True
    clock.advance(30.0)
    with pytest.raises(ConnectionError):
        out.look()
    assert out().decisions == {"q": Desired(2)}
    assert out().desired("q", clock.monotonic(), stale_seconds=20.0) is None


def test_a_job_is_seen_even_where_no_decision_can_be_read(server: Server, clock: ManualClock) -> None:
    server.truths = {"q": TruthTable("q", ready=1)}
    server.is_blind = True
    out = lookout(server, clock, "q")
    with pytest.raises(ConnectionError):
        out.look()
    assert out().waiting == {"q"}
