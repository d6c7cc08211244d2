"""What the ledger and the broker tell, as the policy reads it."""

from __future__ import annotations

from dataclasses import fields as names_of
from dataclasses import replace
from typing import Any

import pytest

from littleq.autoscale.observer import (
    FIELDS,
    MOST_BOUNDS,
    Staff,
    due_bounds,
    due_times,
    observe,
    scaled_queues,
    scaling_settings,
    settings_now,
    staff_of,
    within_useful,
)
from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.base import LedgerSnapshot, Presence, QueueLedger
from littleq.policies.scaling import Observation, ScalingSettings, decide

TOTALS = {
    "offered:critical": 1.0,
    "offered:default": 10.0,
    "offered:sheddable": 100.0,
    "admitted:default": 7.0,
    "retried": 3.0,
    "service:count": 20.0,
    "service:sum": 4.0,
    "service:sumsq": 1.5,
    "wait:count": 19.0,
    "sojourn:count": 18.0,
    "breached": 2.0,
}


def snapshot(*workers: Presence, **queues: dict[str, float]) -> LedgerSnapshot:
    known = {name: QueueLedger(totals, {}, 0.0, {}) for name, totals in queues.items()}
    return LedgerSnapshot(taken_at=1000.0, queues=known, workers=workers)


def worker(name: str, threads: int, *queues: str) -> Presence:
    return Presence(name, "h", 1, threads, queues, 0.0)


def config(*queues: SLAQueueConfig, **settings: Any) -> Config:
    return Config(queues={queue.name: queue for queue in queues}, **settings)


Q = SLAQueueConfig("q")


def test_every_number_comes_from_where_it_is_kept() -> None:
    truth = TruthTable("q", ready=5, in_flight=4, delayed=3, dead=2, orphaned=1, oldest_age=0.5)
    seen = observe(
        snapshot(worker("a", 8, "q", "r"), worker("b", 8, "q"), worker("c", 8, "r"), q=TOTALS),
        {"q": truth},
        {"q": ((5.0, 1), (10.0, 3))},
        config(Q),
    )
    assert seen == {
        "q": Observation(
            now=1000.0,
            offered=111.0,
            retried=3.0,
            services=20.0,
            service_seconds=4.0,
            service_seconds_squared=1.5,
            ready=6,
            in_flight=4,
            delayed=3,
            oldest_age=0.5,
            due=((5.0, 1), (10.0, 3)),
            workers=2,
            timed=19.0,
            breached=2.0,
        )
    }


def test_a_sojourn_promise_counts_sojourns() -> None:
    seen = observe(snapshot(q=TOTALS), {}, {}, config(SLAQueueConfig("q", sla_on="sojourn")))
    assert seen["q"].timed == 18.0


def test_the_fields_that_are_asked_for_are_those_that_are_read() -> None:
    asked = {name: TOTALS[name] for name in FIELDS if name in TOTALS}
    assert observe(snapshot(q=asked), None, None, config(Q)) == observe(
        snapshot(q=TOTALS), None, None, config(Q)
    )
    assert set(TOTALS) - set(FIELDS) == {"admitted:default"}


def test_without_a_broker_nothing_is_known_of_the_jobs() -> None:
    (seen,) = observe(snapshot(worker("a", 8, "q"), q=TOTALS), None, None, config(Q)).values()
    assert (seen.ready, seen.in_flight, seen.delayed, seen.oldest_age, seen.due) == (
        None,
        None,
        None,
        None,
        (),
    )
    assert seen.offered == 111.0 and seen.workers == 1


def test_a_queue_that_the_broker_left_out_is_not_taken_for_empty() -> None:
    seen = observe(snapshot(q=TOTALS, r=TOTALS), {"r": TruthTable("r")}, {}, config(Q, SLAQueueConfig("r")))
    assert seen["q"].ready is None and seen["r"].ready == 0


def test_a_queue_that_nobody_has_counted_yet_has_counted_nothing() -> None:
    (seen,) = observe(snapshot(), {"q": TruthTable("q", paused=True)}, {}, config(Q)).values()
    assert (seen.offered, seen.services, seen.breached, seen.workers) == (0.0, 0.0, 0.0, 0)
    assert seen.paused


def test_who_is_decided_about() -> None:
    settings = config(
        Q,
        SLAQueueConfig("apart", autoscale=False),
        SLAQueueConfig("littleq.control", admission="off"),
        SLAQueueConfig("a"),
    )
    assert scaled_queues(settings) == ("a", "q")
    assert set(observe(snapshot(q=TOTALS, other=TOTALS), {}, {}, settings)) == {"a", "q"}
    assert scaled_queues(config(Q, SLAQueueConfig("mine"), control_queue="mine")) == ("q",)


