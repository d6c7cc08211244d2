"""What one look at a queue says, and when nobody can tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from littleq.autoscale.keda.scaler import metric_name
from littleq.autoscale.keda.watch import Lookout, Sight
from littleq.ledger import MemoryLedger
from littleq.ledger.base import Record
from littleq.ledger.decisions import document, read_decisions
from littleq.metrics.sources import Source
from littleq.policies.scaling import Observation, ScalingSettings, decide
from littleq.testing import ManualClock

SETTINGS = ScalingSettings(sla_seconds=1.0, interval_seconds=5.0, min_workers=0, max_workers=10)


def ledger_with(desired: int, clock: ManualClock) -> MemoryLedger:
    settings = replace(SETTINGS, min_workers=desired)
    decision, _ = decide(settings, Observation(clock.now(), offered=0.0, ready=0, in_flight=0, workers=0))
    assert decision.desired_workers == desired
    ledger = MemoryLedger(clock=clock)
    lease = ledger.lease("scaling", "me", 10.0)
    assert lease is not None
    assert ledger.publish(lease, {"q": Record(document(decision, settings, {}), {})})
    return ledger


def sight(depth: int | None, desired: int | None, age: float = 1.0) -> Sight:
    if desired is None:
        return Sight(depth, None)
    return Sight(depth, read_decisions(ledger_with(desired, ManualClock()))["q"], age)


@pytest.mark.parametrize(
    ("depth", "desired", "age", "active"),
    [
        (0, 2, 1.0, True),
        (0, 0, 1.0, False),
        (3, 0, 1.0, True),  # a job came after the decision
        (3, None, 0.0, True),  # nobody has decided yet
        (3, 0, 99.0, True),  # nor lately
        (0, None, 0.0, None),
        (0, 0, 20.1, None),  # a controller that is gone sends nobody home
        (0, 2, 20.1, None),
        (None, 0, 1.0, None),  # nor does a broker that nobody reaches
        (None, 2, 1.0, True),
    ],
)
def test_a_queue_is_active_idle_or_nobody_knows(
    depth: int | None, desired: int | None, age: float, active: bool | None
) -> None:
    assert sight(depth, desired, age).is_active is active


def test_a_decision_that_is_too_old_is_none() -> None:
    assert sight(0, 2, 20.0).desired_workers == 2
    assert sight(0, 2, 20.1).desired_workers is None


class Depths:
    """A broker with one job in each queue; counts the round trips."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.away = False

    def depths(self, queues: list[str]) -> dict[str, int]:
        self.asked.append(list(queues))
        if self.away:
            raise ConnectionError("away")
        return dict.fromkeys(queues, 1)


def test_a_look_is_one_round_trip_for_all_queues_and_reads_decisions_once_a_second() -> None:
    clock, broker = ManualClock(), Depths()
    ledger = ledger_with(2, clock)
    reads: list[float] = []
    records = ledger.records

    def counted(queues: Collection[str] | None = None, *, states: bool = False) -> Any:
        reads.append(clock.monotonic())
        return records(queues, states=states)

    ledger.records = counted  # type: ignore[method-assign]
    lookout = Lookout(Source("broker", lambda: broker), Source("ledger", lambda: ledger), ["q"], clock)  # type: ignore[arg-type]
    for _ in range(5):
        found = lookout.look({"q", "other"})
        clock.advance(0.1)
    assert len(reads) == 1
    assert broker.asked == [["other", "q"]] * 5
    assert found["q"].desired_workers == 2 and found["other"].decision is None
    assert found["q"].age_seconds == pytest.approx(0.4)  # it ages while it is kept
    broker.away = True
    assert lookout.look({"q"})["q"].depth is None
    ledger.records = _away  # type: ignore[method-assign]
    clock.advance(25.0)
    late = lookout.look({"q"})["q"]
    assert (late.ledger, late.desired_workers, late.is_active) == (False, None, None)


def _away(*_: object, **__: object) -> None:
    raise ConnectionError("away")


def test_a_name_that_nobody_knows_is_not_known() -> None:
    clock, broker = ManualClock(), Depths()
    broker.depths = lambda queues: dict.fromkeys(queues, 0)  # type: ignore[method-assign]
    ledger = ledger_with(2, clock)
    lookout = Lookout(Source("broker", lambda: broker), Source("ledger", lambda: ledger), ["named"], clock)  # type: ignore[arg-type]
    found = lookout.look({"q", "named", "stranger"})
    assert {name: seen.known for name, seen in found.items()} == {"q": True, "named": True, "stranger": False}


@pytest.mark.parametrize(
    ("queue", "name"), [("realtime", "littleq-realtime"), ("Mail.bulk_2", "littleq-mail-bulk-2")]
)
def test_a_metric_has_a_name_that_kubernetes_takes(queue: str, name: str) -> None:
    assert metric_name(queue) == name
