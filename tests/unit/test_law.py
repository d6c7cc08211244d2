"""`littleq.law` against published tables, hand derivations, exact arithmetic and the field's identities."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from littleq import law
from littleq.errors import UnstableQueueError, ValidationError

fleets = st.integers(1, 300)
utilizations = st.floats(0.01, 0.999)
service_times = st.floats(1e-3, 1e3)
percentiles = st.floats(50.0, 99.99)
variabilities = st.floats(0.0, 25.0)


def for_all(**examples: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`given` without a deadline: a busy machine is no failure."""
    return lambda test: settings(deadline=None)(given(**examples)(test))


def recurrence_erlang_b(offered_load: float, servers: int) -> float:
    """The textbook loop from 0 servers up, which law.py does not use."""
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = offered_load * blocked / (server + offered_load * blocked)
    return blocked


def exact_erlang_b(offered_load: Fraction, servers: int) -> Fraction:
    """B = (a^c / c!) / Σ a^k / k!, in rationals."""
    terms = [Fraction(1)]
    for server in range(1, servers + 1):
        terms.append(terms[-1] * offered_load / server)
    return terms[-1] / sum(terms)


def poisson_at_least(jobs: int, mean: float) -> float:
    """P(Poisson(mean) >= jobs), summed term by term on the smaller side."""

    def mass(count: int) -> float:
        return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))

    if jobs > mean:
        return math.fsum(mass(count) for count in range(jobs, jobs + int(40 * math.sqrt(mean)) + 60))
    return 1.0 - math.fsum(mass(count) for count in range(max(0, jobs - int(40 * math.sqrt(mean))), jobs))


# --- Little's Law -------------------------------------------------------------------------------------------


@for_all(arrival_rate=st.floats(1e-6, 1e6), sojourn_time=st.floats(1e-6, 1e6))
def test_the_three_forms_of_littles_law_are_one(arrival_rate: float, sojourn_time: float) -> None:
    number = law.little_number_in_system(arrival_rate, sojourn_time)
    assert law.little_arrival_rate(number, sojourn_time) == pytest.approx(arrival_rate)
    assert law.little_sojourn_time(number, arrival_rate) == pytest.approx(sojourn_time)


@for_all(servers=fleets, utilization=utilizations, service_time=service_times)
def test_queue_length_is_arrival_rate_times_wait(
    servers: int, utilization: float, service_time: float
) -> None:
    arrival_rate = utilization * servers / service_time
    wait = law.mmc_waiting_time(arrival_rate, service_time, servers)
    length = law.mmc_queue_length(arrival_rate, service_time, servers)
    assert length == pytest.approx(law.little_number_in_system(arrival_rate, wait))


def test_offered_load_and_utilization() -> None:
    assert law.offered_load(40.0, 0.25) == 10.0
    assert law.utilization(40.0, 0.25, 16) == 0.625
    assert law.utilization(40.0, 0.25, 5) == 2.0  # no error: how far demand is ahead is worth knowing


@pytest.mark.parametrize(
    ("arrival_rate", "sla_seconds", "jobs"),
    [
        (20.0, 1.0, 20),
        (2.999, 1.0, 2),
        (0.29, 100.0, 29),  # 28.999999999999996 in floats
        (1.1, 10.0, 11),  # 11.000000000000002
        (0.1, 1.0, 1),  # never 0: such a queue would admit nothing
        (0.0, 60.0, 1),
        (1e5, 3600.0, 360_000_000),
    ],
)
def test_queue_limit_is_arrival_rate_times_sla(arrival_rate: float, sla_seconds: float, jobs: int) -> None:
    assert law.queue_limit(arrival_rate, sla_seconds) == jobs


