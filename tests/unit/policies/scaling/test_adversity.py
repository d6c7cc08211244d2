"""What must not throw the policy: lost state, numbers that are none, looks too close together, jobs due soon."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from littleq.policies.scaling import Observation, ScalingSettings, decide
from littleq.policies.scaling.learning import _arrived
from tests.unit.policies.scaling.driven import Driven

SHORT = ScalingSettings(sla_seconds=1.0)


def test_state_lost_and_stale_with_max_step_up_keeps_the_workers_there() -> None:
    settings = replace(SHORT, max_step_up=2)
    decision, _ = decide(
        settings, Observation(0.0, offered=5.0, ready=50, in_flight=20, workers=20, age_seconds=100.0)
    )
    assert decision.desired_workers >= 20


def test_state_lost_and_workers_unseen_once_with_max_step_up_keeps_them_when_they_are_seen() -> None:
    settings = replace(SHORT, max_step_up=2)
    _, state = decide(settings, Observation(0.0, offered=5.0, ready=50, in_flight=20, workers=None))
    decision, _ = decide(settings, Observation(5.0, offered=5.0, ready=50, in_flight=20, workers=20), state)
    assert decision.desired_workers >= 20


def test_jobs_due_soon_wake_an_idle_queue_before_they_are_due() -> None:
    queue = Driven(SHORT)
    queue.tick(60)
    queue.rate = 0.0
    queue.tick(100)
    assert queue.decision.desired_workers == 0
    assert queue.tick(1, due=((33.0, 300),), delayed=300, offered=queue.offered + 300).desired_workers > 0


def test_a_look_shortly_after_another_one_is_no_surge() -> None:
    queue = Driven(SHORT)
    for k in range(120):
        queue.rate = 8.0 if k % 2 else 12.0
        queue.tick()
    before, seen = queue.decision.desired_workers, queue.seen
    soon = replace(seen, now=seen.now + 0.05, offered=seen.offered + 2, services=seen.services + 2)
    decision, _ = decide(SHORT, soon, queue.state)
    assert decision.desired_workers <= before + 2


def test_delayed_jobs_seen_before_they_are_counted_are_owed_when_nothing_else_was_offered() -> None:
    quiet = Observation(
        0.0, offered=100.0, retried=0.0, services=0.0, delayed=0, ready=0, in_flight=0, workers=1
    )
    sent = replace(quiet, now=5.0, delayed=100)
    jobs, owed = _arrived(quiet, sent, 0.0)
    assert (jobs, owed) == (0.0, 100.0)
    assert _arrived(sent, replace(sent, now=10.0, offered=200.0), owed) == (0.0, 0.0)


def test_blind_during_a_scale_down_keeps_the_last_decision() -> None:
    queue = Driven(SHORT)
    queue.tick(60)
    queue.obeys = False
    before = queue.decision.desired_workers
    assert queue.tick(1, workers=before + 13, ready=None).desired_workers == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offered", math.inf),
        ("offered", 1e300),
        ("service_seconds", math.inf),
        ("workers", math.nan),
        ("ready", math.inf),
        ("now", math.nan),
        ("now", math.inf),
    ],
)
def test_what_is_no_number_does_not_crash(name: str, value: float) -> None:
    queue = Driven(SHORT)
    queue.tick(20)
    before = queue.decision.desired_workers
    assert queue.tick(1, **{name: value}).desired_workers >= before
    queue.tick(3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "name",
    [
        "offered",
        "retried",
        "services",
        "service_seconds",
        "service_seconds_squared",
        "oldest_age",
        "timed",
        "breached",
    ],
)
def test_one_nan_does_not_poison_the_rate_for_ever(name: str, value: float) -> None:
    queue = Driven(SHORT)
    queue.tick(60)
    queue.tick(1, **{name: value})
    queue.tick(120)
    assert queue.decision.inputs["arrival_rate"] == pytest.approx(10.0, rel=0.05)
    assert 5 <= queue.decision.desired_workers <= 10


def test_who_is_driven_once_a_minute_learns_although_the_interval_says_five_seconds() -> None:
    queue = Driven(SHORT, workers=40)
    for _ in range(30):
        for _ in range(11):
            queue.pass_time()
        queue.tick()
    assert queue.decision.inputs["arrival_rate"] == pytest.approx(10.0, rel=0.1)
    assert queue.decision.desired_workers < 20
