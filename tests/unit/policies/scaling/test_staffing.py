"""Servers for a steady rate: the law's answer, a little coarser, and never a crash."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq import law
from littleq.policies.scaling import staffing
from littleq.policies.scaling.staffing import servers_for

waits = st.floats(0.05, 20.0)


def test_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(staffing)
    assert results.attempted > 0
    assert results.failed == 0


@given(st.floats(0.01, 200.0), st.floats(0.05, 2.0), st.sampled_from([0.0, 0.5, 1.0, 2.0]), waits)
def test_the_answer_is_the_laws_for_a_load_that_is_hardly_larger(
    rate: float, service: float, scv: float, patience: float
) -> None:
    found = servers_for(rate, service, scv, patience, 99.0)
    grain = max(1.02 * rate, rate + 0.02 / service)
    least = law.servers_for_tail(rate, service, patience * 1.06, 99.0, service_scv=scv)
    most = law.servers_for_tail(grain, service, patience * 0.94, 99.0, service_scv=scv)
    assert least <= found <= most


@given(st.floats(0.0, 500.0), st.floats(0.0, 500.0), waits)
def test_more_jobs_never_need_fewer_servers(one: float, other: float, patience: float) -> None:
    few, many = sorted((one, other))
    assert servers_for(few, 0.5, 1.0, patience, 99.0) <= servers_for(many, 0.5, 1.0, patience, 99.0)


@given(st.floats(0.0, 500.0), waits, waits)
def test_more_patience_never_needs_more_servers(rate: float, one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert servers_for(rate, 0.5, 1.0, long, 99.0) <= servers_for(rate, 0.5, 1.0, short, 99.0)


@pytest.mark.parametrize(("rate", "service"), [(1e6, 1e4), (1.0, 1e12)])
def test_a_load_beyond_any_fleet_is_the_largest_answer(rate: float, service: float) -> None:
    assert servers_for(rate, service, 1.0, 1.0, 99.0) == law.MAX_SERVERS


def test_nothing_needs_nobody_and_anything_somebody() -> None:
    assert servers_for(0.0, 0.5, 1.0, 1.0, 99.0) == 0
    assert servers_for(1e-3, 0.5, 1.0, 1.0, 99.0) == 1