@for_all(hundredths=st.integers(1, 10**6), sla_seconds=st.integers(1, 3600))
def test_queue_limit_loses_no_job_to_float_noise(hundredths: int, sla_seconds: int) -> None:
    assert law.queue_limit(hundredths / 100, float(sla_seconds)) == max(1, hundredths * sla_seconds // 100)


# --- Erlang B and C -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "blocking", "load", "unit"),
    [
        # The Erlang B table that telephony textbooks print: the load at which a group of N lines loses the
        # given share of its calls; `unit` is the last printed digit.
        (1, 0.01, 0.0101, 1e-4),
        (2, 0.01, 0.153, 1e-3),
        (5, 0.01, 1.36, 1e-2),
        (10, 0.001, 3.09, 1e-2),
        (10, 0.01, 4.46, 1e-2),
        (10, 0.02, 5.08, 1e-2),
        (10, 0.05, 6.22, 1e-2),
        (10, 0.10, 7.51, 1e-2),
        (20, 0.01, 12.0, 1e-1),
        (30, 0.02, 21.9, 1e-1),
        (50, 0.01, 37.9, 1e-1),
        (100, 0.001, 75.2, 1e-1),
        (100, 0.01, 84.1, 1e-1),
        (15, 0.01, 8.108, 1e-3),  # erlang.com, "How much traffic can a trunk group handle?"
    ],
)
def test_erlang_b_agrees_with_the_table(servers: int, blocking: float, load: float, unit: float) -> None:
    assert law.erlang_b(load - unit / 2, servers) <= blocking <= law.erlang_b(load + unit / 2, servers)


@pytest.mark.parametrize(
    ("load", "servers", "waits"),
    [
        (2.0, 3, 4 / 9),  # by hand: B = (8/6) / (1 + 2 + 2 + 8/6) = 4/19, C = 3B / (3 - 2 + 2B) = 12/27
        (1.0, 2, 1 / 3),  # by hand: C(2) = a²/(2 + a)
        (0.0, 7, 0.0),
    ],
)
def test_erlang_c_agrees_with_the_derivation(load: float, servers: int, waits: float) -> None:
    assert law.erlang_c(load, servers) == pytest.approx(waits, abs=1e-15)


@pytest.mark.parametrize(
    ("arrival_rate", "service_time", "servers", "length", "wait"),
    [
        # Bronson, Operations Research (1982), problems 23.14, 23.16 and 24.6, as quoted at
        # http://web.ist.utl.pt/mcasquilho/compute/or/Fx-queuevars.php
        (0.5, 1.5, 1, 2.25, 4.5),  # minutes
        (1.0, 0.75, 1, 2.25, 2.25),  # minutes
        (300.0, 1 / 182.5, 3, 0.3525, 0.001175),  # years
    ],
)
def test_mmc_agrees_with_bronson(
    arrival_rate: float, service_time: float, servers: int, length: float, wait: float
) -> None:
    assert law.mmc_queue_length(arrival_rate, service_time, servers) == pytest.approx(length, rel=0.002)
    assert law.mmc_waiting_time(arrival_rate, service_time, servers) == pytest.approx(wait, rel=0.001)


@pytest.mark.parametrize(
    ("servers", "length", "wait_hours", "tail"),
    # Hillier & Lieberman, Introduction to Operations Research, the County Hospital emergency room: λ = 2/h,
    # μ = 3/h; the tail at 0, 1/2 and 1 h. The book cuts 0.0226 to 0.022.
    [(1, 4 / 3, 2 / 3, [0.667, 0.404, 0.245]), (2, 1 / 12, 1 / 24, [0.167, 0.022, 0.003])],
)
def test_mmc_agrees_with_the_county_hospital(
    servers: int, length: float, wait_hours: float, tail: list[float]
) -> None:
    assert law.mmc_queue_length(2.0, 1 / 3, servers) == pytest.approx(length)
    assert law.mmc_waiting_time(2.0, 1 / 3, servers) == pytest.approx(wait_hours)
    computed = [law.mmc_waiting_time_tail(2.0, 1 / 3, servers, hours) for hours in (0.0, 0.5, 1.0)]
    assert computed == pytest.approx(tail, abs=0.001)


def test_mmc_agrees_with_the_eye_clinic() -> None:
    """Gross et al., Fundamentals of Queueing Theory: 6 patients/h, 20 minutes each, 3 doctors."""
    assert law.mmc_queue_length(6.0, 1 / 3, 3) == pytest.approx(8 / 9)
    assert law.mmc_waiting_time(6.0, 1 / 3, 3) == pytest.approx(4 / 27)  # h, 8.9 min


