"""`littleq.planning` against Ciw in steady state, and against a simulation of bursts; neither shares code with it.

The mean over independent runs has a 99.9 % t-interval. The plan must lie in it, widened by a margin that says how exact
the plan claims to be, and the interval must be narrow enough to refuse a plan that is far off.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics

import pytest

from littleq.planning import Demand
from littleq.planning.burst import ride

TWENTY = Demand(20.0, 0.2, 1.0, 99.0, service_scv=1.5)
T_999 = 3.883  # Student's t, two-sided 99.9 %, 19 degrees of freedom


@pytest.mark.parametrize(
    ("demand", "servers"),
    [
        (Demand(2.6, 1.0, 1.5, 90.0), 4),
        (Demand(2.0, 1.0, 2.0, 95.0, service_scv=1.5), 3),
        (Demand(2.0, 1.0, 3.0, 80.0, sojourn=True), 4),
    ],
    ids=["waits of M/M/c", "waits of M/G/c", "sojourns of M/M/c"],
)
def test_attainment_is_what_ciw_sees(demand: Demand, servers: int) -> None:
    """20 runs; within their 99.9 % interval, widened by 16 % of the misses where the model approximates."""
    ciw = pytest.importorskip("ciw", reason="the simulator is not installed: pip install ciw")
    shape = 1 / demand.service_scv
    shares = []
    for seed in range(2000, 2020):
        ciw.seed(seed)
        network = ciw.create_network(
            arrival_distributions=[ciw.dists.Exponential(demand.arrival_rate)],
            service_distributions=[ciw.dists.Gamma(shape, demand.service_time / shape)],
            number_of_servers=[servers],
        )
        simulation = ciw.Simulation(network)
        simulation.simulate_until_max_customers(2260, method="Arrive")
        records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)[200:2200]
        took = [r.waiting_time + r.service_time if demand.sojourn else r.waiting_time for r in records]
        shares.append(sum(seconds > demand.sla_seconds for seconds in took) / len(took))
    mean, half = statistics.fmean(shares), T_999 * statistics.stdev(shares) / math.sqrt(20)
    theory = demand.missed_share(servers)
    assert half <= 0.35 * theory, f"{mean:.4f} ± {half:.4f} would refuse nothing"
    margin = 0.01 if demand.is_exact else 0.16
    assert abs(mean - theory) <= half + margin * theory, f"plan {theory:.4f}, Ciw {mean:.4f} ± {half:.4f}"


def play(demand: Demand, factor: float, seconds: float, pool: int, later: int, at: float, seed: int) -> int:
    """Late jobs of one burst that begins in steady state and of the 150 s after it."""
    dice = random.Random(seed)
    begin, now, late = 40.0, 0.0, 0
    free, extra = [0.0] * pool, later - pool
    shape = 1 / demand.service_scv
    while now < begin + seconds + 150:
        in_burst = begin <= now < begin + seconds
        edge = begin + seconds if in_burst else begin if now < begin else math.inf
        step = dice.expovariate(demand.arrival_rate * (factor if in_burst else 1))
        if now + step > edge:  # the rate changes: the gap begins anew, since it has no memory
            now = edge
            continue
        now += step
        if extra and max(now, free[0]) >= begin + at:
            for _ in range(extra):
                heapq.heappush(free, begin + at)
            extra = 0
        start = max(now, heapq.heappop(free))
        heapq.heappush(free, start + dice.gammavariate(shape, demand.service_time / shape))
        late += begin <= now and start - now > demand.sla_seconds
    return late


@pytest.mark.parametrize(
    ("factor", "pool", "later", "at"),
    [(3.0, 6, 6, math.inf), (3.0, 6, 14, 30.0), (3.0, 6, 14, 10.0), (2.0, 8, 8, math.inf)],
    ids=["the pool alone", "ordered at once", "a quick start-up", "a burst that just fills the pool"],
)
def test_misses_in_a_burst_are_what_a_simulation_sees(
    factor: float, pool: int, later: int, at: float
) -> None:
    """60 bursts; the fluid and the diffusion are within the 99.9 % interval widened by a fifth."""
    seen = [play(TWENTY, factor, 30.0, pool, later, at, seed) for seed in range(60)]
    mean, half = statistics.fmean(seen), 3.47 * statistics.stdev(seen) / math.sqrt(60)
    theory = ride(TWENTY, factor, 30.0, pool, later, at).missed
    assert half < 0.7 * theory, f"{mean:.0f} ± {half:.0f} would refuse nothing"
    assert abs(mean - theory) <= half + 0.2 * theory, f"plan {theory:.0f}, simulated {mean:.0f} ± {half:.0f}"
