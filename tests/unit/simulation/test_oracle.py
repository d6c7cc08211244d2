"""The oracle: its accounts are the engine's, its plans work, and on small cases hardly anything is cheaper."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import Run, simulate
from littleq.simulation.foresight import Timetable, fill_gaps, plan_cost, saving
from littleq.simulation.oracle import Oracle, find_oracle
from littleq.simulation.outcome import kept, may_miss, outcome
from littleq.simulation.policies import KNOWN, contestant
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.workload import Workload, from_shape
from tests.simulation.fixed_pool import Planned

INTERVAL = 5.0


def promise(
    sla: float, percentile: float = 99.0, startup: float = 30.0, **changes: object
) -> ScalingSettings:
    values = {"sla_seconds": sla, "percentile": percentile, "startup_seconds": startup, **changes}
    return ScalingSettings(**values)  # type: ignore[arg-type]


def run_plan(workload: Workload, plan: list[int], promised: ScalingSettings) -> Run:
    """A plan in the engine, whose workers are there the moment they are asked for."""
    at_once = promise(promised.sla_seconds, promised.percentile, 0.0)
    return simulate(workload, Planned([*plan[1:], 0], INTERVAL), at_once, initial_workers=plan[0])


def loaded(shape: str, service: str, seconds: float = 900.0, seed: int = 1) -> Workload:
    return from_shape(parse_shape(shape, seconds), parse_service(service), seconds=seconds, seed=seed)


CASES = [
    ("poisson:5", "exp:1", 1.0),
    ("ramp:1..10", "exp:0.5", 10.0),
    ("onoff:10,2m,2m", "lognormal:1,cv=2", 60.0),
    ("flash:2,30@5m,1m", "exp:0.3", 1.0),
    ("poisson:0.05", "exp:1", 10.0),
]


@pytest.mark.parametrize(("shape", "service", "sla"), CASES)
def test_the_plan_keeps_the_promise_in_the_engine_at_the_cost_that_it_says(
    shape: str, service: str, sla: float
) -> None:
    workload, promised = loaded(shape, service), promise(sla)
    oracle = find_oracle(workload, promised)
    run = run_plan(workload, list(oracle.pool), promised)
    result = outcome(run, promised)
    assert (result.missed, result.met) == (oracle.missed, True)
    # The engine's own account, of workers that are there at once; and a start-up for each. It pays until its run ends.
    paid = run.worker_seconds + promised.startup_seconds * run.worker_starts
    assert paid == pytest.approx(oracle.worker_seconds, rel=1e-9, abs=1e-6)
    assert oracle.worker_seconds >= oracle.floor_seconds


@pytest.mark.parametrize(("shape", "service", "sla"), CASES)
def test_no_policy_that_keeps_the_promise_is_cheaper(shape: str, service: str, sla: float) -> None:
    """Not a theorem, for the oracle's plan is found by search; but a policy that beats it would show a poor search."""
    workload, promised = loaded(shape, service), promise(sla)
    oracle = find_oracle(workload, promised)
    for name in KNOWN:
        player = contestant(name, workload, promised)
        run = simulate(workload, player.policy, promised, initial_workers=player.initial_workers)
        result = outcome(run, promised)
        assert result.worker_seconds >= oracle.floor_seconds
        if result.met:
            assert result.worker_seconds >= 0.999 * oracle.worker_seconds


def cheapest(workload: Workload, promised: ScalingSettings, intervals: int, most: int) -> float:
    """By trying every plan."""
    allowed = may_miss(len(workload.arrivals), promised.percentile)
    best = math.inf
    for plan in itertools.product(range(most + 1), repeat=intervals):
        if plan_cost(plan, INTERVAL, promised.startup_seconds) < best:
            table = Timetable(workload, promised, list(plan), INTERVAL)
            if not table.unstarted and table.total_late <= allowed:
                best = min(best, table.cost())
    return best


@pytest.mark.parametrize(
    ("startup", "mean", "most"), [(3.0, 1.06, 1.25), (12.0, 1.02, 1.1), (30.0, 1.02, 1.1)]
)
def test_on_small_cases_it_is_close_to_the_best_of_all_plans(
    startup: float, mean: float, most: float
) -> None:
    """Of 16,384 plans a case; never below the best. On 36 other cases the mean was 1.02, 1.004 and 1.003."""
    ratios = []
    for seed in range(8):
        rng = random.Random(f"small {seed}")
        arrivals = sorted(rng.uniform(0.0, 25.0) for _ in range(14))
        workload = Workload(arrivals, [rng.expovariate(1 / 2.5) for _ in arrivals], 25.0)
        promised = promise(rng.choice([0.5, 3.0, 6.0]), 90.0, startup, max_workers=3)
        best = cheapest(workload, promised, intervals=7, most=3)
        if best < math.inf:
            ratios.append(find_oracle(workload, promised).worker_seconds / best)
    assert len(ratios) >= 6
    assert min(ratios) >= 1.0 - 1e-9
    assert max(ratios) <= most
    assert sum(ratios) / len(ratios) <= mean