def test_mmc_agrees_with_the_call_centre() -> None:
    """Mitan, Call Centre Maths: 0.2 calls/s of 240 s, 55 agents: 23.9 % wait, 8.2 s; 84.5 % within 15 s."""
    assert law.erlang_c(48.0, 55) == pytest.approx(0.239, abs=0.0005)
    assert law.mmc_waiting_time(0.2, 240.0, 55) == pytest.approx(8.2, abs=0.05)
    assert 1 - law.mmc_waiting_time_tail(0.2, 240.0, 55, 15.0) == pytest.approx(0.845, abs=0.0011)


@for_all(servers=st.integers(1, 60), numerator=st.integers(1, 12_000))
def test_erlang_b_agrees_with_exact_arithmetic(servers: int, numerator: int) -> None:
    load = Fraction(numerator, 100)
    assert law.erlang_b(float(load), servers) == pytest.approx(
        float(exact_erlang_b(load, servers)), rel=1e-12
    )


@pytest.mark.parametrize("servers", [1000, 10_000, 100_000])
@pytest.mark.parametrize("utilization", [0.9, 0.99, 1 - 1e-6, 1.0, 1.5])
def test_erlang_b_agrees_with_the_recurrence_for_large_fleets(servers: int, utilization: float) -> None:
    load = utilization * servers
    assert law.erlang_b(load, servers) == pytest.approx(recurrence_erlang_b(load, servers), rel=1e-9)


@for_all(servers=fleets, utilization=st.floats(0.0, 1.0, exclude_max=True))
def test_erlang_c_is_a_probability_above_erlang_b(servers: int, utilization: float) -> None:
    load = utilization * servers
    assume(load < servers)
    blocked = law.erlang_b(load, servers)
    assert 0.0 <= blocked * (1 - 1e-12) <= law.erlang_c(load, servers) <= 1.0


@for_all(load=st.floats(0.0, 1.0, exclude_max=True))
def test_one_server_makes_wait_what_it_is_busy(load: float) -> None:
    assert law.erlang_c(load, 1) == pytest.approx(load)


# --- M/M/c, M/G/1, G/G/c ------------------------------------------------------------------------------------


@for_all(servers=fleets, utilization=utilizations, service_time=service_times)
def test_wait_falls_with_servers(servers: int, utilization: float, service_time: float) -> None:
    arrival_rate = utilization * servers / service_time
    more = law.mmc_waiting_time(arrival_rate, service_time, servers + 1)
    assert more <= law.mmc_waiting_time(arrival_rate, service_time, servers)


@for_all(servers=fleets, utilization=utilizations, less=st.floats(0.1, 0.999), service_time=service_times)
def test_wait_rises_with_arrival_rate(
    servers: int, utilization: float, less: float, service_time: float
) -> None:
    arrival_rate = utilization * servers / service_time
    lower = law.mmc_waiting_time(less * arrival_rate, service_time, servers)
    assert lower <= law.mmc_waiting_time(arrival_rate, service_time, servers)


@for_all(
    servers=fleets,
    utilization=utilizations,
    factor=st.floats(0.01, 100.0),
    scv=variabilities,
    seconds=st.floats(0, 9),
)
def test_a_clock_that_runs_k_times_as_fast_divides_waits_by_k(
    servers: int, utilization: float, factor: float, scv: float, seconds: float
) -> None:
    arrival_rate = utilization * servers
    wait = law.ggc_waiting_time(arrival_rate, 1.0, servers, service_scv=scv)
    fast = law.ggc_waiting_time(factor * arrival_rate, 1.0 / factor, servers, service_scv=scv)
    assert fast * factor == pytest.approx(wait, rel=1e-9)
    tail = law.ggc_waiting_time_tail(arrival_rate, 1.0, servers, seconds, service_scv=scv)
    fast = law.ggc_waiting_time_tail(
        factor * arrival_rate, 1.0 / factor, servers, seconds / factor, service_scv=scv
    )
    assert fast == pytest.approx(tail, rel=1e-9, abs=1e-300)


@for_all(servers=fleets, utilization=utilizations, service_time=service_times, percentile=percentiles)
def test_the_quantile_inverts_the_tail(
    servers: int, utilization: float, service_time: float, percentile: float
) -> None:
    arrival_rate = utilization * servers / service_time
    wait = law.mmc_waiting_time_quantile(arrival_rate, service_time, servers, percentile)
    tail = law.mmc_waiting_time_tail(arrival_rate, service_time, servers, wait)
    if wait > 0:
        assert tail == pytest.approx((100 - percentile) / 100)
    else:
        assert tail <= (100 - percentile) / 100