def test_each_setting_is_passed_on() -> None:
    queue = SLAQueueConfig(
        "q",
        sla_seconds=2.0,
        percentile=95.0,
        sla_on="sojourn",
        threads_per_worker=3,
        min_workers=1,
        max_workers=7,
        startup_seconds=11.0,
        service_time_seconds=0.25,
        jobs_per_worker=9,
        scale_threshold=0.7,
        max_step_up=4,
        max_step_down=2,
        concurrency_global=30,
    )
    expected = ScalingSettings(
        sla_seconds=2.0,
        percentile=95.0,
        sojourn=True,
        threads_per_worker=3,
        min_workers=1,
        max_workers=7,
        startup_seconds=11.0,
        interval_seconds=6.0,
        service_time=0.25,
        jobs_per_worker=9,
        scale_threshold=0.7,
        max_step_up=4,
        max_step_down=2,
        concurrency_global=30,
    )
    assert scaling_settings(queue, config(queue, decide_seconds=6.0)) == expected
    defaults = ScalingSettings(sla_seconds=1.0)  # a field that was forgotten above would be as here
    names = {f.name for f in names_of(ScalingSettings)} - {"useful_workers"}  # the broker's to say
    assert all(getattr(expected, name) != getattr(defaults, name) for name in names)


@pytest.mark.parametrize(
    ("partitions", "bounds", "most"),
    [(None, (0, 7), 7), (4, (0, 7), 4), (9, (0, 7), 7), (7, (0, 7), 7), (2, (3, 7), 3), (0, (0, 7), 0)],
)
def test_no_more_workers_than_the_broker_gives_jobs_to(
    partitions: int | None, bounds: tuple[int, int], most: int
) -> None:
    found = within_useful(
        ScalingSettings(sla_seconds=1.0, min_workers=bounds[0], max_workers=bounds[1]), partitions
    )
    assert (found.min_workers, found.max_workers, found.useful_workers) == (bounds[0], most, partitions)


def test_a_broker_that_knows_little_is_read_like_any_other() -> None:
    """As SQS and Kafka tell: about so many, no age, no due times, no schedule."""
    truth = TruthTable("q", ready=50, in_flight=8, delayed=9, approximate=frozenset({"ready", "in_flight"}))
    seen = observe(snapshot(worker("w", 8, "q"), q=TOTALS), {"q": truth}, None, config(Q))["q"]
    assert (seen.ready, seen.in_flight, seen.delayed, seen.oldest_age, seen.due) == (50, 8, 9, None, ())
    settings = scaling_settings(Q, config(Q))
    _, state = decide(settings, seen)
    later = replace(seen, now=seen.now + 5.0, offered=(seen.offered or 0.0) + 200.0)
    decision, _ = decide(settings, later, state)
    assert decision.regime not in ("blind", "idle")
    assert decision.desired_workers > 0


@pytest.mark.parametrize(
    ("threads", "concurrency", "expected"),
    [
        ((), None, 8),  # as configured
        ((), 3, 3),
        ((2, 2), None, 2),
        ((2, 5), None, 4),  # 3.5
        ((16,), 5, 5),
        ((0,), None, 1),
    ],
)
def test_threads_are_those_that_workers_have(
    threads: tuple[int, ...], concurrency: int | None, expected: int
) -> None:
    queue = SLAQueueConfig("q", threads_per_worker=8, concurrency=concurrency)
    workers = [worker(f"w{k}", count, "q") for k, count in enumerate(threads)]
    staff = staff_of(snapshot(*workers, worker("other", 99, "r")))
    found = settings_now(queue, config(queue), staff.get("q", Staff()))
    assert found.threads_per_worker == expected


@pytest.mark.parametrize(
    ("sla", "startup", "learned"), [(1.0, 30.0, None), (60.0, 0.0, 300.0), (86400.0, 30.0, 1.0)]
)
def test_bounds_reach_as_far_as_a_decision_looks(sla: float, startup: float, learned: float | None) -> None:
    settings = ScalingSettings(sla_seconds=sla, startup_seconds=startup, interval_seconds=5.0)
    bounds = due_bounds(settings, learned)
    horizon = max(startup, learned or 0.0) + sla + 10.0
    assert bounds[0] == 0.0 and list(bounds) == sorted(set(bounds)) and len(bounds) <= MOST_BOUNDS + 1
    assert horizon - max(5.0, horizon / MOST_BOUNDS) < bounds[-1] <= horizon + 0.001


def test_jobs_that_are_due_already_are_ready_and_not_counted_twice() -> None:
    assert due_times((0.0, 5.0, 10.0), (3, 3, 8)) == ((5.0, 0), (10.0, 5))
    assert due_times((0.0,), (3,)) == ()
