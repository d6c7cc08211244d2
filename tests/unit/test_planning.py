"""`littleq.planning`: hand-derived values and properties; tests/simulation holds it against simulations."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from littleq import law
from littleq.errors import ConfigurationError, UnstableQueueError, ValidationError
from littleq.planning import Demand, chance, plan
from littleq.planning.burst import ride

TWENTY = Demand(20.0, 0.2, 1.0, 99.0, service_scv=1.5)

demands = st.builds(
    Demand,
    arrival_rate=st.floats(0.1, 200.0),
    service_time=st.floats(0.01, 1.0),
    sla_seconds=st.floats(0.05, 30.0),
    percentile=st.floats(50.0, 99.9),
    service_scv=st.floats(0.0, 5.0),
    arrival_scv=st.floats(0.2, 5.0),
)


# --- the steady state


def test_the_pool_of_the_readme_by_hand() -> None:
    """a = 4, C(6, 4) = 0.28476, variability (1 + 1.5)/2, and exp(-2 × 5 / 1.25) of those wait over a second."""
    planned = plan(TWENTY, threads=2)
    assert planned.servers_needed == 6
    assert planned.workers_needed == planned.workers == 3
    assert planned.utilization == pytest.approx(4 / 6)
    assert planned.wait_probability == pytest.approx(0.284761, abs=1e-6)
    assert 1 - planned.attainment == pytest.approx(0.284761 * math.exp(-8.0), rel=1e-5)
    assert planned.mean_wait == pytest.approx(0.284761 * 0.2 / 2 * 1.25, rel=1e-5)
    assert planned.number_in_system == pytest.approx(20 * (planned.mean_wait + 0.2))
    assert planned.queue_length == pytest.approx(20 * planned.mean_wait)
    assert planned.contract_limit == 20
    assert planned.capacity_limit == law.capacity_limit(6, 0.2, 1.0, 99.0, 1.5)
    assert planned.wait_quantiles[50.0] == 0.0
    assert planned.wait_quantiles[99.9] == pytest.approx(math.log(284.761) * 0.125, rel=1e-5)


def test_one_server_by_hand() -> None:
    """M/M/1 at ρ = 1/2: P(Wq > t) = exp(-t/2)/2, P(W > t) = exp(-t/2), for S = 1."""
    wait = Demand(0.5, 1.0, 10.0, 99.0)
    assert wait.missed_share(1) == pytest.approx(math.exp(-5.0) / 2)
    sojourn = Demand(0.5, 1.0, 10.0, 99.0, sojourn=True)
    assert sojourn.missed_share(1) == pytest.approx(math.exp(-5.0), rel=1e-4)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 6.0])
def test_sojourns_of_mmc_are_the_closed_form(seconds: float) -> None:
    """P(W > t) = e^-t + C (e^-θt - e^-t)/(1 - θ) with S = 1 and θ = c - a."""
    demand = Demand(2.4, 1.0, seconds, 10.0, sojourn=True)
    waits, decay = law.erlang_c(2.4, 3), 0.6
    exact = math.exp(-seconds) + waits * (math.exp(-decay * seconds) - math.exp(-seconds)) / (1 - decay)
    assert demand.missed_share(3) == pytest.approx(exact, abs=1e-5)


def test_clockwork_run_times_shift_the_wait() -> None:
    """With scv 0 a sojourn is a wait with S less time for it."""
    sojourn = Demand(3.0, 1.0, 4.0, 95.0, service_scv=0.0, sojourn=True)
    wait = Demand(3.0, 1.0, 3.0, 95.0, service_scv=0.0)
    assert sojourn.missed_share(4) == pytest.approx(wait.missed_share(4))
    assert sojourn.servers_needed == wait.servers_needed


@pytest.mark.parametrize("scv", [5e-324, 1e-7, 1e-5, 1e-3])
def test_run_times_that_hardly_vary_are_as_good_as_clockwork(scv: float) -> None:
    clockwork = Demand(3.0, 1.0, 4.0, 95.0, service_scv=0.0, sojourn=True)
    nearly = Demand(3.0, 1.0, 4.0, 95.0, service_scv=scv, sojourn=True)
    assert nearly.missed_share(4) == pytest.approx(clockwork.missed_share(4), rel=0.01)


def test_the_model_is_named() -> None:
    assert Demand(1.0, 1.0, 1.0).model == "M/M/c, exact"
    assert TWENTY.model.startswith("M/G/c") and not TWENTY.is_exact
    assert Demand(1.0, 1.0, 1.0, arrival_scv=2.0).model.startswith("G/G/c")


@given(demands)
@settings(max_examples=100, deadline=None)
def test_the_recommended_pool_holds_and_one_less_does_not(demand: Demand) -> None:
    needed = demand.servers_needed
    assert demand.missed_share(needed) <= demand.miss
    if needed > demand.least_servers:
        assert demand.missed_share(needed - 1) > demand.miss
    else:
        assert needed - 1 <= demand.offered_load  # no steady state


@given(st.floats(0.5, 20.0), st.floats(0.2, 1.5), st.floats(0.0, 3.0), st.floats(50.0, 99.0))
@settings(max_examples=30, deadline=None)
def test_the_same_holds_for_sojourns(rate: float, sla: float, scv: float, percentile: float) -> None:
    try:
        demand = Demand(rate, 0.1, sla, percentile, service_scv=scv, sojourn=True)
    except ValidationError:
        assume(False)
        raise
    needed = demand.servers_needed
    assert demand.missed_share(needed) <= demand.miss
    assert needed == demand.least_servers or demand.missed_share(needed - 1) > demand.miss
    patient = Demand(rate, 0.1, sla, percentile, service_scv=scv)
    assert patient.servers_needed <= needed
    assert sum(share for _, share in demand.patiences) + demand.alone_too_long == pytest.approx(1.0)


@given(demands, st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_the_curve_rises_and_is_marked_where_the_promise_holds(demand: Demand, threads: int) -> None:
    planned = plan(demand, threads=threads)
    curve = planned.curve
    assert curve[0].servers == demand.least_servers
    assert curve[-1].attainment >= 0.9999
    assert len(curve) <= 40
    assert {planned.servers, planned.servers_needed} <= {point.servers for point in curve}
    for before, after in pairwise(curve):
        assert after.servers > before.servers
        assert after.attainment >= before.attainment
        assert after.gain == pytest.approx(
            (after.attainment - before.attainment) / (after.servers - before.servers)
        )
    for point in curve:
        assert point.holds is (1 - point.attainment <= demand.miss + 1e-12)
        assert point.workers == math.ceil(point.servers / threads)
    assert planned.holds and planned.attainment >= 1 - demand.miss - 1e-12


def test_a_pool_that_is_asked_about_may_miss_the_promise() -> None:
    planned = plan(TWENTY, threads=1, workers=5)
    assert not planned.holds and planned.servers == 5 and planned.workers_needed == 6


# --- the burst


def test_a_burst_by_hand() -> None:
    """60/s against 30/s: +30/s for 30 s, 900 jobs, the last waits 900/30 s, cleared at 10/s in 90 s.

    Late are those from 1 s (30 jobs wait, what is cleared in 1 s) to 117 s (30 jobs again): 29 × 60 + 87 × 20.
    """
    burst = plan(TWENTY, threads=2).burst
    alone = ride(TWENTY, 3.0, 30.0, 6)
    assert (alone.growth_rate, alone.peak_backlog, alone.longest_wait) == pytest.approx((30, 900, 30))
    assert (alone.first_miss_at, alone.drained_at) == pytest.approx((1, 120))
    assert alone.missed == pytest.approx(3480, rel=0.01)
    assert burst.alone == alone and burst.jobs == 1800
    assert burst.needed_by == pytest.approx(2)


def test_workers_ordered_at_once_by_hand() -> None:
    """14 servers clear 70/s from 30 s on: 900 at a net 50/s are gone after 18 s."""
    burst = plan(TWENTY, threads=2).burst
    assert burst.servers_for_rate == TWENTY.servers_at(3.0) == 14 and burst.extra_workers == 4
    assert burst.reinforced.drained_at == pytest.approx(48)
    assert burst.reinforced.peak_backlog == pytest.approx(900)
    assert burst.reinforced.missed < burst.alone.missed


def test_servers_that_come_in_time_leave_nobody_late_and_a_moment_later_do() -> None:
    needed_by = plan(TWENTY, threads=2).burst.needed_by
    assert needed_by is not None
    assert ride(TWENTY, 3.0, 30.0, 6, 14, needed_by - 1e-6).first_miss_at is None
    assert ride(TWENTY, 3.0, 30.0, 6, 14, needed_by + 0.01).first_miss_at is not None


def test_no_burst_does_nothing() -> None:
    burst = plan(TWENTY, threads=2, burst=1.0).burst
    assert burst.extra_workers == burst.headroom_workers == 0
    assert burst.alone.peak_backlog == burst.refused_by_admission == 0
    assert burst.needed_by is None


def test_a_burst_that_the_pool_holds_is_no_worse_than_its_steady_state() -> None:
    """A pool that is nearly idle even then: 99 % do not wait at all."""
    quiet = ride(Demand(0.001, 0.2, 1.0, 99.0), 3.0, 30.0, 8)
    assert quiet.end_wait == 0.0 and quiet.missed < 1e-9
    busy = ride(TWENTY, 1.4, 3600.0, 6)
    assert 0 < busy.missed <= 28 * 3600 * TWENTY.missed_share(6, 1.4)


def test_a_short_burst_needs_less_headroom_than_a_long_one() -> None:
    short = plan(TWENTY, threads=1, burst_seconds=0.5).burst
    long = plan(TWENTY, threads=1, burst_seconds=600.0).burst
    assert short.servers_to_ride < long.servers_to_ride <= long.servers_for_rate == short.servers_for_rate
    assert short.extra_workers == long.extra_workers


@given(demands, st.floats(1.0, 8.0), st.floats(0.5, 300.0), st.floats(0.5, 300.0), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_more_servers_are_never_worse(
    demand: Demand, factor: float, seconds: float, at: float, more: int
) -> None:
    few = demand.servers_needed
    alone, larger = ride(demand, factor, seconds, few), ride(demand, factor, seconds, few + more)
    helped = ride(demand, factor, seconds, few, few + more, at)
    slack = 0.01 * (1 + alone.missed)  # late jobs by chance are summed in steps, of other lengths each time
    for better in (larger, helped):
        assert better.longest_wait <= alone.longest_wait + 1e-6 * (1 + alone.longest_wait)
        assert better.drained_at <= alone.drained_at * (1 + 1e-9)
        assert better.missed <= alone.missed + slack
    assert alone.longest_wait <= alone.drained_at * (1 + 1e-9)


@given(demands, st.floats(1.0, 8.0), st.floats(0.5, 300.0))
@settings(max_examples=60, deadline=None)
def test_the_headroom_rides_the_burst(demand: Demand, factor: float, seconds: float) -> None:
    burst = plan(demand, threads=1, burst=factor, burst_seconds=seconds).burst
    servers = burst.servers_to_ride
    rate = factor * demand.arrival_rate
    late = chance.late_share(demand, rate, servers, seconds)
    assert late <= demand.miss or servers == burst.servers_for_rate
    assert ride(demand, factor, seconds, servers).first_miss_at is None or demand.percentile < 51


# --- bad input


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arrival_rate": 0.0}, "arrival_rate is 0"),
        ({"arrival_rate": math.nan}, "arrival_rate is nan"),
        ({"service_time": 0.0}, "service_time is 0"),
        ({"sla_seconds": math.inf}, "sla_seconds is inf"),
        ({"percentile": 0.99}, "write 95 for 95 %"),
        ({"service_scv": -1.0}, "service_scv is -1"),
        ({"service_time": 200_000.0}, "in seconds"),
        ({"service_time": 2.0, "sojourn": True}, "no number of workers helps"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused(changes: dict[str, float], said: str) -> None:
    values = {"arrival_rate": 20.0, "service_time": 0.2, "sla_seconds": 1.0} | changes
    with pytest.raises(ValidationError, match=said):
        Demand(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"burst": 0.5}, "burst is 0.5"),
        ({"burst": math.nan}, "burst is nan"),
        ({"burst": 1e9}, "not a rate"),
        ({"burst_seconds": 0.0}, "burst_seconds is 0"),
        ({"startup_seconds": math.inf}, "startup_seconds is inf"),
        ({"threads": 0}, "threads is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        plan(TWENTY, **changes)  # type: ignore[arg-type]


def test_a_pool_below_the_load_is_unstable() -> None:
    with pytest.raises(UnstableQueueError, match="4 erlangs on 4 servers"):
        plan(TWENTY, threads=4, workers=1)


# --- the picture


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_drawn(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    from littleq.planning.plot import draw

    path = tmp_path / f"plan.{ending}"
    draw(path, plan(TWENTY, threads=2))
    assert path.stat().st_size > 5000


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    from littleq.planning.plot import draw

    with pytest.raises(ConfigurationError, match="cannot be written"):
        draw(tmp_path / "nowhere" / "plan.png", plan(TWENTY))