@for_all(servers=fleets, utilization=utilizations, arrival_scv=variabilities, service_scv=variabilities)
def test_the_tail_of_ggc_has_its_mean(
    servers: int, utilization: float, arrival_scv: float, service_scv: float
) -> None:
    """An exponential tail falls to 1/e of P(Wq > 0) at the mean wait of those who wait, E[Wq] / P(Wq > 0)."""
    arrival_rate = utilization * servers
    mean = law.ggc_waiting_time(arrival_rate, 1.0, servers, arrival_scv=arrival_scv, service_scv=service_scv)
    assume(mean > 1e-200)

    def tail(seconds: float) -> float:
        return law.ggc_waiting_time_tail(
            arrival_rate, 1.0, servers, seconds, arrival_scv=arrival_scv, service_scv=service_scv
        )

    conditional = mean / tail(0.0)
    assert tail(conditional) == pytest.approx(tail(0.0) / math.e)


@for_all(utilization=utilizations, service_time=service_times, service_scv=variabilities)
def test_ggc_with_one_server_and_poisson_arrivals_is_pollaczek_khinchine(
    utilization: float, service_time: float, service_scv: float
) -> None:
    arrival_rate = utilization / service_time
    exact = law.mg1_waiting_time(arrival_rate, service_time, service_scv)
    assert law.ggc_waiting_time(arrival_rate, service_time, 1, service_scv=service_scv) == pytest.approx(
        exact
    )


@pytest.mark.parametrize(
    ("service_scv", "wait"),
    # By hand at λ = 0.8, S = 1: Wq = λ E[S²] / 2(1 - ρ) = 2 E[S²], and E[S²] = 1 + cs².
    [(0.0, 2.0), (0.25, 2.5), (1.0, 4.0), (4.0, 10.0)],
)
def test_mg1_by_hand(service_scv: float, wait: float) -> None:
    assert law.mg1_waiting_time(0.8, 1.0, service_scv) == pytest.approx(wait)


def test_deterministic_service_halves_the_wait() -> None:
    assert law.md1_waiting_time(0.8, 1.0) == pytest.approx(law.mm1_waiting_time(0.8, 1.0) / 2)


def test_nobody_waits_where_all_is_clockwork() -> None:
    assert law.ggc_waiting_time(2.9, 1.0, 3, arrival_scv=0.0, service_scv=0.0) == 0.0
    assert law.ggc_waiting_time_tail(2.9, 1.0, 3, 0.0, arrival_scv=0.0, service_scv=0.0) == 0.0
    assert law.servers_for_tail(2.9, 1.0, 0.1, 99.0, arrival_scv=0.0, service_scv=0.0) == 3


# --- sizing -------------------------------------------------------------------------------------------------


@for_all(
    load=st.floats(0.0, 500.0),
    service_time=service_times,
    services=st.floats(1e-3, 20.0),
    percentile=percentiles,
    scv=st.fixed_dictionaries({"arrival_scv": variabilities, "service_scv": variabilities}),
)
def test_the_recommended_servers_meet_the_sla_and_one_less_does_not(
    load: float, service_time: float, services: float, percentile: float, scv: dict[str, float]
) -> None:
    arrival_rate, sla_seconds, miss = load / service_time, services * service_time, (100 - percentile) / 100
    servers = law.servers_for_tail(arrival_rate, service_time, sla_seconds, percentile, **scv)
    # 1e-9: the search carries Erlang B forward, the tail computes it afresh
    tail = law.ggc_waiting_time_tail(arrival_rate, service_time, servers, sla_seconds, **scv)
    assert tail <= miss * (1 + 1e-9)
    if servers - 1 > law.offered_load(arrival_rate, service_time):
        tail = law.ggc_waiting_time_tail(arrival_rate, service_time, servers - 1, sla_seconds, **scv)
        assert tail > miss * (1 - 1e-9)


