"""Costs are kept once a decision, and what fails disturbs nobody."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from littleq.autoscale.pods.api import PodsUnavailable
from littleq.autoscale.pods.costs import Pod
from littleq.autoscale.pods.keeper import DeletionCosts, deletion_costs_for
from littleq.config import Config
from littleq.errors import ConfigurationError
from littleq.ledger.base import LedgerUnavailable
from littleq.ledger.memory import MemoryLedger
from littleq.testing import ManualClock


class Fleet(MemoryLedger):
    def __init__(self) -> None:
        super().__init__()
        self.answer: Mapping[str, int] | Exception = {}

    def busy(self) -> Mapping[str, int]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Cluster:
    def __init__(self, *names: str) -> None:
        self.costs = dict.fromkeys(names, 0)
        self.error: Exception | None = None
        self.asked = 0

    def pods(self) -> list[Pod]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [Pod(name, name, "q", cost) for name, cost in self.costs.items()]

    def set_cost(self, pod: Pod, cost: int) -> None:
        self.costs[pod.name] = cost


class Kept:
    """The keeper, driven by hand: `decide` is what its thread does after a decision."""

    def __init__(self) -> None:
        self.clock, self.fleet, self.cluster = ManualClock(), Fleet(), Cluster("a", "b")
        self.keeper = DeletionCosts(lambda: self.fleet, lambda: self.cluster, self.clock)
        self.keeper._background.wake = lambda: None  # type: ignore[method-assign]

    def decide(self, desired: int = 2) -> int:
        self.keeper.decided({"q": desired})
        return self.keeper.keep()


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_nobody_but_who_decides_asks_anything(kept: Kept) -> None:
    assert kept.keeper.keep() == 0
    assert kept.cluster.asked == 0
    kept.decide()
    assert kept.keeper.keep() == 0, "once a decision"
    assert kept.cluster.asked == 1
    kept.keeper.decided({"q": 2})
    kept.keeper.close()
    assert kept.keeper.keep() == 0, "the lease went to another one"
    assert kept.cluster.asked == 1


def test_busy_pods_cost_more_than_idle_ones_and_more_exactly_while_the_queue_shrinks(kept: Kept) -> None:
    kept.fleet.answer = {"a:1:x": 3, "a:2:y": 2}
    assert kept.decide() == 1
    assert kept.cluster.costs == {"a": 4, "b": 0}
    assert kept.decide() == 0
    kept.decide(desired=1)
    assert kept.cluster.costs == {"a": 5, "b": 0}
    kept.fleet.answer = {"b:1:x": 1}
    assert kept.decide() == 2
    assert kept.cluster.costs == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (PodsUnavailable("the account may not list pods in namespace 'n': give it a Role", 60.0), 60.0),
        (PodsUnavailable("the API server says 429 (TooManyRequests)", 7.0), 7.0),
        (ConfigurationError("pod_deletion_cost finds no account."), 60.0),
    ],
)
def test_a_failure_is_said_once_and_tried_again_after_a_pause(
    kept: Kept, caplog: pytest.LogCaptureFixture, error: Exception, pause: float
) -> None:
    kept.cluster.error = error
    kept.decide()
    kept.clock.advance(pause - 0.1)
    kept.decide()
    assert kept.cluster.asked == 1
    kept.clock.advance(0.2)
    kept.decide()
    assert kept.cluster.asked == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"scaling goes on without: {str(error).rstrip('.')}." in caplog.text
    kept.cluster.error = None
    kept.clock.advance(pause)
    kept.decide()
    assert caplog.messages[1:] == ["Pod deletion costs are kept again."]


def test_a_ledger_that_is_away_leaves_the_annotations_as_they_are(kept: Kept) -> None:
    kept.fleet.answer = {"a:1:x": 1}
    kept.decide()
    kept.fleet.answer = LedgerUnavailable("away")
    assert kept.decide() == 0
    assert kept.cluster.costs == {"a": 1, "b": 0}


def test_it_is_off_unless_asked_for() -> None:
    assert deletion_costs_for(Config()) is None
    assert deletion_costs_for(Config(pod_deletion_cost=True)) is not None
