"""The engine by hand: who waits for how long, what a policy is shown, what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.admission import AdmissionRule
from littleq.simulation.engine import PATIENCE_SECONDS, Run, simulate
from littleq.simulation.workload import Workload
from tests.simulation.fixed_pool import Planned


def play(
    jobs: list[tuple[float, float]],
    plan: list[int],
    *,
    seconds: float = 100.0,
    interval: float = 10.0,
    startup: float = 30.0,
    initial: int = 1,
    admission: AdmissionRule | None = None,
    **settings: object,
) -> tuple[Run, Planned]:
    workload = Workload([at for at, _ in jobs], [service for _, service in jobs], seconds)
    policy = Planned(plan, interval)
    values = ScalingSettings(**{"sla_seconds": 1.0, "startup_seconds": startup, **settings})  # type: ignore[arg-type]
    rule = admission or AdmissionRule()
    return simulate(workload, policy, values, initial_workers=initial, admission=rule), policy


def test_first_come_first_served() -> None:
    run, _ = play([(1.0, 5.0), (2.0, 3.0), (3.0, 1.0), (20.0, 1.0)], [1])
    assert run.waits == [0.0, 4.0, 6.0, 0.0]
    assert run.end == 100.0


def test_a_worker_that_was_asked_for_helps_when_it_has_started() -> None:
    """Asked for at 10 s, ready at 40 s: the second job starts then, not when the first one ends."""
    run, _ = play([(5.0, 50.0), (6.0, 1.0), (7.0, 1.0)], [2])
    assert run.starts == [5.0, 40.0, 41.0]


def test_a_running_job_is_never_cut_and_its_worker_costs_until_it_ends() -> None:
    run, _ = play([(5.0, 38.0)], [0], initial=2)
    assert run.starts == [5.0]
    # One idle worker leaves at 10 s, the busy one at 43 s; both were asked for 30 s before the run.
    assert run.worker_seconds == (30.0 + 10.0) + (30.0 + 43.0)
    assert run.ready_seconds == 10.0 + 43.0


def test_a_worker_that_leaves_takes_no_further_job() -> None:
    run, _ = play([(5.0, 10.0), (6.0, 1.0)], [0, 0, 0, 1])  # one more asked for at 40 s, ready at 70 s
    assert run.starts == [5.0, 70.0]


def test_the_run_goes_on_until_the_last_job_is_done_and_is_paid_until_then() -> None:
    run, _ = play([(99.0, 50.0)], [1])
    assert run.end == 149.0
    assert run.worker_seconds == 30.0 + 149.0


def test_a_policy_that_keeps_no_worker_is_given_up() -> None:
    run, _ = play([(50.0, 1.0)], [0])
    assert (run.starts, run.end) == ([], 100.0 + PATIENCE_SECONDS)


def test_the_bounds_hold_whatever_a_policy_says() -> None:
    run, _ = play([(1.0, 1.0)], [50, 0], min_workers=2, max_workers=4, initial=2)
    assert [moment.desired for moment in run.moments[:3]] == [4, 2, 2]
    assert run.peak_workers == 4


def test_what_a_policy_is_shown() -> None:
    jobs = [(1.0, 5.0), (2.0, 20.0), (3.0, 4.0), (9.0, 1.0), (10.0, 1.0)]
    _, policy = play(jobs, [3], sla_seconds=2.0)
    seen = policy.views[
        0
    ].observation  # at 10 s: one done, the second runs since 6 s, two wait; the last one just comes
    assert (seen.now, seen.offered) == (10.0, 4.0)
    assert (seen.services, seen.service_seconds, seen.service_seconds_squared) == (1.0, 5.0, 25.0)
    assert (seen.ready, seen.in_flight, seen.oldest_age) == (2, 1, 7.0)
    assert (seen.workers, seen.starting) == (1, 0)
    assert (seen.timed, seen.breached) == (2.0, 1.0)  # waits 0 and 4 s
    later = policy.views[1].observation
    assert (later.workers, later.starting, later.offered) == (1, 2, 5.0)
    assert (later.retried, later.due, later.paused, later.age_seconds) == (0.0, (), False, 0.0)


def test_an_empty_queue_has_no_age() -> None:
    _, policy = play([(15.0, 1.0)], [1])
    assert (policy.views[0].observation.ready, policy.views[0].observation.oldest_age) == (0, 0.0)


def test_a_promise_on_sojourns_counts_breaches_when_jobs_end() -> None:
    _, policy = play([(1.0, 3.0), (8.0, 5.0)], [1], sla_seconds=2.0, sojourn=True)
    first, second = (view.observation for view in policy.views[:2])
    assert (first.timed, first.breached) == (1.0, 1.0)
    assert (second.timed, second.breached) == (2.0, 2.0)


def test_utilization_is_the_busy_share_since_the_last_look() -> None:
    _, policy = play([(4.0, 8.0)], [1, 2])
    # 6 of 10 s; 2 of 10 s; then nothing, with one worker and, from 50 s on, two.
    assert [view.utilization for view in policy.views[:5]] == pytest.approx([0.6, 0.2, 0.0, 0.0, 0.0])


def test_utilization_leaves_workers_out_that_were_sent_away() -> None:
    """At 10 s the one goes that is done first, 3 s later; the other one is busy for 4 s more."""
    _, policy = play([(0.0, 13.0), (0.0, 14.0)], [1], initial=2)
    assert [view.utilization for view in policy.views[:3]] == pytest.approx([1.0, 0.4, 0.0])


def test_what_ends_at_the_moment_of_a_decision_has_ended_and_what_arrives_then_has_not_come() -> None:
    _, policy = play([(2.0, 8.0), (3.0, 1.0), (10.0, 1.0)], [1])
    seen = policy.views[0].observation
    assert (seen.services, seen.in_flight, seen.ready, seen.offered) == (1.0, 0, 1, 2.0)


def test_no_ready_thread_has_no_utilization() -> None:
    _, policy = play([(1.0, 1.0)], [1], initial=0)
    assert policy.views[0].utilization is None
    assert policy.views[0].pool == 0


def test_threads_of_a_worker_run_jobs_side_by_side() -> None:
    run, policy = play([(1.0, 5.0), (1.5, 5.0), (2.0, 5.0)], [1], threads_per_worker=2)
    assert run.waits == [0.0, 0.0, 4.0]
    assert policy.views[0].utilization == pytest.approx(14.0 / 20.0)


def test_shed_jobs_are_offered_but_never_wait() -> None:
    """2/s × 1 s: two jobs in the system, whoever they are."""
    jobs = [(1.0, 8.0), (2.0, 1.0), (3.0, 1.0), (4.0, 1.0), (9.5, 1.0)]
    run, policy = play(jobs, [1], admission=AdmissionRule("contract", 2.0))
    assert run.shed == [3.0, 4.0]
    assert run.arrivals == [1.0, 2.0, 9.5]
    assert run.starts == [1.0, 9.0, 10.0]
    assert policy.views[0].observation.offered == 5.0
    assert policy.views[0].observation.ready == 1


times = st.lists(st.floats(0.0, 90.0), min_size=1, max_size=40).map(sorted)
sizes = st.lists(st.integers(0, 4), min_size=1, max_size=8)


@given(arrivals=times, plan=sizes, services=st.lists(st.floats(0.1, 30.0), min_size=40, max_size=40))
def test_whatever_a_policy_does_the_accounts_balance(
    arrivals: list[float], plan: list[int], services: list[float]
) -> None:
    jobs = list(zip(arrivals, services, strict=False))
    run, policy = play(jobs, [*plan, 2], startup=7.0)
    assert run.starts == sorted(run.starts)
    assert len(run.starts) == len(jobs)
    assert min(run.waits) >= 0.0
    # Every job is paid for, and no worker is paid before it was asked for.
    assert run.worker_seconds >= run.ready_seconds - 1e-6 >= sum(service for _, service in jobs) - 2e-6
    assert run.worker_seconds <= run.ready_seconds + 7.0 * run.worker_starts + 1e-6  # some never got ready
    for earlier, later in zip(policy.views, policy.views[1:], strict=False):
        before, after = earlier.observation, later.observation
        assert (after.offered or 0) >= (before.offered or 0)
        assert (after.service_seconds or 0) >= (before.service_seconds or 0)
    for view in policy.views:
        seen = view.observation
        assert seen.offered == (seen.ready or 0) + (seen.in_flight or 0) + (seen.services or 0)
        assert view.utilization is None or 0.0 <= view.utilization <= 1.0