@pytest.mark.parametrize("load", [0.5, 7.0, 95.5, 990.0, 9_900.0, 99_500.0])
@pytest.mark.parametrize(("services", "percentile"), [(0.001, 99.9), (0.1, 95.0), (2.0, 80.0)])
def test_sizing_agrees_with_the_plain_search(load: float, services: float, percentile: float) -> None:
    blocked, servers, tail = 1.0, 0, 1.0
    while tail > (100 - percentile) / 100:
        servers += 1
        blocked = load * blocked / (servers + load * blocked)
        if servers > load:
            waits = blocked / (1 - load / servers * (1 - blocked))
            tail = waits * math.exp(-(servers - load) * services)
    assert law.servers_for_tail(load, 1.0, services, percentile) == servers


def test_an_idle_queue_needs_one_server() -> None:
    assert law.servers_for_tail(0.0, 1.0, 1.0, 99.0) == 1


@for_all(load=st.floats(0.1, 5_000.0), beta=st.floats(0.01, 5.0))
def test_square_root_staffing_is_the_load_and_a_margin(load: float, beta: float) -> None:
    servers = law.square_root_staffing(load, beta)
    assert servers > load
    assert servers - 1 < load + beta * math.sqrt(load) <= servers


@for_all(beta=st.floats(1e-6, 30.0))
def test_halfin_whitt_beta_inverts_the_wait_probability(beta: float) -> None:
    waits = law.halfin_whitt_wait_probability(beta)
    assert 0.0 < waits < 1.0
    assert law.halfin_whitt_beta(waits) == pytest.approx(beta, rel=1e-6)


def test_halfin_whitt_by_hand() -> None:
    """φ(1) = 0.241971 and Φ(1) = 0.841345 (any normal table): 1 / (1 + 0.841345 / 0.241971) = 0.22336."""
    assert law.halfin_whitt_wait_probability(1.0) == pytest.approx(0.22336, abs=1e-5)


@pytest.mark.parametrize("beta", [0.25, 1.0, 2.0])
def test_erlang_c_tends_to_halfin_whitt(beta: float) -> None:
    """The theorem: with c = a + β√a and a → ∞, C(c, a) → α(β), with an error of the order 1/√a."""
    limit = law.halfin_whitt_wait_probability(beta)
    for servers in (100, 10_000, 90_000):
        root = (-beta + math.sqrt(beta * beta + 4 * servers)) / 2  # √a with a + β√a = c
        assert law.erlang_c(root * root, servers) == pytest.approx(limit, rel=2 * beta / root + 1 / root)


# --- capacity limit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "chi_square"),
    # P(Poisson(m) >= K) = P(χ² with 2K degrees of freedom <= 2m): the 95 % column of any χ² table.
    [(1, 5.991), (2, 9.488), (5, 18.307), (10, 31.410), (15, 43.773), (30, 79.082), (50, 124.342)],
)
def test_capacity_limit_agrees_with_the_chi_square_table(jobs: int, chi_square: float) -> None:
    assert law.capacity_limit(1, 1.0, (chi_square + 0.001) / 2, 95.0) == jobs
    assert law.capacity_limit(1, 1.0, (chi_square - 0.001) / 2, 95.0) == jobs - 1
    # servers and service time enter as c/S only
    assert law.capacity_limit(10, 5.0, (chi_square + 0.001) / 4, 95.0) == jobs


@pytest.mark.parametrize(
    ("jobs", "scv", "chi_square"),
    # shape 1 + (K - 1)/scv, so 2 + 2(K - 1)/scv degrees of freedom: the 99 % column.
    [(1, 3.0, 9.210), (3, 2.0, 13.277), (9, 4.0, 16.812), (91, 10.0, 37.566)],
)
def test_variable_jobs_leave_in_bunches(jobs: int, scv: float, chi_square: float) -> None:
    assert law.capacity_limit(1, 1.0, scv * (chi_square + 0.001) / 2, 99.0, scv) == jobs
    assert law.capacity_limit(1, 1.0, scv * (chi_square - 0.001) / 2, 99.0, scv) == jobs - 1


@for_all(
    servers=st.integers(1, 100),
    service_time=service_times,
    services=st.floats(0.01, 20.0),
    percentile=percentiles,
)
def test_the_last_admitted_job_starts_in_time_and_one_more_would_not(
    servers: int, service_time: float, services: float, percentile: float
) -> None:
    jobs = law.capacity_limit(servers, service_time, services * service_time, percentile)
    mean = servers * services
    assert jobs == 0 or poisson_at_least(jobs, mean) >= percentile / 100 - 1e-7
    assert poisson_at_least(jobs + 1, mean) < percentile / 100 + 1e-7


