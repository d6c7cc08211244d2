"""`littleq.law` against Ciw, a discrete-event simulator that shares no code with it.

Each system runs several times with independent seeds; the mean over the runs has a t-interval. Theory must lie in
the 99.9 % interval, widened by a margin that says how exact the formula claims to be, and the interval must be
narrow enough to refuse a theory that is off by much more. No assertion hangs on one seed.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

ciw = pytest.importorskip("ciw", reason="pip install ciw")

from littleq import law  # noqa: E402  (after the skip)

RUNS = 10
T_999 = 4.781  # Student's t, two-sided 99.9 %, RUNS - 1 = 9 degrees of freedom
WARM_UP = 500  # jobs, from an empty start: longer than any system below remembers
CUT = 300  # last jobs of a run, whose records Ciw has not all written when it stops

#: Exact formulas: only what the warm-up leaves. Allen-Cunneen and the exponential tail: what the literature grants
#: them in heavy traffic (Whitt, Approximations for the GI/G/m queue, 1993).
EXACT, APPROXIMATE = 0.01, 0.15
#: An interval wider than this share of the theory would prove nothing.
WIDEST = 0.2


@dataclass(frozen=True)
class System:
    """λ = `load` × `servers`, S = 1, gaps and run times gamma or lognormal with the given scv."""

    servers: int
    load: float
    arrival_scv: float = 1.0
    service_scv: float = 1.0
    heavy_tailed: bool = False
    jobs: int = 5000

    @property
    def arrival_rate(self) -> float:
        return self.load * self.servers


def times(mean: float, scv: float, *, heavy_tailed: bool = False) -> object:
    """A Ciw distribution with this mean and squared coefficient of variation."""
    if scv == 0:
        return ciw.dists.Deterministic(mean)
    if scv == 1:
        return ciw.dists.Exponential(1 / mean)
    if heavy_tailed:
        variance = math.log(1 + scv)
        return ciw.dists.Lognormal(math.log(mean) - variance / 2, math.sqrt(variance))
    return ciw.dists.Gamma(1 / scv, mean * scv)


def simulate(system: System, seed: int, room: float = math.inf) -> list[float]:
    """Waits of the jobs that were let in, in the order of their arrival."""
    network = ciw.create_network(
        arrival_distributions=[times(1 / system.arrival_rate, system.arrival_scv)],
        service_distributions=[times(1.0, system.service_scv, heavy_tailed=system.heavy_tailed)],
        number_of_servers=[system.servers],
        queue_capacities=[room],
    )
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(WARM_UP + system.jobs + CUT, method="Arrive")
    served = [record for record in simulation.get_all_records() if record.record_type == "service"]
    served.sort(key=lambda record: record.arrival_date)
    return [record.waiting_time for record in served[WARM_UP:-CUT]]


@functools.cache
def runs(system: System, room: float = math.inf) -> list[list[float]]:
    return [simulate(system, seed, room) for seed in range(RUNS)]


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 99.9 % t-interval."""
    return statistics.fmean(samples), T_999 * statistics.stdev(samples) / math.sqrt(len(samples))
