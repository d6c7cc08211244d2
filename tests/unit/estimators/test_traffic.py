"""The arrival rate at several time scales, its peaks and forecasts, and how old a backlog is."""

from __future__ import annotations

import copy
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.estimators.traffic import KEPT_INTERVALS, WINDOWS, Traffic

LEAD = 35.0
SHORTEST, LONGEST = WINDOWS[0], WINDOWS[-1]


def fed(counts: list[float], traffic: Traffic | None = None, *, interval: float = 5.0) -> Traffic:
    """With so many jobs in one interval after the other."""
    traffic = traffic or Traffic(0.0)
    now = traffic.intervals[-1][0] if traffic.intervals else 0.0
    for count in counts:
        now += interval
        traffic = traffic.after(now, interval, count, LEAD)
    return traffic


def now_of(traffic: Traffic) -> float:
    return traffic.intervals[-1][0]


def test_young_averages_are_not_low() -> None:
    """Ten minutes' average after one interval is that interval's rate, not a hundredth of it."""
    traffic = fed([50.0])
    for window in WINDOWS:
        assert traffic.average(window) == pytest.approx(10.0)


@pytest.mark.parametrize("window", WINDOWS)
def test_every_average_converges(window: float) -> None:
    traffic = fed([20.0], fed([500.0]))
    traffic = fed([20.0] * 720, traffic)
    assert traffic.average(window) == pytest.approx(4.0, rel=0.01)


@given(st.lists(st.floats(0.5, 20.0), min_size=20, max_size=60))
def test_irregular_intervals_of_a_steady_load_change_no_average(gaps: list[float]) -> None:
    traffic, now = Traffic(0.0), 0.0
    for gap in gaps:
        now += gap
        traffic = traffic.after(now, gap, 8.0 * gap, LEAD)
    for window in WINDOWS:
        assert traffic.average(window) == pytest.approx(8.0)
    assert traffic.recent(3)[0] == pytest.approx(8.0, rel=0.01)  # times are kept in milliseconds
    assert traffic.seen == pytest.approx(now)


def test_a_step_is_followed_by_the_short_windows_first() -> None:
    traffic = fed([250.0] * 3, fed([50.0] * 240))
    averages = [traffic.average(window) for window in WINDOWS]
    assert averages == sorted(averages, reverse=True)
    assert averages[0] == pytest.approx(50.0)
    assert averages[-1] < 12.0


def test_a_noisy_steady_load_is_forecast_by_a_long_window() -> None:
    rng = random.Random(4)
    traffic = fed([float(sum(rng.random() < 0.05 for _ in range(1000))) for _ in range(400)])
    rate, error = traffic.forecast(LEAD)
    assert rate == pytest.approx(10.0, abs=1.0)
    assert 0.0 < error < 2.5  # a count of two intervals has a standard error of 1 itself
    longest_known = traffic.errors.index(min(traffic.errors))
    assert longest_known >= WINDOWS.index(60.0)
    assert traffic.errors[0] > 1.3 * min(traffic.errors)


def test_after_a_step_the_forecast_comes_from_what_errs_least_now() -> None:
    steady = fed([50.0] * 240)
    assert steady.forecast(LEAD)[0] == pytest.approx(10.0)
    stepped = fed([250.0] * 20, steady)
    assert stepped.average(LONGEST) < 20.0
    assert stepped.forecast(LEAD)[0] == pytest.approx(50.0, rel=0.1)


def test_a_ramp_is_forecast_by_its_trend() -> None:
    """One job/s more every 5 s: the trend errs least, and says about what comes one lead later."""
    traffic = fed([5.0 * k for k in range(120)])
    assert traffic.errors.index(min(traffic.errors)) == len(WINDOWS)
    assert traffic.forecast(LEAD)[0] == pytest.approx(119.0 + LEAD / 5.0, rel=0.05)


def test_a_falling_trend_never_forecasts_less_than_nothing() -> None:
    traffic = fed([0.0] * 4, fed([500.0] * 60))
    assert traffic._forecast(300.0)[-1] == 0.0
    assert traffic.forecast(300.0)[0] >= 0.0


def test_a_forecast_without_a_past_is_as_uncertain_as_it_is_large() -> None:
    assert Traffic(0.0).forecast(LEAD) == (0.0, 0.0)
    rate, error = fed([50.0]).forecast(LEAD)
    assert rate == error == pytest.approx(10.0)


def test_a_steady_load_is_forecast_without_error() -> None:
    rate, error = fed([50.0] * 60).forecast(LEAD)
    assert rate == pytest.approx(10.0)
    assert error == pytest.approx(0.0, abs=1e-6)


def test_several_forecasts_that_are_due_after_a_pause_count_as_one() -> None:
    before = fed([50.0] * 60)
    after = before.after(now_of(before) + 300.0, 300.0, 3000.0, LEAD)
    assert after.judged <= before.judged * math.exp(-300.0 / 600.0) + 1.0