def test_a_promise_that_nobody_can_keep_has_no_plan() -> None:
    burst = Workload([10.0] * 50, [10.0] * 50, 60.0)
    assert find_oracle(burst, promise(1.0, max_workers=49)).feasible is False
    assert find_oracle(burst, promise(1.0, max_workers=50)).feasible is True
    slow = Workload([10.0] * 5, [10.0] * 5, 60.0)
    assert find_oracle(slow, promise(9.0, sojourn=True)).feasible is False


def test_nothing_to_do_costs_nothing() -> None:
    nothing = find_oracle(Workload([], [], 60.0), promise(1.0))
    assert nothing == Oracle((0,) * 15, 5.0, 0.0, 0.0, 0)


def test_one_job_costs_a_start_up_and_the_intervals_that_it_touches() -> None:
    found = find_oracle(Workload([12.0], [1.0], 60.0), promise(1.0))
    assert (found.worker_seconds, found.missed) == (35.0, 0)
    assert [index for index, workers in enumerate(found.pool) if workers] == [2]
    # One that may wait is run with the other one.
    both = find_oracle(Workload([12.0, 23.0], [1.0, 1.0], 60.0), promise(60.0))
    assert both.worker_seconds == 35.0


def test_it_stays_for_a_gap_that_is_cheaper_than_a_start_and_leaves_for_one_that_is_not() -> None:
    near = find_oracle(Workload([2.0, 27.0], [1.0, 1.0], 100.0), promise(1.0, startup=25.0))
    assert near.worker_seconds == 25.0 + 6 * 5.0
    far = find_oracle(Workload([2.0, 87.0], [1.0, 1.0], 100.0), promise(1.0, startup=25.0))
    assert far.worker_seconds == 2 * (25.0 + 5.0)


def test_it_chooses_which_jobs_miss_the_promise() -> None:
    """A burst of three that would need three workers for a moment, among 300 jobs of which 3 may be late."""
    arrivals = sorted([*(float(second) for second in range(300)), 150.0, 150.0])
    workload = Workload(arrivals, [0.9] * len(arrivals), 300.0)
    assert max(find_oracle(workload, promise(0.5)).pool) == 2
    assert max(find_oracle(workload, promise(0.5, 99.9)).pool) == 3


def test_threads_share_a_worker() -> None:
    workload = loaded("poisson:8", "exp:1", seconds=300.0)
    one = find_oracle(workload, promise(1.0))
    four = find_oracle(workload, promise(1.0, threads_per_worker=4))
    assert 0.25 * one.worker_seconds <= four.worker_seconds < 0.45 * one.worker_seconds


plans = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@given(plan=plans, startup=st.sampled_from([0.0, 4.0, 10.0, 31.0]))
def test_filling_gaps_never_costs_more_and_never_takes_away(plan: list[int], startup: float) -> None:
    filled = fill_gaps(plan, INTERVAL, startup)
    assert all(after >= before for before, after in zip(plan, filled, strict=True))
    assert plan_cost(filled, INTERVAL, startup) <= plan_cost(plan, INTERVAL, startup) + 1e-9
    assert fill_gaps(filled, INTERVAL, startup) == filled


@given(plan=plans, data=st.data(), startup=st.sampled_from([0.0, 10.0, 31.0]))
def test_what_a_change_saves_is_what_the_plans_differ_by(
    plan: list[int], data: st.DataObject, startup: float
) -> None:
    start = data.draw(st.integers(0, len(plan) - 1))
    end = data.draw(st.integers(start + 1, len(plan)))
    plan = [workers + (start <= index < end) for index, workers in enumerate(plan)]
    changed = [workers - (start <= index < end) for index, workers in enumerate(plan)]
    difference = plan_cost(plan, INTERVAL, startup) - plan_cost(changed, INTERVAL, startup)
    assert saving(plan, start, end, INTERVAL, startup) == pytest.approx(difference)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_a_change_that_is_looked_at_locally_is_what_a_whole_run_gives(seed: int, data: st.DataObject) -> None:
    rng = random.Random(seed)
    arrivals = sorted(rng.uniform(0.0, 60.0) for _ in range(40))
    workload = Workload(arrivals, [rng.expovariate(0.5) for _ in arrivals], 60.0)
    promised = promise(2.0)
    plan = [rng.randint(1, 4) for _ in range(11)] + [4] * 20
    table = Timetable(workload, promised, list(plan), INTERVAL)
    start = data.draw(st.integers(0, 10))
    end = data.draw(st.integers(start + 1, 11))
    stretch = table.without(start, end, allowance=100)
    changed = [workers - (start <= index < end) for index, workers in enumerate(plan)]
    whole = Timetable(workload, promised, changed, INTERVAL)
    assert stretch is not None
    assert stretch.more_late == whole.total_late - table.total_late
    assert table.without(start, end, allowance=stretch.more_late - 1) is None
    table.accept(stretch, end)
    assert (table.plan, table.late, table.total_late) == (changed, whole.late, whole.total_late)
    assert table.cost() == pytest.approx(whole.cost())


def test_the_promised_share_is_of_all_jobs() -> None:
    workload = loaded("poisson:5", "exp:1")
    oracle = find_oracle(workload, promise(1.0, 95.0))
    assert kept(oracle.missed, len(workload.arrivals), 95.0)
    assert oracle.missed > 0.04 * len(workload.arrivals)
    assert oracle.worker_seconds < find_oracle(workload, promise(1.0, 99.0)).worker_seconds
