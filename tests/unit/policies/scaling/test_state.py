"""What one decision hands to the next: through JSON, lost, or of another release."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from littleq.policies.scaling import Observation, ScalingSettings, ScalingState, decide
from littleq.policies.scaling.state import is_lean, promised_wait, starting_workers
from tests.unit.policies.scaling.driven import Driven, through_json

SHORT, LONG = ScalingSettings(sla_seconds=1.0), ScalingSettings(sla_seconds=60.0)


def test_an_empty_state_goes_through_json() -> None:
    assert through_json(ScalingState()) == ScalingState()


def test_every_number_of_a_state_goes_through_json() -> None:
    state = ScalingState(
        desired_workers=4, guard=1.25, held=((1.5, 3), (2.5, 4)), owed=3.5, busy_at=7.5, young_until=9.5
    )
    assert through_json(state) == state


def test_a_full_state_goes_through_json_and_a_second_time_without_any_change() -> None:
    queue = Driven(SHORT)
    queue.tick(60, due=((10.0, 3), (60.0, 4)))
    assert queue.state is not None
    once = through_json(queue.state)
    assert once.last == queue.state.last
    assert once.as_dict() == queue.state.as_dict()
    assert through_json(once) == once


def test_a_state_of_another_release_is_refused() -> None:
    record = ScalingState().as_dict()
    del record["guard"]
    with pytest.raises(KeyError):
        ScalingState.from_dict(record)


def test_a_sojourn_promise_leaves_for_the_wait_what_the_service_does_not_take() -> None:
    assert promised_wait(ScalingSettings(sla_seconds=2.0, sojourn=True), 0.5) == 1.5
    assert promised_wait(ScalingSettings(sla_seconds=2.0), 0.5) == 2.0
    assert promised_wait(ScalingSettings(sla_seconds=2.0, sojourn=True), 5.0) == pytest.approx(0.1)


@pytest.mark.parametrize(("sla", "lean"), [(1.0, False), (43.0, False), (44.0, True), (60.0, True)])
def test_a_queue_is_lean_when_a_start_up_and_an_interval_fit_into_its_patience(
    sla: float, lean: bool
) -> None:
    """80 % of 44 s are more than 30 + 5 s, of 43 s less."""
    assert is_lean(ScalingSettings(sla_seconds=sla), ScalingState()) is lean


def test_what_was_asked_for_and_is_not_there_is_starting() -> None:
    state = ScalingState(desired_workers=7)
    assert starting_workers(Observation(0.0, workers=4), state) == 3
    assert starting_workers(Observation(0.0, workers=9), state) == 0
    assert starting_workers(Observation(0.0, workers=4, starting=1), state) == 1


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from([SHORT, LONG, ScalingSettings(sla_seconds=10.0, min_workers=2, service_time=0.5)]),
    workers=st.integers(1, 50),
    rate=st.floats(1.0, 50.0),
    waiting=st.integers(0, 2000),
    ticks=st.integers(1, 6),
    missing=st.lists(
        st.sampled_from(["offered", "ready", "workers", "delayed", "services", "starting"]), max_size=2
    ),
)
def test_lost_under_a_busy_queue_no_worker_is_sent_away(
    policy: ScalingSettings, workers: int, rate: float, waiting: int, ticks: int, missing: list[str]
) -> None:
    """For a start-up time at least: whatever is seen, and whatever of it cannot be read in the first two looks."""
    queue = Driven(policy, rate=rate, workers=workers)
    queue.waiting, queue.offered, queue.served = float(waiting), 5000.0, 5000.0
    queue.tick(2, **dict.fromkeys([name for name in missing if name != "workers"]))
    queue.tick(ticks)
    assert min(queue.desired) >= workers


def test_lost_together_with_the_sight_of_the_workers_they_are_kept_once_they_are_seen() -> None:
    queue = Driven(SHORT, workers=20)
    queue.obeys = False
    assert queue.tick(1, workers=None).regime == "blind"
    assert min(queue.desired[-1] for _ in range(7) if queue.tick()) >= 20


def test_lost_while_jobs_are_with_workers_that_are_not_seen_it_waits() -> None:
    seen = Observation(5.0, offered=100.0, ready=0, in_flight=20, workers=0)
    decision, state = decide(SHORT, seen)
    assert decision.regime == "blind"
    assert "20 jobs are with workers, but no worker is seen" in decision.reason
    assert state.last is None  # it begins when the workers are seen
