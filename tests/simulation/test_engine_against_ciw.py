"""The engine against Ciw, a simulator that shares no code with it, job by job.

Both get the same arrivals and service times, so every single wait must be the same, up to the rounding of sums:
no statistics, no chance.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.admission import AdmissionRule
from littleq.simulation.engine import simulate
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.workload import Workload, from_shape
from tests.simulation.fixed_pool import Planned, fixed

ciw = pytest.importorskip("ciw", reason="the simulator is not installed: pip install ciw")

ROUNDING = 1e-6


def ciw_records(workload: Workload, servers: int, room: float = float("inf")) -> list[tuple[float, float]]:
    """(arrival, wait) of the jobs that Ciw served, in the order of their arrival."""
    gaps = [later - earlier for earlier, later in itertools.pairwise([0.0, *workload.arrivals])]
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*gaps, float("inf")])],
        service_distributions=[ciw.dists.Sequential(list(workload.services))],
        number_of_servers=[servers],
        queue_capacities=[room],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(workload.seconds + 10 * workload.work)
    served = [record for record in simulation.get_all_records() if record.record_type == "service"]
    served.sort(key=lambda record: record.arrival_date)
    return [(record.arrival_date, record.waiting_time) for record in served]


def approximately(values: Sequence[float]) -> object:
    return pytest.approx(list(values), abs=ROUNDING)


@pytest.mark.parametrize(
    ("arrivals", "service", "servers"),
    [
        ("poisson:0.8", "exp:1", 1),
        ("poisson:0.8", "constant:1", 1),
        ("poisson:5", "exp:1", 6),
        ("poisson:5", "lognormal:1,cv=2", 6),
        ("onoff:12,30s,60s", "exp:1", 4),  # for minutes more than it can serve
        ("steady:2", "uniform:0.5..2.5", 3),
    ],
)
def test_every_job_waits_exactly_as_long_as_in_ciw(arrivals: str, service: str, servers: int) -> None:
    workload = from_shape(parse_shape(arrivals, 400.0), parse_service(service), seconds=400.0, seed=7)
    theirs = ciw_records(workload, servers)
    ours = fixed(workload, servers)
    assert len(theirs) == len(workload.arrivals) > 200
    assert [at for at, _ in theirs] == approximately(ours.arrivals)
    assert [wait for _, wait in theirs] == approximately(ours.waits)
    assert max(ours.waits) > 1.0


def test_threads_of_fewer_workers_serve_like_as_many_workers() -> None:
    workload = from_shape(parse_shape("poisson:5", 300.0), parse_service("exp:1"), seconds=300.0, seed=3)
    assert fixed(workload, 6, threads=3).waits == fixed(workload, 6).waits


def test_a_contract_refuses_exactly_the_jobs_that_find_no_room_in_ciw() -> None:
    """λ × SLA = 9 jobs, waiting or running: in Ciw three servers and room for six to wait."""
    rng = random.Random(5)
    arrivals = list(itertools.accumulate(rng.expovariate(4.0) for _ in range(1500)))
    # Constant services: a job that is refused takes none with it, in whatever order the two draw them.
    workload = Workload(arrivals, [1.0] * len(arrivals), arrivals[-1])
    settings = ScalingSettings(sla_seconds=3.0)
    run = simulate(
        workload,
        Planned([3], interval_seconds=5.0),
        settings,
        initial_workers=3,
        admission=AdmissionRule("contract", 3.0),
    )
    theirs = ciw_records(workload, 3, room=6)
    assert len(run.shed) > 100
    assert len(run.arrivals) + len(run.shed) == len(arrivals)
    assert [at for at, _ in theirs] == approximately(run.arrivals)
    assert [wait for _, wait in theirs] == approximately(run.waits)
