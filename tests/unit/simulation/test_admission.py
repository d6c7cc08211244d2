"""Admission in virtual time: the product's limits, on what its gate would know."""

from __future__ import annotations

import pytest

from littleq.policies import admission as policy
from littleq.policies.scaling import ScalingSettings
from littleq.simulation.admission import AdmissionRule, Gatekeeper
from littleq.simulation.engine import simulate
from littleq.simulation.fleet import Fleet
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.workload import from_shape
from tests.simulation.fixed_pool import Planned

SETTINGS = ScalingSettings(sla_seconds=10.0)


def fleet_of(workers: int) -> Fleet:
    fleet = Fleet(1, 0.0)
    fleet.ask(0.0, workers)
    fleet.open(0.0)
    return fleet


def test_a_contract_bounds_what_waits_and_runs_together() -> None:
    gate = Gatekeeper(AdmissionRule("contract", 0.5), SETTINGS)  # 5 jobs
    services, starts = [4.0, 9.0], [0.0, 0.0]
    assert gate.admits(1.0, 2, fleet_of(2), services, starts)
    assert not gate.admits(2.0, 3, fleet_of(2), services, starts)
    assert gate.admits(4.0, 3, fleet_of(2), services, starts)  # one of the two has ended


def test_capacity_begins_with_jobs_per_worker_and_goes_on_with_what_it_measured() -> None:
    gate, fleet = Gatekeeper(AdmissionRule("capacity"), SETTINGS), fleet_of(2)
    assert gate.admits(0.0, 2 * SETTINGS.jobs_per_worker - 1, fleet, [], [])
    assert not gate.admits(0.5, 2 * SETTINGS.jobs_per_worker, fleet, [], [])
    limit = policy.capacity_limit(
        servers=2, service_time=1.0, service_scv=0.0, sla_seconds=10.0, percentile=99.0, sojourn=False,
        worker_processes=2, jobs_per_worker=8,
    )  # fmt: skip
    services, starts = [1.0] * 4, [0.0, 0.0, 1.0, 1.0]
    bound = policy.open_to(limit, 1.0)
    assert gate.admits(5.0, bound - 1, fleet, services, starts)
    assert not gate.admits(5.5, bound, fleet, services, starts)


def test_what_is_admitted_by_capacity_keeps_its_promise_on_a_pool_that_is_far_too_small() -> None:
    workload = from_shape(parse_shape("poisson:30", 600.0), parse_service("exp:0.5"), seconds=600.0, seed=2)
    settings = ScalingSettings(sla_seconds=5.0)
    run = simulate(
        workload, Planned([6], 5.0), settings, initial_workers=6, admission=AdmissionRule("capacity")
    )
    assert len(run.shed) > 0.4 * len(workload.arrivals)
    late = sum(wait > 5.0 for wait in run.waits)
    assert late <= 0.02 * len(
        run.arrivals
    )  # 1 % in the long run: the limit is measured anew each second, with noise
    assert max(run.waits) > 3.0  # and it is no empty promise: the queue is as long as it may be


def test_a_fleet_without_workers_still_lets_somebody_in_to_wake_it() -> None:
    assert Gatekeeper(AdmissionRule("capacity"), SETTINGS).admits(0.0, 0, fleet_of(0), [], [])


@pytest.mark.parametrize("waiting", [0, 100])
def test_measurements_older_than_a_minute_are_forgotten(waiting: int) -> None:
    gate, fleet = Gatekeeper(AdmissionRule("capacity"), SETTINGS), fleet_of(2)
    gate.admits(0.0, 0, fleet, [], [])
    gate.admits(5.0, 0, fleet, [1.0], [0.0])
    assert gate._measured(5.0)[0] == 1.0
    for second in range(6, 80):
        gate.admits(float(second), waiting, fleet, [1.0], [0.0])
    assert gate._measured(80.0) == (None, None)
