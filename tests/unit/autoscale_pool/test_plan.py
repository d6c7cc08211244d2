"""Who is started and who is stopped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.autoscale.pool.plan import GroupView, WorkerView, plan, target


def ready(number: int, running: int | None = 0, held: int | None = None, age: float = 10.0) -> WorkerView:
    return WorkerView(number, "ready", running, (running or 0) if held is None else held, age)


@pytest.mark.parametrize(
    ("previous", "desired", "woken", "expected"),
    [
        (None, None, False, 1),  # nothing is known yet: the least
        (None, 3, False, 3),
        (3, 0, False, 1),
        (3, 99, False, 5),
        (3, None, False, 3),  # blind: what there was, never less
        (9, None, False, 5),
    ],
)
def test_the_target_is_the_decision_within_its_bounds(
    previous: int | None, desired: int | None, woken: bool, expected: int
) -> None:
    assert target(previous, desired, least=1, most=5, woken=woken) == expected


def test_a_waiting_job_wakes_one_worker_whatever_was_decided_before_it_came() -> None:
    assert target(0, 0, least=0, most=5) == 0
    assert target(0, 0, least=0, most=5, woken=True) == 1
    assert target(0, None, least=0, most=5, woken=True) == 1
    assert target(0, 4, least=0, most=5, woken=True) == 4


@pytest.mark.parametrize(
    ("workers", "wanted", "stopped"),
    [
        # one that takes no jobs yet goes before an idle one, an idle one before a busy one
        ([ready(1, running=2), ready(2), WorkerView(3, "starting")], 2, {3}),
        ([ready(1, running=2), ready(2), WorkerView(3, "starting")], 1, {2, 3}),
        # prefetched jobs go back; running ones would have to be waited for
        ([ready(1, running=0, held=4), ready(2, running=1)], 1, {1}),
        ([ready(1, running=0, held=4), ready(2)], 1, {2}),
        ([ready(1, running=3), ready(2, running=1)], 1, {2}),
        # who does not answer is at a job that keeps the interpreter's lock
        ([ready(1, running=None), ready(2, running=7)], 1, {2}),
        # of two that are alike the younger
        ([ready(1, age=100), ready(2, age=5)], 1, {2}),
        # those that are stopping count for nothing
        ([WorkerView(1, "stopping"), ready(2)], 1, set()),
        ([ready(1, running=3)], 0, {1}),
    ],
)
def test_whoever_is_missed_least_is_stopped(
    workers: list[WorkerView], wanted: int, stopped: set[int]
) -> None:
    found = plan({"q": GroupView(wanted, workers)}, most_starting=4)
    assert set(found.stop) == stopped
    assert not found.start


def test_a_worker_that_is_stopping_is_replaced_if_it_is_needed_again() -> None:
    found = plan({"q": GroupView(2, [WorkerView(1, "stopping"), ready(2)])}, most_starting=4)
    assert found.start == {"q": 1}
    assert not found.stop


def test_who_is_furthest_below_its_target_starts_first() -> None:
    groups = {"large": GroupView(10, [ready(number) for number in range(5)]), "small": GroupView(1)}
    assert plan(groups, most_starting=1).start == {"small": 1}
    assert plan(groups, most_starting=3).start == {"small": 1, "large": 2}


def test_a_few_start_at_a_time_over_all_groups() -> None:
    starting = [WorkerView(1, "starting"), WorkerView(2, "starting")]
    assert plan({"a": GroupView(9, starting), "b": GroupView(9)}, most_starting=3).start == {"b": 1}
    assert plan({"a": GroupView(9, starting), "b": GroupView(9)}, most_starting=2).start == {}


def test_a_group_in_its_backoff_starts_nothing_and_keeps_nobody_from_it() -> None:
    groups = {"broken": GroupView(4, startable=0), "sound": GroupView(2)}
    assert plan(groups, most_starting=2).start == {"sound": 2}
    assert plan({"broken": GroupView(4, startable=1)}, most_starting=8).start == {"broken": 1}


states = st.sampled_from(["starting", "ready", "stopping"])
views = st.builds(
    WorkerView,
    st.integers(0, 10**6),
    states,
    st.none() | st.integers(0, 8),
    st.integers(0, 16),
    st.floats(0, 1e6),
)
groups = st.builds(
    GroupView,
    st.integers(0, 12),
    st.lists(views, max_size=12, unique_by=lambda view: view.number),
    st.integers(0, 3),
)


@given(st.dictionaries(st.sampled_from("abc"), groups, max_size=1), st.integers(1, 6))
def test_a_plan_never_passes_its_target_and_never_stops_a_busy_worker_for_an_idle_one(
    views: dict[str, GroupView], most_starting: int
) -> None:
    found = plan(views, most_starting=most_starting)
    for name, group in views.items():
        stopped = [worker for worker in group.workers if worker.number in found.stop]
        started = found.start.get(name, 0)
        assert not (stopped and started)
        assert all(worker.state != "stopping" for worker in stopped)
        assert started <= group.startable
        left = group.standing - len(stopped) + started
        assert left == group.target or (left < group.target and not stopped)
        kept = [w for w in group.workers if w.state == "ready" and w.number not in found.stop]
        if any(worker.state == "ready" and worker.running != 0 for worker in stopped):
            assert all(worker.running != 0 for worker in kept)
