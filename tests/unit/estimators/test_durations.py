"""Service times that change, and start-up times learned from orders that arrive, come in parts, or never do."""

from __future__ import annotations

import json

import pytest

from littleq.estimators.durations import (
    MOST_STRETCH,
    SERVICE_MEMORY_SECONDS,
    SERVICES_FOR_SCV,
    Services,
    Starts,
)

HINT = 30.0


def test_nothing_is_known_before_the_first_service() -> None:
    assert Services().mean() is None
    assert Services().scv() == 1.0
    assert Services().after(5.0, 0.0, 0.0, 0.0).mean() is None


def test_the_mean_service_time_is_that_of_the_first_services_at_once() -> None:
    assert Services().after(5.0, 4.0, 2.0, 1.0).mean() == pytest.approx(0.5)


def test_variability_is_believed_only_after_some_services() -> None:
    """Constant services: 1 as long as few are known, then 0."""
    few = Services().after(5.0, SERVICES_FOR_SCV - 1, SERVICES_FOR_SCV - 1.0, SERVICES_FOR_SCV - 1.0)
    assert few.scv() == 1.0
    assert few.after(0.0, 1.0, 1.0, 1.0).scv() == pytest.approx(0.0, abs=1e-9)


def test_variability_of_two_values_by_hand() -> None:
    """0.5 s or 1.5 s, equally often: mean 1, variance 0.25."""
    services = Services().after(5.0, 100.0, 100.0, 50 * 0.25 + 50 * 2.25)
    assert services.scv() == pytest.approx(0.25)


def test_a_new_service_time_is_followed_within_a_few_memories() -> None:
    services = Services()
    for _ in range(200):
        services = services.after(5.0, 10.0, 5.0, 2.5)
    for _ in range(int(3 * SERVICE_MEMORY_SECONDS / 5)):
        services = services.after(5.0, 10.0, 20.0, 40.0)
    assert services.mean() == pytest.approx(2.0, rel=0.05)


def test_an_idle_hour_leaves_the_service_time_and_an_idle_day_forgets_it() -> None:
    services = Services().after(5.0, 100.0, 50.0, 25.0)
    assert services.after(3600.0, 0.0, 0.0, 0.0).mean() == pytest.approx(0.5)
    assert services.after(86400.0, 0.0, 0.0, 0.0).mean() is None


def test_after_a_quiet_hour_the_next_services_decide() -> None:
    services = Services().after(5.0, 100.0, 50.0, 25.0).after(3600.0, 10.0, 20.0, 40.0)
    assert services.mean() == pytest.approx(2.0, rel=0.05)


def test_a_start_is_learned_from_asked_to_there_less_half_an_interval() -> None:
    starts = Starts().after_asking(100.0, 2).after_seeing(125.0, 2, 5.0, HINT)
    assert starts.seconds is None  # both are still starting
    starts = starts.after_seeing(130.0, 0, 5.0, HINT)
    assert starts.seconds == HINT + 0.25 * (27.5 - HINT)
    assert starts.asked == ()


def test_a_part_of_an_order_that_arrives_leaves_the_rest_open() -> None:
    starts = Starts().after_asking(100.0, 3).after_seeing(120.0, 2, 5.0, HINT)
    assert starts.seconds == HINT + 0.25 * (17.5 - HINT)
    assert starts.asked == ((100.0, 2),)


def test_the_oldest_orders_arrive_first() -> None:
    starts = Starts().after_asking(100.0, 1).after_asking(110.0, 2).after_seeing(120.0, 2, 5.0, HINT)
    assert starts.asked == ((110.0, 2),)
    assert starts.seconds == HINT + 0.25 * (17.5 - HINT)


def test_one_slow_start_among_many_moves_the_estimate_a_little() -> None:
    starts = Starts(20.0).after_asking(0.0, 1).after_seeing(62.5, 0, 5.0, HINT)
    assert starts.seconds == pytest.approx(30.0)  # a quarter of the way from 20 to 60


def test_the_start_up_time_converges() -> None:
    starts, now = Starts(5.0), 0.0
    for _ in range(20):
        starts = starts.after_asking(now, 1).after_seeing(now + 42.5, 0, 5.0, HINT)
        now += 100.0
    assert starts.seconds == pytest.approx(40.0, abs=0.2)


def test_cancelled_orders_teach_nothing() -> None:
    starts = Starts(20.0).after_asking(0.0, 2).after_asking(10.0, 3).after_asking(15.0, -4)
    assert starts.asked == ((0.0, 1),)  # the latest go first
    assert starts.after_asking(16.0, -5).asked == ()
    assert starts.after_asking(16.0, -5).after_seeing(500.0, 0, 5.0, HINT).seconds == 20.0


def test_an_order_that_came_after_an_hour_was_held_up_by_something_else() -> None:
    starts = Starts(20.0).after_asking(0.0, 1).after_seeing(3600.0, 0, 5.0, HINT)
    assert starts.seconds == 20.0 + 0.25 * (MOST_STRETCH * 20.0 + 5.0 - 20.0)
    assert starts.asked == ()


def test_a_start_within_an_interval_takes_no_negative_time() -> None:
    for seen_at in (101.0, 90.0):  # 90: a clock that stepped back
        starts = Starts().after_asking(100.0, 1).after_seeing(seen_at, 0, 5.0, HINT)
        assert starts.seconds == 0.75 * HINT


def test_remaining_times_are_by_hand() -> None:
    """Asked 10 s ago, 40 s ago (late: any moment) and 70 s ago (very late: may take as long again)."""
    starts = Starts(30.0, ((30.0, 1), (60.0, 1), (90.0, 2)))
    assert starts.remaining(100.0, 4, 30.0) == [0.0, 20.0, 20.0, 30.0]
    assert starts.remaining(100.0, 2, 30.0) == [20.0, 20.0]  # the oldest have arrived


def test_workers_that_nobody_asked_for_are_half_way() -> None:
    assert Starts().remaining(100.0, 2, 30.0) == [15.0, 15.0]
    assert Starts().remaining(100.0, 0, 30.0) == []


def test_starts_go_through_json() -> None:
    starts = Starts(20.5, ((1.5, 2), (3.0, 1)))
    assert Starts.from_list(json.loads(json.dumps(starts.as_list()))) == starts
    assert Starts.from_list(json.loads(json.dumps(Starts().as_list()))) == Starts()
