"""Limits follow Little's Law; a judgement is a comparison."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.policies.admission import (
    MIN_RETRY_AFTER_SECONDS,
    QueueLimit,
    capacity_limit,
    contract_limit,
    judge,
)


def capacity(**changes: object) -> QueueLimit:
    arguments: dict[str, object] = {
        "servers": 8,
        "service_time": 0.1,
        "service_scv": 1.0,
        "sla_seconds": 1.0,
        "percentile": 99.0,
        "sojourn": False,
        "worker_processes": 1,
        "jobs_per_worker": 8,
    }
    return capacity_limit(**{**arguments, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "sla", "jobs"), [(20, 1, 20), (0.1, 600, 60), (1000, 0.25, 250), (0.1, 3, 1)]
)
def test_contract_is_littles_law(rate: float, sla: float, jobs: int) -> None:
    assert contract_limit(rate, sla).jobs == jobs


def test_capacity_leaves_room_for_chance() -> None:
    """8 servers of 0.1 s clear 80 jobs in 1 s on average; 99 % of the time they clear fewer."""
    limit = capacity()
    departures = 80.0
    tail = sum(
        math.exp(-departures + k * math.log(departures) - math.lgamma(k + 1)) for k in range(limit.jobs)
    )
    assert tail <= 0.01  # P(fewer departures within the SLA than jobs may wait)
    assert 0 < limit.jobs < 80
    assert capacity(percentile=50.0).jobs > limit.jobs


def test_sojourn_has_less_patience() -> None:
    assert capacity(sojourn=True).jobs < capacity().jobs
    assert capacity(sojourn=True, service_time=2.0).jobs == 0


def test_a_sleeping_fleet_can_still_be_woken() -> None:
    assert capacity(servers=0, worker_processes=0, service_time=None).jobs == 8
    assert judge(capacity(servers=0, service_time=5.0), number_in_system=0, share=1.0).admitted


def test_judge_counts_the_jobs_that_ask() -> None:
    limit = QueueLimit(jobs=10, departure_rate=5.0, servers=0, reason="")
    assert judge(limit, number_in_system=9, share=1.0).admitted
    refused = judge(limit, number_in_system=10, share=1.0)
    assert not refused.admitted
    assert refused.limit == 10
    assert refused.depth == 10
    assert refused.retry_after == pytest.approx(0.2)
    assert judge(limit, number_in_system=5, share=1.0, jobs=5).admitted
    assert not judge(limit, number_in_system=5, share=1.0, jobs=6).admitted


def test_criticality_closes_the_queue_earlier() -> None:
    limit = QueueLimit(jobs=10, departure_rate=5.0, servers=0, reason="")
    assert judge(limit, number_in_system=4, share=0.5).admitted
    assert not judge(limit, number_in_system=5, share=0.5).admitted


@given(
    jobs=st.integers(0, 10_000),
    depth=st.integers(0, 20_000),
    asking=st.integers(1, 100),
    share=st.floats(0.01, 1),
    rate=st.floats(0.001, 1e5),
)
def test_nothing_admitted_passes_the_limit(
    jobs: int, depth: int, asking: int, share: float, rate: float
) -> None:
    decision = judge(QueueLimit(jobs, rate, 0, ""), number_in_system=depth, share=share, jobs=asking)
    if decision.admitted:
        assert depth + asking <= jobs
        assert decision.retry_after == 0
    else:
        assert decision.retry_after >= MIN_RETRY_AFTER_SECONDS
