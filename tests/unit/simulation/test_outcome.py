"""What a run comes to."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import Run
from littleq.simulation.outcome import kept, may_miss, outcome, quantile


def a_run(waits: list[float], *, unstarted: int = 0, shed: int = 0, service: float = 1.0) -> Run:
    jobs = len(waits) + unstarted
    arrivals = [float(number) for number in range(jobs)]
    starts = [at + wait for at, wait in zip(arrivals, waits, strict=False)]
    run = Run("a", 1, arrivals, [service] * jobs, starts, [0.5] * shed)
    run.end, run.worker_seconds, run.ready_seconds, run.worker_starts, run.peak_workers = (
        100.0,
        250.0,
        190.0,
        2,
        3,
    )
    return run


def test_jobs_that_wait_longer_than_promised_miss_it() -> None:
    result = outcome(a_run([0.0, 1.0, 1.5, 3.0]), ScalingSettings(sla_seconds=1.0, percentile=50.0))
    assert (result.jobs, result.missed, result.share_in_sla, result.met) == (4, 2, 0.5, True)
    assert (result.wait_mean, result.wait_p50, result.wait_p99, result.wait_max) == (1.375, 1.0, 3.0, 3.0)
    assert (result.mean_workers, result.peak_workers, result.worker_starts) == (2.5, 3, 2)
    assert (result.worker_seconds, result.ready_seconds, result.seconds) == (250.0, 190.0, 100.0)


def test_a_sojourn_is_the_service_too() -> None:
    settings = ScalingSettings(sla_seconds=2.5, percentile=50.0, sojourn=True)
    assert outcome(a_run([0.0, 1.0, 1.6, 3.0]), settings).missed == 2


def test_shed_and_unstarted_jobs_miss_it_too() -> None:
    result = outcome(
        a_run([0.0, 0.0], unstarted=1, shed=1), ScalingSettings(sla_seconds=1.0, percentile=51.0)
    )
    assert (result.jobs, result.missed, result.shed, result.unstarted, result.met) == (4, 2, 1, 1, False)
    assert result.wait_max == math.inf
    assert result.as_dict()["wait_max"] is None
    json.dumps(result.as_dict(), allow_nan=False)


def test_nothing_to_do_is_done_in_time() -> None:
    result = outcome(a_run([]), ScalingSettings(sla_seconds=1.0))
    assert (result.share_in_sla, result.met, result.wait_p99) == (1.0, True, 0.0)


@pytest.mark.parametrize(
    ("jobs", "percentile", "allowed"),
    [(100, 99.0, 1), (99, 99.0, 0), (1000, 99.9, 1), (10, 70.0, 3), (0, 99.0, 0)],
)
def test_how_many_jobs_may_miss_a_promise(jobs: int, percentile: float, allowed: int) -> None:
    assert may_miss(jobs, percentile) == allowed
    assert kept(allowed, jobs, percentile)
    assert not kept(allowed + 1, jobs, percentile)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(1, 99.9))
def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[float], percentile: float
) -> None:
    ordered = sorted(values)
    found = quantile(ordered, percentile)
    assert sum(value <= found for value in ordered) >= len(ordered) * percentile / 100 - 1e-6
    assert sum(value < found for value in ordered) < len(ordered) * percentile / 100 + 1e-6
