"""One decision after the other: bounds, blindness, lost state, and what is the same for the same values."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from littleq.policies.scaling import Observation, ScalingSettings, decide
from littleq.policies.scaling.deciding import STALE_INTERVALS
from tests.unit.policies.scaling.driven import Driven, through_json

SHORT, LONG = ScalingSettings(sla_seconds=1.0), ScalingSettings(sla_seconds=60.0)


def busy(settings: ScalingSettings = SHORT, minutes: float = 5.0, **load: Any) -> Driven:
    queue = Driven(settings, **load)
    queue.tick(round(minutes * 60 / settings.interval_seconds))
    return queue


def test_a_steady_queue_gets_what_erlang_says_and_no_more() -> None:
    """10 jobs/s of 0.5 s: 5 erlangs; 7 servers keep 99 % within 1 s (law.servers_for_tail)."""
    queue = busy()
    assert queue.decision.desired_workers == 7
    assert queue.decision.regime == "steady"
    assert queue.decision.time_to_breach is None


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_are_servers(threads: int) -> None:
    decision = busy(replace(SHORT, threads_per_worker=threads), workers=4).decision
    assert decision.desired_workers == -(-7 // threads)
    assert decision.required_servers == decision.desired_workers * threads


@pytest.mark.parametrize(
    ("bounds", "desired", "says"),
    [
        ({"min_workers": 9}, 9, "min_workers keeps 9"),
        ({"max_workers": 3}, 3, "max_workers allows 3"),
        ({"max_workers": 0}, 0, "max_workers allows 0"),
        ({"concurrency_global": 4}, 4, "concurrency_global allows 4"),
        ({"concurrency_global": 5, "threads_per_worker": 2}, 3, "concurrency_global allows 3"),
        ({"concurrency_global": 2, "min_workers": 4}, 4, "allows 4"),
        ({"useful_workers": 3}, 3, "but the broker gives jobs to 3 at a time (partitions of the topic)"),
        ({"useful_workers": 3, "max_workers": 2}, 2, "max_workers allows 2"),
        ({"useful_workers": 2, "min_workers": 4}, 4, "allows 4"),
    ],
)
def test_a_bound_is_obeyed_and_named(bounds: dict[str, Any], desired: int, says: str) -> None:
    decision = busy(replace(SHORT, **bounds)).decision
    assert decision.desired_workers == desired
    assert says in decision.reason
    assert decision.required_servers != desired or bounds.get("threads_per_worker")


def test_steps_up_and_down_are_no_larger_than_allowed() -> None:
    queue = busy(replace(SHORT, max_step_up=3, max_step_down=2))
    queue.rate = 200.0
    queue.tick(60)
    queue.rate = 10.0
    queue.tick(400)
    steps = [after - before for before, after in zip(queue.desired, queue.desired[1:], strict=False)]
    assert max(steps) == 3
    assert min(steps) == -2
    assert max(queue.desired) > 100


@pytest.mark.parametrize("halted", [{"paused": True}, {"breaker_open": True}])
@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_a_halted_queue_keeps_its_workers_however_much_waits(
    halted: dict[str, bool], settings: ScalingSettings
) -> None:
    queue = busy(settings)
    before = queue.decision.desired_workers
    decision = queue.tick(60, ready=100_000, oldest_age=300.0, **halted)
    assert decision.desired_workers == before
    assert decision.regime == "holding"
    assert "more workers would not help" in decision.reason


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ({"offered": None}, "The arrivals cannot be read"),
        ({"ready": None}, "The backlog cannot be read"),
        ({"workers": None}, "The workers cannot be read"),
        ({"ready": None, "workers": None}, "The backlog and the workers cannot be read"),
        ({"age_seconds": 5.0 * STALE_INTERVALS + 1.0}, "The numbers are 16 s old, more than 15 s"),
    ],
)
@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_blind_it_changes_nothing_and_says_so(
    missing: dict[str, Any], says: str, settings: ScalingSettings
) -> None:
    queue = busy(settings)
    before = queue.decision.desired_workers
    assert before > 0
    queue.rate = 0.0
    decision = queue.tick(200, **missing)
    assert set(queue.desired[-200:]) == {before}
    assert decision.regime == "blind"
    assert says in decision.reason
    assert decision.time_to_breach is None


def test_numbers_that_are_a_little_old_are_used() -> None:
    assert busy().tick(1, age_seconds=5.0 * STALE_INTERVALS).regime == "steady"


def test_blind_it_never_asks_for_fewer_than_are_there() -> None:
    decision, _ = decide(SHORT, Observation(5.0, offered=None, ready=3, workers=20))
    assert decision.desired_workers == 20


@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_a_broker_that_is_away_for_30_s_costs_no_worker(settings: ScalingSettings) -> None:
    queue = busy(settings)
    before = queue.decision.desired_workers
    queue.tick(6, ready=None, in_flight=None, delayed=None, oldest_age=None)
    queue.tick(24)
    assert min(queue.desired[-30:]) >= before - (settings is LONG)  # lean: one to and fro is its slack
    assert queue.decision.regime in {"steady", "lean"}


@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_all_workers_gone_is_no_reason_to_want_fewer(settings: ScalingSettings) -> None:
    queue = busy(settings)
    before = queue.decision.desired_workers
    queue.workers, queue.obeys = 0, False
    queue.tick(60)
    assert min(queue.desired[-60:]) >= before
    assert queue.decision.time_to_breach == 0.0


@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_a_ledger_that_lost_its_counters_does_not_send_workers_away(settings: ScalingSettings) -> None:
    queue = busy(settings)
    before = queue.decision.desired_workers
    queue.offered = queue.served = 0.0
    queue.tick(24)
    assert min(queue.desired[-24:]) >= before - (settings is LONG)


def test_a_second_decision_at_the_same_moment_changes_nothing() -> None:
    queue = busy()
    again, after = decide(SHORT, queue.seen, queue.state)
    assert again.desired_workers == queue.decision.desired_workers
    assert again.regime == "blind"
    assert queue.state is not None
    assert after.traffic == queue.state.traffic


@pytest.mark.parametrize("step", [-86_400.0, -60.0, -2.0, 20.0, 60.0, 3600.0, 86_400.0])
@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_a_clock_that_steps_does_not_send_workers_away(step: float, settings: ScalingSettings) -> None:
    queue = busy(settings, minutes=15.0)
    before = queue.decision.desired_workers
    queue.now += step
    queue.tick(60)
    assert min(queue.desired[-60:]) >= before - (settings is LONG)
    assert max(queue.desired[-60:]) <= 2 * before + 1  # 5 s of jobs in what looks like 3


def test_a_controller_that_was_away_for_ten_minutes_goes_on_where_it_was() -> None:
    queue = busy()
    for _ in range(120):
        queue.pass_time()
    queue.tick(30)
    assert set(queue.desired[-30:]) == {7}


def test_state_through_json_after_every_decision_changes_no_decision() -> None:
    plain, stored = Driven(SHORT), Driven(SHORT)
    for k in range(240):
        for queue in (plain, stored):
            queue.rate = 30.0 if k % 48 < 12 else 5.0
            queue.tick()
        assert stored.state is not None
        stored.state = through_json(stored.state)
    assert stored.desired == plain.desired
    assert len(set(plain.desired)) > 2


def test_what_is_given_is_left_as_it_is_and_the_same_gives_the_same() -> None:
    queue = busy(minutes=10.0)
    seen = queue.pass_time()
    given = copy.deepcopy((SHORT, seen, queue.state))
    first, second = decide(SHORT, seen, queue.state), decide(SHORT, seen, queue.state)
    assert (SHORT, seen, queue.state) == given
    assert first == second
    json.dumps(first[0].inputs)


def test_what_was_shed_is_demand() -> None:
    """Admission refuses what the workers cannot take: only the offered counter grows."""
    queue = busy()
    queue.tick()
    for _ in range(60):
        queue.offered += 5.0 * 40.0  # on top of what is served
        queue.tick()
    assert queue.waiting == 0.0
    assert queue.decision.desired_workers >= 25


def test_jobs_that_plain_senders_send_uncounted_are_seen() -> None:
    queue = busy(minutes=10.0)
    queue.tick(60, offered=queue.offered)
    assert queue.decision.inputs["arrival_rate"] == pytest.approx(10.0, rel=0.05)
    assert queue.decision.desired_workers >= 7


def test_retries_are_demand() -> None:
    queue = busy()
    for k in range(60):
        queue.tick(1, retried=100.0 * k)
    assert queue.decision.inputs["arrival_rate"] == pytest.approx(30.0, rel=0.02)
    assert queue.decision.desired_workers >= 15


def test_jobs_that_were_sent_with_a_delay_are_not_demand_before_they_are_due() -> None:
    queue = busy()
    for k in range(60):
        queue.offered += 500.0
        queue.tick(1, delayed=500 * (k + 1))
    assert queue.decision.inputs["arrival_rate"] == pytest.approx(10.0, rel=0.02)
    assert set(queue.desired[-60:]) == {7}


def test_misses_that_really_happen_raise_the_guard_and_their_absence_lowers_it() -> None:
    queue = busy()
    calm = queue.decision.inputs["guard"]
    for k in range(60):
        queue.tick(1, breached=10.0 * k)
    assert calm < 1.0 < queue.decision.inputs["guard"] <= 1.5
    queue.tick(2000, breached=600.0)
    assert 0.9 <= queue.decision.inputs["guard"] < 1.0


def test_a_slower_start_is_learned() -> None:
    queue = busy(LONG, minutes=0.5, startup=100.0)
    assert queue.decision.inputs["startup_seconds"] == 30.0  # the hint
    queue.rate = 40.0
    queue.tick(60)
    assert 90.0 < queue.decision.inputs["startup_seconds"] <= 105.0
