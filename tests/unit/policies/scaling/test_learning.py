"""What an observation teaches: demand from counters that lag, vanish or were never kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.policies.scaling import Observation, ScalingSettings, ScalingState
from littleq.policies.scaling.learning import GAP_INTERVALS, LOST_SECONDS, _arrived, learned
from tests.unit.policies.scaling.driven import Driven

SHORT = ScalingSettings(sla_seconds=1.0)


def seen(now: float = 5.0, **changes: Any) -> Observation:
    counts: dict[str, Any] = {"offered": 100.0, "retried": 0.0, "services": 100.0, "delayed": 0, "ready": 0}
    return Observation(now, **{**counts, "in_flight": 0, "workers": 7, **changes})


@pytest.mark.parametrize(
    ("before", "after", "jobs"),
    [
        ({}, {"offered": 130.0}, 30.0),
        ({}, {"offered": 130.0, "retried": 5.0}, 35.0),
        ({}, {"offered": 130.0, "delayed": 10}, 20.0),  # 10 of them are not due yet
        ({"delayed": 10}, {}, 10.0),  # and are now
        ({}, {"offered": 30.0}, 30.0),  # reset
        ({"offered": None}, {}, 0.0),
        ({"delayed": None}, {"offered": 130.0, "delayed": 10}, 30.0),  # no telling
        ({}, {"ready": 12, "in_flight": 3}, 15.0),  # plain senders: what is there
        ({"ready": 12}, {"services": 140.0}, 28.0),  # and what was served
        ({"ready": 12}, {}, 0.0),  # purged
    ],
)
def test_arrivals_by_hand(before: dict[str, Any], after: dict[str, Any], jobs: float) -> None:
    assert _arrived(seen(0.0, **before), seen(**after), 0.0)[0] == jobs


def test_delayed_jobs_that_are_seen_before_they_are_counted_are_owed_in_the_next_interval() -> None:
    """100 jobs are sent with a delay, the queue is read before their counter is flushed."""
    first, second, third = (
        seen(0.0),
        seen(5.0, offered=120.0, delayed=100),
        seen(10.0, delayed=100, offered=240.0),
    )
    jobs, owed = _arrived(first, second, 0.0)
    assert (jobs, owed) == (0.0, 80.0)
    assert _arrived(second, third, owed) == (40.0, 0.0)  # 120 less what was owed


def test_what_was_never_counted_is_not_owed_for_ever() -> None:
    _, owed = _arrived(seen(0.0), seen(offered=101.0, delayed=1000), 0.0)
    assert owed > 100.0
    for _ in range(20):
        _, owed = _arrived(seen(0.0), seen(), owed)
    assert owed < 0.01


@given(
    st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.floats(0.0, 1e3)
)
def test_arrivals_and_debts_are_never_negative(
    offered: int, delayed: int, ready: int, services: int, owed: float
) -> None:
    after = seen(offered=float(offered), delayed=delayed, ready=ready, services=float(services))
    assert min(_arrived(seen(0.0), after, owed)) >= 0.0


def test_the_first_look_learns_no_rate_from_counters_that_are_old() -> None:
    state = learned(SHORT, seen(offered=1e6), None)
    assert state.traffic is not None
    assert state.traffic.average(60.0) == 0.0
    assert state.desired_workers == 7


def test_a_pause_is_not_counted_as_an_interval_but_its_services_are() -> None:
    queue = Driven(SHORT)
    queue.tick(60)
    before = queue.state
    assert before is not None
    assert before.traffic is not None
    intervals = int(GAP_INTERVALS) + 1
    for _ in range(intervals - 1):
        queue.pass_time()
    after = learned(SHORT, queue.pass_time(), before)
    assert after.traffic == before.traffic
    assert after.young_until > queue.now
    assert after.services.number > before.services.number


@pytest.mark.parametrize("step", [-100.0, LOST_SECONDS + 10.0])
def test_a_clock_that_stepped_far_makes_the_queue_young_and_keeps_how_long_things_take(step: float) -> None:
    queue = Driven(SHORT)
    queue.tick(60)
    assert queue.state is not None
    queue.now += step
    after = learned(SHORT, queue.pass_time(), queue.state)
    assert after.traffic is not None
    assert after.traffic.seen == 0.0
    assert after.young_until > queue.now
    assert after.services == queue.state.services
    assert after.starts.seconds == queue.state.starts.seconds
    assert after.desired_workers == queue.state.desired_workers


def test_a_blind_beginning_is_followed_by_an_ordinary_first_look() -> None:
    state = learned(SHORT, seen(), ScalingState(desired_workers=9))
    assert state.desired_workers == 9
    assert state.last is not None
