"""Workers that are asked for, start, and are sent away; what they cost."""

from __future__ import annotations

import math

import pytest

from littleq.simulation.fleet import Fleet


def at_work(*free_at: float, threads: int = 1) -> Fleet:
    """Workers that have been ready since 0 s; thread by thread, when each is free."""
    fleet = Fleet(threads, startup_seconds=30.0)
    fleet.ask(-30.0, len(free_at) // threads)
    fleet.open(0.0)
    fleet.servers[:] = sorted((free, number // threads) for number, free in enumerate(free_at))
    return fleet


def test_a_worker_takes_jobs_one_start_up_after_it_was_asked_for() -> None:
    fleet = Fleet(threads=2, startup_seconds=30.0)
    fleet.ask(10.0, 3)
    assert (fleet.ready, fleet.starting, fleet.size, fleet.next_ready) == (0, 3, 3, 40.0)
    fleet.open(39.9)
    assert fleet.ready == 0
    fleet.open(40.0)
    assert (fleet.ready, fleet.starting, fleet.next_ready) == (3, 0, math.inf)
    assert sorted(fleet.servers) == [(40.0, worker) for worker in (0, 0, 1, 1, 2, 2)]


def test_starting_workers_go_first_the_last_one_asked_for_before_the_others() -> None:
    fleet = at_work(0.0)
    fleet.ask(100.0, 1)
    fleet.ask(110.0, 1)
    fleet.shrink(115.0, 1)
    assert (fleet.ready, fleet.starting, fleet.next_ready) == (1, 1, 130.0)
    assert fleet.worker_seconds == 5.0  # from 110 to 115
    assert fleet.ready_seconds == 0.0


def test_then_idle_ones_then_the_one_that_is_done_first() -> None:
    fleet = at_work(90.0, 140.0, 105.0, 120.0)
    fleet.shrink(100.0, 1)
    assert {worker for _, worker in fleet.servers} == {1, 2, 3}
    assert fleet.worker_seconds == 130.0  # asked for at -30, idle since 90: gone at 100
    fleet.shrink(100.0, 2)
    assert fleet.servers == [(140.0, 1)]
    assert (
        fleet.worker_seconds == 130.0 + 135.0 + 150.0
    )  # they leave when their jobs are done, and cost until then
    assert fleet.ready_seconds == fleet.worker_seconds - 3 * 30.0
    assert fleet.cut_seconds == 5.0 + 20.0


def test_a_worker_is_as_busy_as_its_last_thread() -> None:
    fleet = at_work(50.0, 130.0, 120.0, 110.0, threads=2)
    fleet.servers[:] = [(50.0, 0), (120.0, 1), (110.0, 1), (130.0, 0)]  # a heap, in no order
    fleet.shrink(100.0, 1)
    assert fleet.servers == [(50.0, 0), (130.0, 0)]
    assert fleet.worker_seconds == 150.0
    assert fleet.cut_seconds == 10.0 + 20.0


def test_of_two_idle_workers_the_younger_one_goes() -> None:
    fleet = at_work(10.0, 5.0)
    fleet.shrink(100.0, 1)
    assert fleet.servers == [(10.0, 0)]


def test_what_is_left_is_a_heap_in_the_same_list() -> None:
    fleet = at_work(*[0.0] * 6)
    servers = fleet.servers
    servers[:] = [(90.0, 0), (130.0, 1), (101.0, 2), (140.0, 3), (135.0, 4), (102.0, 5)]
    fleet.shrink(100.0, 1)
    assert fleet.servers is servers
    assert servers[0] == (101.0, 2)
    assert all(servers[(place - 1) // 2] <= servers[place] for place in range(1, 5))


def test_resize_asks_or_sends_away_what_is_missing_or_too_much() -> None:
    fleet = at_work(0.0, 0.0)
    fleet.resize(10.0, 5)
    assert (fleet.ready, fleet.starting, fleet.peak, fleet.starts) == (2, 3, 5, 5)
    fleet.resize(12.0, 5)
    assert fleet.starting == 3
    fleet.resize(15.0, 1)
    assert (fleet.ready, fleet.starting, fleet.peak) == (1, 0, 5)
    fleet.resize(20.0, 0)
    assert fleet.size == 0


def test_the_end_of_a_run_settles_every_account() -> None:
    fleet = at_work(0.0, 95.0)
    fleet.ask(60.0, 1)
    fleet.ask(90.0, 1)
    fleet.close(100.0)
    assert fleet.size == 0
    assert fleet.worker_seconds == 130.0 + 130.0 + 40.0 + 10.0
    assert fleet.ready_seconds == 100.0 + 100.0 + 10.0


def test_busy_threads_and_what_is_left_of_their_jobs() -> None:
    fleet = at_work(90.0, 130.0, 101.0)
    assert fleet.busy(100.0) == 2
    assert fleet.remaining(100.0) == pytest.approx(31.0)
