"""The engine, with a pool that nobody resizes, against the laws of queues.

Each system runs twenty times with independent seeds; the mean over the runs has a t-interval of 99.9 %. Theory must lie
in it, widened by 1 % for what is left of the empty start. So each check of a right engine fails for one choice of seeds
in a thousand; with the seeds below none does, and a failure means that the engine has changed. The interval must also
be narrow enough to refuse a theory that is 30 % off.
"""

from __future__ import annotations

import functools
import math
import random
import statistics
from collections.abc import Sequence

import pytest

from littleq import law
from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import Run, simulate
from littleq.simulation.services import parse_service
from tests.simulation.fixed_pool import Planned, fixed, poisson_workload

RUNS = 20
T_999 = 3.883  # Student's t, two-sided 99.9 %, RUNS - 1 = 19 degrees of freedom
WARM_UP = 1000
JOBS = 9000
EMPTY_START = 0.01
WIDEST = 0.3

#: (name, λ, service, servers, threads): S = 1 s throughout.
MM1 = ("exp:1", 0.7, 1, 1)
MMC = ("exp:1", 5.0, 6, 1)
MMC_THREADS = ("exp:1", 5.0, 6, 3)
MD1 = ("constant:1", 0.75, 1, 1)
MG1 = ("lognormal:1,cv=1.3", 0.6, 1, 1)
MU1 = ("uniform:0.5..1.5", 0.75, 1, 1)

System = tuple[str, float, int, int]


@functools.cache
def runs(system: System) -> list[Run]:
    service, rate, servers, threads = system
    draw = parse_service(service)
    return [
        fixed(poisson_workload(rate, draw, jobs=WARM_UP + JOBS, seed=seed), servers, threads=threads)
        for seed in range(RUNS)
    ]


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 99.9 % t-interval."""
    return statistics.fmean(samples), T_999 * statistics.stdev(samples) / math.sqrt(len(samples))


def mean_wait(system: System) -> tuple[float, float]:
    return interval([statistics.fmean(run.waits[WARM_UP:]) for run in runs(system)])


def assert_agrees(theory: float, simulated: tuple[float, float]) -> None:
    mean, half_width = simulated
    assert half_width <= WIDEST * theory, f"{mean:.4f} ± {half_width:.4f} would refuse nothing"
    assert abs(mean - theory) <= half_width + EMPTY_START * theory, (
        f"theory says {theory:.4f}, the engine {mean:.4f} ± {half_width:.4f}"
    )


@pytest.mark.parametrize("system", [MM1, MMC, MMC_THREADS], ids=["M/M/1", "M/M/6", "M/M/6 in 2 workers"])
def test_mmc_waits_as_erlang_c_says(system: System) -> None:
    _, rate, servers, _ = system
    assert_agrees(law.mmc_waiting_time(rate, 1.0, servers), mean_wait(system))


@pytest.mark.parametrize(("system", "seconds"), [(MM1, 0.0), (MM1, 2.0), (MMC, 0.0), (MMC, 0.5), (MMC, 1.0)])
def test_as_many_jobs_wait_longer_as_erlang_c_says(system: System, seconds: float) -> None:
    _, rate, servers, _ = system
    shares = [sum(wait > seconds for wait in run.waits[WARM_UP:]) / JOBS for run in runs(system)]
    assert_agrees(law.mmc_waiting_time_tail(rate, 1.0, servers, seconds), interval(shares))


def test_md1_waits_half_as_long_as_mm1() -> None:
    assert_agrees(law.md1_waiting_time(MD1[1], 1.0), mean_wait(MD1))


@pytest.mark.parametrize(("system", "scv"), [(MG1, 1.69), (MU1, 1 / 12)], ids=["lognormal", "uniform"])
def test_mg1_waits_as_pollaczek_and_khinchine_say(system: System, scv: float) -> None:
    assert_agrees(law.mg1_waiting_time(system[1], 1.0, scv), mean_wait(system))


def test_a_policy_sees_as_many_jobs_as_littles_law_says() -> None:
    """L = λW. A look every 10 s, at no special moment, sees the mean number in the system."""
    seen, expected = [], []
    for seed in range(RUNS):
        workload = poisson_workload(5.0, lambda rng: rng.expovariate(1.0), jobs=JOBS, seed=100 + seed)
        policy = Planned([6], interval_seconds=10.0)
        run = simulate(workload, policy, ScalingSettings(sla_seconds=1.0), initial_workers=6)
        inside = [view.observation for view in policy.views if view.observation.now < workload.seconds]
        seen.append(statistics.fmean((each.ready or 0) + (each.in_flight or 0) for each in inside))
        sojourns = [wait + service for wait, service in zip(run.waits, run.services, strict=True)]
        expected.append(law.little_number_in_system(JOBS / workload.seconds, statistics.fmean(sojourns)))
    difference, half_width = interval([a - b for a, b in zip(seen, expected, strict=True)])
    assert abs(difference) <= half_width
    assert half_width < 0.1 * statistics.fmean(expected)


def test_utilization_is_the_offered_load_over_the_servers() -> None:
    shares = []
    for seed in range(RUNS):
        workload = poisson_workload(5.0, lambda rng: rng.expovariate(1.0), jobs=2000, seed=200 + seed)
        policy = Planned([8], interval_seconds=5.0)
        simulate(workload, policy, ScalingSettings(sla_seconds=1.0), initial_workers=8)
        shares.append(statistics.fmean(view.utilization or 0.0 for view in policy.views))
    assert_agrees(law.utilization(5.0, 1.0, 8), interval(shares))


def test_the_same_seed_gives_the_same_waits_and_another_one_others() -> None:
    def waits(seed: int) -> list[float]:
        return fixed(poisson_workload(5.0, random.Random.random, jobs=500, seed=seed), 3).waits

    assert waits(1) == waits(1)
    assert waits(1) != waits(2)