@pytest.mark.parametrize("mean", [1_100.0, 12_345.6, 100_000.0])
@pytest.mark.parametrize("percentile", [1.0, 50.0, 95.0, 99.99])
def test_large_capacity_limits_agree_with_the_poisson_sum(mean: float, percentile: float) -> None:
    jobs = law.capacity_limit(1000, 1.0, mean / 1000, percentile)
    assert poisson_at_least(jobs, mean) >= percentile / 100 - 1e-7
    assert poisson_at_least(jobs + 1, mean) < percentile / 100 + 1e-7


@for_all(
    servers=st.integers(1, 3000),
    services=st.floats(0.01, 20.0),
    percentile=percentiles,
    scv=variabilities,
    more=st.floats(1.0, 3.0),
)
def test_capacity_limit_is_monotone(
    servers: int, services: float, percentile: float, scv: float, more: float
) -> None:
    limit = law.capacity_limit(servers, 1.0, services, percentile, scv)
    assert law.capacity_limit(servers + 1, 1.0, services, percentile, scv) >= limit
    assert law.capacity_limit(servers, 1.0, services * more, percentile, scv) >= limit
    assert law.capacity_limit(servers, more, services, percentile, scv) <= limit
    assert law.capacity_limit(servers, 1.0, services, min(99.999, percentile * more), scv) <= limit
    assert law.capacity_limit(servers, 1.0, services, percentile, scv * more) <= limit


def test_regular_jobs_gain_nothing_that_depends_on_their_phases() -> None:
    assert law.capacity_limit(20, 1.0, 5.0, 95.0, 0.0) == law.capacity_limit(20, 1.0, 5.0, 95.0, 1.0)


def test_capacity_limit_stays_below_the_fluid_limit_for_high_percentiles() -> None:
    """μc × SLA is what a fleet clears on average, which half of the time is too much to promise."""
    assert law.capacity_limit(10, 0.5, 2.0, 99.0) == 26 < law.capacity_limit(10, 0.5, 2.0, 50.0) == 40


@pytest.mark.parametrize(
    ("servers", "service_time", "sla_seconds"),
    [(0, 1.0, 60.0), (1, 5.0, 2.0), (10**6, 1.0, 1e-300)],
)
def test_no_job_may_wait_that_cannot_start_in_time(
    servers: int, service_time: float, sla_seconds: float
) -> None:
    assert law.capacity_limit(servers, service_time, sla_seconds, 95.0) == 0


# --- drain --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backlog", "servers", "arrival_rate", "seconds"),
    [
        (600, 10, 0.0, 30.0),  # 600 jobs at 10 / 0.5 s = 20/s
        (600, 10, 10.0, 60.0),  # 10/s are left over
        (0, 10, 10.0, 0.0),
        (0, 0, 10.0, 0.0),  # nothing waits now, whatever comes next
        (600, 5, 10.0, math.inf),
        (600, 5, 11.0, math.inf),
        (1, 0, 0.0, math.inf),
    ],
)
def test_drain_time_by_hand(backlog: float, servers: int, arrival_rate: float, seconds: float) -> None:
    assert law.drain_time(backlog, servers, 0.5, arrival_rate) == pytest.approx(seconds)


# --- extremes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("servers", [1, 2, 1000, 100_000, law.MAX_SERVERS])
@pytest.mark.parametrize("spare", [1e-3, 1e-9, 1e-12, 2.0**-53])
def test_loads_arbitrarily_close_to_the_servers_stay_finite(servers: int, spare: float) -> None:
    load = servers * (1 - spare)
    waits = law.erlang_c(load, servers)
    wait = law.mmc_waiting_time(load, 1.0, servers)
    assert 0.0 < waits <= 1.0
    # Heavy traffic: all wait, for S/(c - a) on average.
    if spare * math.sqrt(servers) < 1e-8:
        assert waits == pytest.approx(1.0, abs=1e-7)
        assert wait == pytest.approx(1 / (servers - load), rel=1e-7)
    assert math.isfinite(wait)
    assert math.isfinite(law.mmc_queue_length(load, 1.0, servers))
    assert math.isfinite(law.mmc_waiting_time_quantile(load, 1.0, servers, 99.9))
    assert 0.0 <= law.mmc_waiting_time_tail(load, 1.0, servers, 60.0) <= 1.0


