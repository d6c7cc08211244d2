"""What one who knows the future would pay.

The oracle knows every arrival and every service time, asks for workers one start-up before it needs them, and changes
its pool once an interval. Its jobs are served first come, first served, by the same rules as anybody's: a worker costs
from "asked for" until its last job is done, a job that runs is never cut, and the promised share must start in time.
It may choose which jobs miss it.

What it gives is a plan that works, found by search, so it is an *upper* bound of the least cost: nobody needs more than
this who knows everything. The least cost itself lies between that and `floor_seconds`, which no scaler can pass: every
job is run, by a worker that was started. Finding it exactly is a scheduling problem without a quick solution.

Search: from plans that work (nobody ever waits; one pool size throughout; the mean load of the last seconds plus a
margin), take away one worker for a stretch of intervals, as long as the promise holds, where it saves most for a missed
job first. A smaller pool never makes a job start earlier, so a change is looked at only until everything is as before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.foresight import Plan, Timetable, fill_gaps, saving
from littleq.simulation.outcome import may_miss
from littleq.simulation.workload import Workload

#: How much is looked at in the search, in jobs of all trials together, as a multiple of the workload's, and at least.
EFFORT, LEAST_EFFORT = 100, 200_000
#: Prices of a missed job, as multiples of what the whole plan costs for each job that may be missed: first what costs
#: nothing, then what is cheap.
_PRICES = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, math.inf)


@dataclass(frozen=True, slots=True)
class Oracle:
    """The plan of one who knows the future.

    Attributes:
        pool: workers by interval; empty where no plan keeps the promise within max_workers.
        interval_seconds: between two changes of the pool.
        worker_seconds: what it costs, from "asked for" until the last worker has left; inf where there is none.
        floor_seconds: what no scaler can pass: all service times over the threads of a worker, and one start-up.
        missed: jobs that miss the promise under it.
    """

    pool: tuple[int, ...]
    interval_seconds: float
    worker_seconds: float
    floor_seconds: float
    missed: int

    @property
    def feasible(self) -> bool:
        """Whether the promise can be kept at all."""
        return math.isfinite(self.worker_seconds)


def find_oracle(workload: Workload, settings: ScalingSettings, *, interval: float = 5.0) -> Oracle:
    """The cheapest plan that the search finds.

    Args:
        settings: the promise, threads and start-up of a worker, max_workers; min_workers does not bind it.
        interval: between two changes of the pool, in seconds.
    """
    floor = workload.work / settings.threads_per_worker + (
        settings.startup_seconds if workload.arrivals else 0.0
    )
    allowed = may_miss(len(workload.arrivals), settings.percentile)

    def filled(plan: Plan) -> Timetable:
        return Timetable(workload, settings, fill_gaps(plan, interval, settings.startup_seconds), interval)

    tables = [
        filled(plan) for plan in _starting_plans(workload, settings, interval, allowed) if plan is not None
    ]
    tables = [table for table in tables if table.total_late <= allowed and not table.unstarted]
    if not tables:
        return Oracle((), interval, math.inf, floor, len(workload.arrivals))
    # The dearest beginning, of three, is seldom the best end, and takes longest.
    for table in sorted(tables, key=Timetable.cost)[:2]:
        _Search(table, settings, allowed, len(workload.arrivals)).run()
        tables.append(filled(table.plan))
    best = min(tables, key=Timetable.cost)
    return Oracle(tuple(best.plan), interval, best.cost(), floor, best.total_late)


def _starting_plans(
    workload: Workload, settings: ScalingSettings, interval: float, allowed: int
) -> Iterator[Plan | None]:
    most = settings.max_workers
    spare = settings.sla_seconds + 2 * interval  # for jobs that the last arrivals may leave behind
    count = math.ceil((workload.seconds + spare) / interval)

    def works(plan: Plan) -> bool:
        table = Timetable(workload, settings, plan, interval)
        return not table.unstarted and table.total_late <= allowed

    busiest = _busiest(workload, settings, interval, count)
    yield [min(most, workers) for workers in busiest]
    top = min(most, max(busiest, default=0))
    yield _least(lambda size: [size] * count, top, works)
    loads = _loads(workload, settings, interval, count)
    window = max(1, int(settings.sla_seconds / interval))
    sums = [0.0, *accumulate(loads)]
    means = [(sums[at + 1] - sums[max(0, at + 1 - window)]) / window for at in range(count)]
    # A margin in quarters of a worker: whole ones would cost a small pool half of what there is to gain.
    yield _least(
        lambda quarters: [min(most, math.ceil(mean + quarters / 4 - 1e-9)) for mean in means], 4 * top, works
    )


def _least(build: Callable[[int], Plan], most: int, works: Callable[[Plan], bool]) -> Plan | None:
    """The plan of the least number, up to `most`, that works, if one does."""
    low, high = -1, most
    if not works(build(high)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(build(middle)) else (middle, high)
    return build(high)


def _busiest(workload: Workload, settings: ScalingSettings, interval: float, count: int) -> Plan:
    """Most workers that are needed at one time in each interval, if nobody waits."""
    starts = workload.arrivals
    ends = sorted(map(sum, zip(workload.arrivals, workload.services, strict=True)))
    most = [0] * count
    running = ended = 0
    edge = 0  # the interval up to which `running` has been noted at its beginning
    for number, at in enumerate(starts):
        index = min(count - 1, int(at / interval))
        while edge < index:
            edge += 1
            ended = bisect_left(ends, edge * interval, ended)
            running = number - ended
            most[edge] = max(most[edge], running)
        ended = bisect_left(ends, at, ended)
        running = number + 1 - ended
        most[index] = max(most[index], running)
    while edge < count - 1:
        edge += 1
        most[edge] = max(most[edge], len(starts) - bisect_left(ends, edge * interval))
    return [math.ceil(servers / settings.threads_per_worker) for servers in most]


def _loads(workload: Workload, settings: ScalingSettings, interval: float, count: int) -> list[float]:
    """Work that arrives in each interval, in workers that it keeps busy."""
    loads = [0.0] * count
    for at, service in zip(workload.arrivals, workload.services, strict=True):
        loads[min(count - 1, int(at / interval))] += service / interval / settings.threads_per_worker
    return loads


class _Search:
    """Takes workers away where that saves most for a missed job."""

    def __init__(self, table: Timetable, settings: ScalingSettings, allowed: int, jobs: int) -> None:
        self._table = table
        self._settings = settings
        self._allowed = allowed
        self._late = table.total_late
        self._end_of_effort = table.work + max(LEAST_EFFORT, EFFORT * jobs)

    def run(self) -> None:
        worth = max(1.0, self._table.cost()) / max(1, self._allowed)
        for price in _PRICES:
            while self._sweep(price / worth):
                pass

    def _sweep(self, jobs_per_second: float) -> bool:
        """Try every stretch of every level once, from the top down; whether anything was taken away."""
        changed = False
        for level in range(max(self._table.plan, default=0), 0, -1):
            for start, end in _stretches(self._table.plan, level):
                changed |= self._trim(start, end, jobs_per_second)
        return changed

    def _trim(self, start: int, end: int, jobs_per_second: float) -> bool:
        """Take one worker away from as much of a stretch as possible: all of it, else from its ends."""
        if self._take(start, end, jobs_per_second):
            return True
        changed = False
        size = (end - start) // 2
        while size:
            while end - start > size and self._take(start, start + size, jobs_per_second):
                start, changed = start + size, True
            while end - start > size and self._take(end - size, end, jobs_per_second):
                end, changed = end - size, True
            size //= 2
        return changed

    def _take(self, start: int, end: int, jobs_per_second: float) -> bool:
        table = self._table
        saved = saving(table.plan, start, end, table.interval, self._settings.startup_seconds)
        if saved <= 0 or table.work > self._end_of_effort:
            return False
        left = self._allowed - self._late
        allowance = left if jobs_per_second == math.inf else min(left, math.floor(saved * jobs_per_second))
        stretch = table.without(start, end, allowance)
        if stretch is None:
            return False
        table.accept(stretch, end)
        self._late += stretch.more_late
        return True


def _stretches(plan: Plan, level: int) -> list[tuple[int, int]]:
    """The stretches of intervals with at least `level` workers, as (first, after the last)."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    for index, workers in enumerate([*plan, 0]):
        if workers >= level and start is None:
            start = index
        elif workers < level and start is not None:
            found.append((start, index))
            start = None
    return found
