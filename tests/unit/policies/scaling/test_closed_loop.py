"""The policy over short made-up loads in virtual time, 30 s start-up: what it reaches and what nobody can."""

from __future__ import annotations

from functools import cache

import pytest

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import Run, simulate
from littleq.simulation.policies import contestant
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.workload import from_shape


@cache
def run_of(arrivals: str, sla: float, minutes: float, seed: int = 1) -> Run:
    settings = ScalingSettings(sla_seconds=sla, max_workers=200)
    seconds = 60.0 * minutes
    workload = from_shape(
        parse_shape(arrivals, seconds), parse_service("exp:0.5"), seconds=seconds, seed=seed
    )
    player = contestant("littleq", workload, settings)
    return simulate(workload, player.policy, settings, initial_workers=player.initial_workers)


def share_in_time(run: Run, sla: float, begin: float = 0.0, end: float = float("inf")) -> float:
    waits = [wait for wait, at in zip(run.waits, run.arrivals, strict=True) if begin <= at < end]
    return sum(wait <= sla for wait in waits) / len(waits)


def utilization(run: Run) -> float:
    return sum(run.services) / run.worker_seconds


def test_a_long_promise_is_kept_by_a_pool_that_hardly_idles() -> None:
    run = run_of("step:10,30@15m", 60.0, 30.0)
    assert share_in_time(run, 60.0) >= 0.99
    assert utilization(run) > 0.9


def test_a_steady_load_with_a_short_promise_is_served_in_time_at_a_fair_price() -> None:
    run = run_of("poisson:10", 1.0, 30.0)
    assert share_in_time(run, 1.0) >= 0.99
    assert utilization(run) > 0.5


@pytest.mark.parametrize("seed", [1, 3])
def test_periods_of_work_and_rest_are_learned_after_the_first(seed: int) -> None:
    """Five minutes on, five off: later beginnings are met, by a pool that stands ready at the end of a rest."""
    run = run_of("onoff:10,5m,5m,1", 1.0, 60.0, seed)
    assert share_in_time(run, 1.0, 1200.0) >= 0.99
    ready = [moment.desired for moment in run.moments if 2370.0 <= moment.at < 2400.0]
    assert min(ready) >= 6  # 0.5 erlangs come, 5 are expected


def test_a_flash_crowd_cannot_be_met_and_is_recovered_from() -> None:
    """Ten times the load at once: the first 30 s are late whoever decides; a few seconds later nobody is."""
    run = run_of("step:5,50@10m", 1.0, 15.0)
    assert share_in_time(run, 1.0, 605.0, 630.0) < 0.5
    assert share_in_time(run, 1.0, 660.0) >= 0.99