@pytest.mark.parametrize("load", [0.0, 5e-324, 1e-12, 1.0, 50_000.0])
def test_idle_large_fleets_underflow_to_zero_and_not_to_nan(load: float) -> None:
    assert law.erlang_b(load, 100_000) == 0.0
    assert law.erlang_c(load, 100_000) == 0.0
    assert law.mmc_waiting_time(load, 1.0, 100_000) == 0.0
    assert law.mmc_waiting_time_tail(load, 1.0, 100_000, 1e300) == 0.0


def test_overloaded_erlang_b_loses_what_does_not_fit() -> None:
    """a → ∞: B → 1 - c/a."""
    assert law.erlang_b(1e12, 100_000) == pytest.approx(1 - 1e-7, rel=1e-12)
    assert law.erlang_b(1e308, 100_000) == 1.0


def test_the_largest_fleets_are_sized() -> None:
    servers = law.servers_for_tail(99_900.0, 1.0, 0.1, 99.0)
    assert 99_900 < servers < 99_900 + 3 * math.sqrt(99_900)
    assert law.servers_for_tail(law.MAX_SERVERS - 1.0, 1.0, 10.0, 50.0) == law.MAX_SERVERS


def test_capacity_limits_of_a_billion_jobs_are_found() -> None:
    limit = law.capacity_limit(100_000, 0.001, 3600.0, 99.0)
    mean = 100_000 / 0.001 * 3600.0
    assert limit == pytest.approx(mean - 2.3263 * math.sqrt(mean), abs=3e-4 * math.sqrt(mean))


# --- validation ---------------------------------------------------------------------------------------------

FLEET: dict[str, Any] = {"arrival_rate": 2.0, "service_time": 1.0, "servers": 3}
PROMISE: dict[str, Any] = {"sla_seconds": 1.0, "percentile": 95.0}
SCV: dict[str, Any] = {"arrival_scv": 1.0, "service_scv": 1.0}

LEGAL: dict[Callable[..., float], dict[str, Any]] = {
    law.little_number_in_system: {"arrival_rate": 2.0, "sojourn_time": 1.0},
    law.little_arrival_rate: {"number_in_system": 2.0, "sojourn_time": 1.0},
    law.little_sojourn_time: {"number_in_system": 2.0, "arrival_rate": 1.0},
    law.offered_load: {"arrival_rate": 2.0, "service_time": 1.0},
    law.utilization: FLEET,
    law.queue_limit: {"arrival_rate": 2.0, "sla_seconds": 1.0},
    law.capacity_limit: {"servers": 3, "service_time": 1.0, "scv": 1.0, **PROMISE},
    law.erlang_b: {"offered_load": 2.0, "servers": 3},
    law.erlang_c: {"offered_load": 2.0, "servers": 3},
    law.mmc_waiting_time: FLEET,
    law.mmc_queue_length: FLEET,
    law.mmc_waiting_time_tail: {"seconds": 1.0, **FLEET},
    law.mmc_waiting_time_quantile: {"percentile": 95.0, **FLEET},
    law.mm1_waiting_time: {"arrival_rate": 0.5, "service_time": 1.0},
    law.md1_waiting_time: {"arrival_rate": 0.5, "service_time": 1.0},
    law.mg1_waiting_time: {"arrival_rate": 0.5, "service_time": 1.0, "service_scv": 1.0},
    law.ggc_waiting_time: {**FLEET, **SCV},
    law.ggc_waiting_time_tail: {"seconds": 1.0, **FLEET, **SCV},
    law.servers_for_tail: {"arrival_rate": 2.0, "service_time": 1.0, **PROMISE, **SCV},
    law.square_root_staffing: {"offered_load": 2.0, "beta": 1.0},
    law.halfin_whitt_wait_probability: {"beta": 1.0},
    law.halfin_whitt_beta: {"wait_probability": 0.2},
    law.drain_time: {"backlog": 2.0, **FLEET},
    law.gamma_cdf: {"shape": 2.0, "x": 1.0},
}

