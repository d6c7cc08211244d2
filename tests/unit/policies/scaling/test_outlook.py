"""Work that must have begun by each moment ahead, against who can have done it: by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.policies.scaling import ScalingSettings
from littleq.policies.scaling.outlook import MOST_MOMENTS, Outlook
from tests.unit.policies.scaling.quiet import quiet

SHORT, LONG = ScalingSettings(sla_seconds=1.0), ScalingSettings(sla_seconds=60.0)


def view(settings: ScalingSettings = SHORT, **changes: Any) -> Outlook:
    return Outlook(settings, quiet(**changes))


def test_work_is_due_when_its_patience_ends() -> None:
    """4 jobs of 0.5 s that have waited 0.2 s, with a patience of 0.8 s: due in 0.6 s."""
    outlook = view(backlog=[[0.2, 4]])
    assert outlook.due(0.5, 0.8) == 0.0
    assert outlook.due(0.7, 0.8) == 2.0


def test_a_delayed_job_is_due_one_patience_after_its_time() -> None:
    outlook = view(scheduled=[[10.0, 6]])
    assert outlook.due(10.7, 0.8) == 0.0
    assert outlook.due(10.9, 0.8) == 3.0


def test_jobs_to_come_are_due_as_they_come() -> None:
    assert view(backlog_rate=4.0).due(10.8, 0.8) == pytest.approx(4.0 * 10.0 * 0.5)
    assert view(backlog_rate=4.0).due(0.5, 0.8) == 0.0


def test_a_starting_worker_serves_from_when_it_is_there() -> None:
    outlook = view(workers=2, starting=[[4.0, 1], [20.0, 1]])
    assert outlook.served(10.0) == 2 * 10 + 6
    assert view(ScalingSettings(sla_seconds=1.0, threads_per_worker=3), workers=2).served(10.0) == 60.0


def test_a_backlog_that_the_pool_cannot_clear_is_cleared_within_5_s_of_the_arrival_of_new_ones() -> None:
    """700 jobs of 0.5 s: 350 s of work; 2 workers do 70 of them in 35 s; 280 are left for 5 s."""
    assert view(workers=2, backlog=[[0.0, 700]]).workers_for_backlog() == 2 + 56


def test_workers_that_are_starting_are_not_asked_for_twice() -> None:
    without = view(workers=2, backlog=[[0.0, 700]]).workers_for_backlog()
    coming = view(workers=2, starting=[[30.0, 56]], backlog=[[0.0, 700]]).workers_for_backlog()
    assert coming == without == 58


def test_a_long_promise_takes_its_time() -> None:
    """700 jobs that may wait 48 s: 350 s of work at the look at 50 s, less a quarter of 20 s: 7 workers."""
    assert view(LONG, lean=True, workers=8, backlog=[[0.0, 700]]).workers_for_backlog() == 7
    assert view(LONG, lean=True, workers=2, backlog=[[0.0, 700]]).workers_for_backlog() > 8


def test_nothing_waits_and_nobody_is_needed() -> None:
    assert view().workers_for_backlog() == 0


def test_a_lean_pool_works_off_the_load_and_what_is_above_its_usual_wait() -> None:
    """20 jobs/s of 0.5 s; patience 48 s, usual wait 28.8 s: 10 servers hold a backlog of 576."""
    usual = view(LONG, lean=True, arrival_rate=20.0, backlog=[[10.0, 576]])
    assert usual.lean_servers() == pytest.approx(10.0)
    assert view(LONG, lean=True, arrival_rate=20.0).lean_servers() < 10.0
    assert view(LONG, lean=True, arrival_rate=20.0, backlog=[[10.0, 1152]]).lean_servers() > 13.0


def test_a_sojourn_promise_has_less_time_to_wait() -> None:
    assert view(ScalingSettings(sla_seconds=2.0, sojourn=True)).promise == 1.5
    assert view(ScalingSettings(sla_seconds=2.0)).promise == 2.0
    assert view(ScalingSettings(sla_seconds=0.4, sojourn=True)).promise == pytest.approx(0.02)


@pytest.mark.parametrize("sla", [1e-6, 1.0, 60.0, 3600.0, 1e7])
def test_few_moments_are_looked_at_however_long_the_promise(sla: float) -> None:
    moments = view(ScalingSettings(sla_seconds=sla))._moments
    assert 1 <= len(moments) <= MOST_MOMENTS


def test_no_breach_is_in_sight_of_a_quiet_queue() -> None:
    assert view().time_to_breach() is None
    assert view(backlog_rate=13.0).time_to_breach() is None  # 6.5 erlangs for 7


def test_a_breach_is_now_when_the_oldest_job_has_missed() -> None:
    assert view(oldest_age=1.1).time_to_breach() == 0.0
    assert view(oldest_age=0.9).time_to_breach() is None


def test_a_breach_to_come_is_seen_before() -> None:
    """100 jobs/s for 14 servers' worth: too late within an interval. 2,000 delayed jobs: when they are due."""
    assert view(backlog_rate=100.0).time_to_breach() == 5.0
    assert view(scheduled=[[18.0, 2000]]).time_to_breach() == 20.0


def test_workers_that_come_in_time_avert_a_breach() -> None:
    assert view(scheduled=[[18.0, 1000]], starting=[[5.0, 30]]).time_to_breach() is None


@given(
    st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(1, 500)), max_size=5),
    st.integers(1, 500),
    st.integers(0, 40),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(1, 20)), max_size=4),
    st.sampled_from([SHORT, ScalingSettings(sla_seconds=10.0), LONG]),
)
def test_more_backlog_never_wants_fewer_workers(
    backlog: list[tuple[float, int]],
    more: int,
    workers: int,
    starting: list[tuple[float, int]],
    settings: ScalingSettings,
) -> None:
    there = {"workers": workers, "starting": [list(each) for each in sorted(starting)], "backlog_rate": 5.0}
    less = view(settings, backlog=[list(each) for each in backlog], **there)
    greater = view(settings, backlog=[[age, jobs + more] for age, jobs in backlog] or [[0.0, more]], **there)
    assert less.workers_for_backlog() <= greater.workers_for_backlog()


@given(st.integers(1, 3000), st.floats(0.0, 40.0), st.integers(0, 30), st.floats(0.0, 60.0))
def test_what_is_asked_for_is_enough_once_it_is_there(
    jobs: int, age: float, workers: int, rate: float
) -> None:
    """With the answer there at once, the same look asks for no more."""
    now: dict[str, Any] = {"backlog": [[age, jobs]], "backlog_rate": rate}
    wanted = view(workers=workers, **now).workers_for_backlog()
    assert view(workers=wanted, **now).workers_for_backlog() <= wanted + 1
