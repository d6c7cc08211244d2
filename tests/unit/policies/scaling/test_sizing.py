"""From inputs to a number of workers: regimes, hold, cold starts, scale to zero."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.policies.scaling import Decision, ScalingSettings, recompute
from littleq.policies.scaling.inputs import IDLE_STARTUPS
from tests.unit.policies.scaling.driven import Driven
from tests.unit.policies.scaling.quiet import quiet

SHORT, LONG = ScalingSettings(sla_seconds=1.0), ScalingSettings(sla_seconds=60.0)
#: 576 jobs, that came within the last 28.8 s: what a lean pool lets wait at 20 jobs/s.
USUAL = [[0.8 * k, 16] for k in range(36)]


def answer(settings: ScalingSettings = SHORT, **changes: Any) -> Decision:
    return recompute(settings, quiet(**changes))


@pytest.mark.parametrize(
    ("changes", "regime", "desired"),
    [
        ({"blind": "The backlog cannot be read"}, "blind", 7),
        ({"halted": "paused"}, "holding", 7),
        ({"service_time": None, "backlog": [[0.0, 100]]}, "cold", 13),  # 8 jobs a worker
        ({"service_time": None, "backlog": [[0.0, 3]]}, "cold", 7),  # those there stay
        ({"idle_for": 300.0}, "idle", 0),
        ({}, "steady", 1),
        ({"arrival_rate": 10.0, "headroom_rate": 10.0}, "steady", 7),
        ({"arrival_rate": 10.0, "headroom_rate": 10.0, "margin": 2.0}, "steady", 10),
        ({"arrival_rate": 10.0, "headroom_rate": 10.0, "margin": 2.0, "guard": 1.5}, "steady", 15),
        ({"arrival_rate": 10.0, "headroom_rate": 60.0}, "steady", 33),
        ({"backlog": [[0.0, 1000]]}, "draining", 58),  # 500 s less 7 × 35 s, in 5 s
        ({"young": True}, "holding", 7),
        ({"held": [[10.0, 9], [5.0, 4]]}, "steady", 9),
    ],
)
def test_each_regime_by_hand(changes: dict[str, Any], regime: str, desired: int) -> None:
    decision = answer(**changes)
    assert (decision.regime, decision.desired_workers) == (regime, desired)


def test_a_short_promise_keeps_headroom_where_a_long_one_runs_lean() -> None:
    now = {"arrival_rate": 20.0, "headroom_rate": 20.0, "margin": 2.0, "backlog_rate": 20.0, "workers": 20}
    assert answer(SHORT, **now).desired_workers == 20
    lean = answer(LONG, lean=True, backlog=USUAL, **now)
    assert (lean.regime, lean.desired_workers) == ("lean", 10)


def test_a_lean_pool_does_not_flap_by_one() -> None:
    """Wanted are 10.3: 10 stay, and 11 stay just as well."""
    now = {"lean": True, "arrival_rate": 21.0, "backlog": USUAL, "backlog_rate": 21.0}
    assert answer(LONG, desired_before=10, workers=10, **now).desired_workers == 10
    assert answer(LONG, desired_before=11, workers=11, **now).desired_workers == 11
    assert answer(LONG, desired_before=20, workers=20, **now).desired_workers == 10


def test_what_was_wanted_lately_stays_and_is_said() -> None:
    decision = answer(held=[[10.0, 9]])
    assert "9 workers stay" in decision.reason
    assert decision.required_servers == 1  # the hold is no need


def test_a_cold_queue_begins_by_jobs_per_worker() -> None:
    decision = answer(
        replace(SHORT, jobs_per_worker=20), service_time=None, backlog=[[0.0, 100]], standing_workers=0
    )
    assert decision.desired_workers == 5
    assert "20 jobs a worker" in decision.reason


def test_a_cold_queue_with_a_hint_is_sized_by_it() -> None:
    queue = Driven(replace(SHORT, service_time=0.5), workers=0)
    queue.obeys = False
    queue.waiting = 100.0
    assert queue.tick(2).regime != "cold"
    assert queue.decision.inputs["service_time"] == 0.5
    assert queue.decision.desired_workers > 5


def test_a_cold_queue_without_a_hint_comes_to_measure_itself() -> None:
    queue = Driven(SHORT, workers=0)
    assert queue.tick(2).regime == "cold"
    assert queue.decision.desired_workers > 0
    queue.tick(120)
    assert queue.decision.regime == "steady"
    assert queue.decision.inputs["service_time"] == pytest.approx(0.5)


@pytest.mark.parametrize(("settings", "startups"), [(SHORT, IDLE_STARTUPS), (LONG, 1.0)])
def test_the_last_worker_goes_after_the_idle_time_and_not_before(
    settings: ScalingSettings, startups: float
) -> None:
    queue = Driven(settings)
    queue.tick(120)
    queue.rate = queue.waiting = 0.0
    intervals = startups * queue.decision.inputs["startup_seconds"] / settings.interval_seconds
    queue.tick(math.ceil(intervals) - 1)
    assert min(queue.desired) >= 1
    queue.tick(1)
    assert queue.decision.desired_workers == 0
    assert queue.decision.regime == "idle"


@pytest.mark.parametrize("still", [{"ready": 1, "oldest_age": 0.5}, {"in_flight": 1}])
@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_the_last_worker_stays_while_a_job_waits_or_runs(
    still: dict[str, Any], settings: ScalingSettings
) -> None:
    queue = Driven(settings)
    queue.tick(120)
    queue.rate = queue.waiting = 0.0
    queue.tick(400, **still)
    assert min(queue.desired) >= 1


def test_a_queue_at_zero_wakes_by_its_first_job() -> None:
    queue = Driven(SHORT)
    queue.tick(120)
    queue.rate = 0.0
    queue.tick(100)
    assert queue.decision.desired_workers == 0
    queue.rate = 0.2
    assert queue.tick().desired_workers >= 1


def test_jobs_that_are_due_soon_are_provided_for_before() -> None:
    queue = Driven(SHORT)
    queue.tick(60)
    assert queue.decision.desired_workers == 7
    assert queue.tick(1, due=((33.0, 300),)).desired_workers > 15
    assert queue.decision.regime == "draining"


def test_jobs_that_are_due_in_an_hour_are_not_provided_for_yet() -> None:
    queue = Driven(SHORT)
    queue.tick(60)
    assert queue.tick(1, due=((3600.0, 100_000),)).desired_workers == 7


def test_a_longer_promise_never_wants_more_for_a_steady_load() -> None:
    pools = []
    for sla in (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0):
        queue = Driven(ScalingSettings(sla_seconds=sla), rate=40.0, workers=25)
        queue.tick(240)
        pools.append(max(queue.desired[-60:]))
    assert pools == sorted(pools, reverse=True)
    assert pools[0] > pools[-1] >= 20


@given(
    st.integers(0, 3000), st.integers(0, 3000), st.sampled_from([SHORT, LONG]), st.booleans(), st.booleans()
)
def test_more_backlog_never_wants_fewer_workers(
    one: int, other: int, settings: ScalingSettings, young: bool, cold: bool
) -> None:
    now = {
        "arrival_rate": 10.0,
        "backlog_rate": 10.0,
        "headroom_rate": 10.0,
        "lean": settings is LONG,
        "young": young,
        "service_time": None if cold else 0.5,
    }
    few, many = (
        answer(settings, backlog=[[0.3, jobs]] if jobs else [], **now) for jobs in sorted((one, other))
    )
    assert few.desired_workers <= many.desired_workers
    assert few.required_servers <= many.required_servers


@given(st.floats(0.0, 300.0), st.floats(0.0, 300.0))
def test_a_higher_rate_never_wants_fewer_workers(one: float, other: float) -> None:
    few, many = (
        answer(arrival_rate=rate, backlog_rate=rate, headroom_rate=rate) for rate in sorted((one, other))
    )
    assert few.desired_workers <= many.desired_workers


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0, 99.9])
def test_a_stricter_promise_never_wants_fewer_workers(percentile: float) -> None:
    now = {"arrival_rate": 10.0, "headroom_rate": 10.0}
    loose = answer(replace(SHORT, percentile=percentile), **now).desired_workers
    strict = answer(replace(SHORT, percentile=percentile + 0.05), **now).desired_workers
    assert 5 < loose <= strict