ILLEGAL: dict[str, list[Any]] = {
    "servers": [-1, 2.5, 3.0, "3", None, math.nan, law.MAX_SERVERS + 1],
    "percentile": [0.0, 0.95, 100, 100.0, -5, math.nan, math.inf, "95", None],
    "wait_probability": [0.0, -0.1, 1.0, 2, math.nan, "0.2", None],
}
ILLEGAL_NUMBERS = [-1, -1e-300, math.nan, math.inf, -math.inf, 10**400, "1", None]
NEVER_ZERO = {"service_time", "sla_seconds", "beta", "shape"}
NEED_NO_STEADY_STATE = {law.utilization, law.capacity_limit, law.erlang_b, law.drain_time}


def illegal_calls() -> list[Any]:
    calls = []
    for function, arguments in LEGAL.items():
        for name in arguments:
            values = ILLEGAL.get(name, ILLEGAL_NUMBERS + [0.0] * (name in NEVER_ZERO))
            calls += [
                pytest.param(function, name, value, id=f"{function.__name__}-{name}-{value!s:.9}")
                for value in values
            ]
    calls.append(pytest.param(law.little_arrival_rate, "sojourn_time", 0.0, id="little_arrival_rate-zero"))
    calls.append(pytest.param(law.little_sojourn_time, "arrival_rate", 0.0, id="little_sojourn_time-zero"))
    calls += [
        pytest.param(function, "servers", 0, id=f"{function.__name__}-no-servers")
        for function in LEGAL
        if "servers" in LEGAL[function] and function not in (law.capacity_limit, law.drain_time)
    ]
    return calls


def test_every_function_and_argument_is_validated() -> None:
    public = {
        function: set(inspect.signature(function).parameters)
        for name, function in inspect.getmembers(law, inspect.isfunction)
        if function.__module__ == law.__name__ and not name.startswith("_")
    }
    assert {function: set(arguments) for function, arguments in LEGAL.items()} == public
    for function, arguments in LEGAL.items():
        assert math.isfinite(function(**arguments))


@pytest.mark.parametrize(("function", "name", "value"), illegal_calls())
def test_an_illegal_argument_is_refused_in_one_clear_sentence(
    function: Callable[..., float], name: str, value: Any
) -> None:
    with pytest.raises(ValidationError) as refusal:
        function(**{**LEGAL[function], name: value})
    # the value seen; the legal range: the next step
    assert re.fullmatch(
        rf"{name} is {re.escape(repr(value))}; it must be [^:]+: (pass|write) [^:]+\.", str(refusal.value)
    )


@pytest.mark.parametrize(
    "function", [f for f in LEGAL if "servers" in LEGAL[f] and f not in NEED_NO_STEADY_STATE]
)
@pytest.mark.parametrize("excess", [0.0, 1e-9, 5.0])
def test_a_load_that_reaches_the_servers_is_unstable(function: Callable[..., float], excess: float) -> None:
    load = "offered_load" if "offered_load" in LEGAL[function] else "arrival_rate"
    with pytest.raises(
        UnstableQueueError, match=r"on 3 servers; it must be below the number of servers: add"
    ):
        function(**{**LEGAL[function], load: 3.0 + excess})


@pytest.mark.parametrize("function", [law.mm1_waiting_time, law.md1_waiting_time, law.mg1_waiting_time])
def test_a_load_that_reaches_one_server_is_unstable(function: Callable[..., float]) -> None:
    with pytest.raises(UnstableQueueError, match=r"^The offered load is 1 erlangs on 1 servers; "):
        function(**{**LEGAL[function], "arrival_rate": 1.0})


@pytest.mark.parametrize(
    "call",
    [
        lambda: law.servers_for_tail(1e6, 1.0, 1.0, 95.0),
        lambda: law.servers_for_tail(1e200, 1e200, 1.0, 95.0),  # overflows to inf
        lambda: law.queue_limit(1e200, 1e200),
        lambda: law.queue_limit(1e10, 1e10),
        lambda: law.capacity_limit(10, 1e-300, 1e300, 95.0),
        lambda: law.square_root_staffing(1e16, 1.0),
    ],
)
def test_a_result_that_only_a_wrong_unit_explains_is_refused(call: Callable[[], float]) -> None:
    with pytest.raises(ValidationError, match=r" is (1e\+\d+|inf) .*; it must be .*: check that "):
        call()


def test_one_except_clause_catches_both_errors() -> None:
    assert issubclass(UnstableQueueError, ValueError)
    assert issubclass(ValidationError, ValueError)