def test_a_long_lead_keeps_few_forecasts() -> None:
    traffic = Traffic(0.0)
    for k in range(1, 800):
        traffic = traffic.after(5.0 * k, 5.0, 50.0, 1800.0)
    assert len(traffic.forecasts) <= 26
    assert len(traffic.intervals) == KEPT_INTERVALS


def test_peaks_are_remembered_for_as_long_as_asked_and_no_longer_than_ten_minutes() -> None:
    traffic = fed([50.0] * 24, fed([500.0] * 6, fed([50.0] * 24)))
    now = now_of(traffic)
    assert traffic.peak(60.0, now) < 12.0
    assert traffic.peak(180.0, now) > 80.0
    traffic = fed([50.0] * 130, traffic)
    assert traffic.peak(600.0, now_of(traffic)) < 12.0
    assert len(traffic.peaks) <= 42


def test_no_peak_is_nothing() -> None:
    assert Traffic(0.0).peak(600.0, 100.0) == 0.0


def test_an_idle_day_leaves_no_rate_no_peak_and_no_error() -> None:
    traffic = fed([0.0] * 17_280, fed([500.0] * 60))
    assert traffic.forecast(LEAD)[0] == pytest.approx(0.0, abs=1e-6)
    assert traffic.peak(600.0, now_of(traffic)) < 1e-6
    assert traffic.forecast(LEAD)[1] == pytest.approx(0.0, abs=1e-3)


def test_one_long_interval_weighs_as_many_short_ones() -> None:
    short = fed([0.0] * 120, fed([50.0] * 240))
    long = fed([50.0] * 240)
    long = long.after(now_of(long) + 600.0, 600.0, 0.0, LEAD)
    for window in WINDOWS[1:]:
        assert long.average(window) == pytest.approx(short.average(window), abs=1e-9)


def test_counts_of_poisson_arrivals_have_a_dispersion_of_about_one_and_bursts_more() -> None:
    rng = random.Random(1)
    poisson = fed([float(sum(rng.random() < 0.02 for _ in range(1000))) for _ in range(64)])
    assert 0.5 < poisson.dispersion() < 1.6
    assert fed([50.0] * 64).dispersion() == 0.0
    assert fed([0.0, 100.0] * 32).dispersion() > 30.0
    assert fed([0.0, 100.0]).dispersion() == 1.0  # too few to say
    assert fed([0.0] * 64).dispersion() == 1.0


def test_the_youngest_arrivals_are_the_backlog() -> None:
    traffic = fed([10.0, 20.0, 30.0])
    assert traffic.ages(40.0, 15.0, None) == [(0.0, 30.0), (5.0, 10.0)]
    assert traffic.ages(60.0, 17.0, None) == [(2.0, 30.0), (7.0, 20.0), (12.0, 10.0)]
    assert traffic.ages(0.0, 15.0, None) == []


def test_what_came_before_anything_was_seen_is_as_old_as_the_oldest() -> None:
    traffic = fed([10.0, 20.0])
    assert traffic.ages(50.0, 10.0, 300.0)[-1] == (300.0, 20.0)
    assert traffic.ages(50.0, 10.0, None)[-1] == (5.0, 20.0)
    assert Traffic(0.0).ages(7.0, 10.0, 3.0) == [(3.0, 7.0)]
    assert Traffic(0.0).ages(7.0, 10.0, None) == [(0.0, 7.0)]


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=80), st.integers(0, 500), st.none() | st.floats(0, 900)
)
def test_ages_ascend_and_no_job_is_lost(counts: list[int], jobs: int, oldest: float | None) -> None:
    traffic = fed([float(count) for count in counts])
    ages = traffic.ages(float(jobs), now_of(traffic), oldest)
    assert sum(count for _, count in ages) == jobs
    assert [age for age, _ in ages] == sorted(age for age, _ in ages)
    assert all(count > 0 for _, count in ages)


def test_looking_on_leaves_what_was_known_as_it_was() -> None:
    traffic = fed([50.0, 10.0] * 30)
    before = copy.deepcopy(traffic)
    fed([500.0] * 20, traffic)
    assert traffic == before


def test_traffic_goes_through_json_and_goes_on_as_before() -> None:
    traffic = fed([float(k % 7 * 10) for k in range(200)])
    back = Traffic.from_dict(json.loads(json.dumps(traffic.as_dict())))
    assert back.as_dict() == traffic.as_dict()
    on, back_on = fed([80.0] * 10, traffic), fed([80.0] * 10, back)
    assert back_on.forecast(LEAD) == pytest.approx(on.forecast(LEAD), rel=1e-3)
    assert back_on.peak(600.0, now_of(on)) == pytest.approx(on.peak(600.0, now_of(on)), rel=1e-3)
    assert back_on.ages(100.0, now_of(on), None) == on.ages(100.0, now_of(on), None)
