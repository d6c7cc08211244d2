"""What a burst does to a pool: the arrival rate times a factor, for a while, from a steady state.

A fluid: jobs arrive at bλ until D, at λ after it, and leave at c/S as long as some wait. Backlog and waits are then
piecewise linear in time, and exact for the fluid. They are means. Misses and the headroom also allow for chance
(`littleq.planning.chance`), which matters most where bλ is close to c/S.

Regimes: bλ < c/S, nothing builds up but by chance; bλ > c/S, the backlog grows by bλ - c/S a second, and the first
job that is late arrives when it has reached what the pool clears within the SLA.

Known weakness: the queue is empty when the burst begins; in heavy traffic it is not, and misses begin a little sooner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from littleq import law
from littleq.errors import ValidationError
from littleq.planning import chance
from littleq.planning.demand import Demand

#: Longest burst, in seconds: three years of it are no burst.
_LONGEST = 1e8


@dataclass(frozen=True)
class Ride:
    """How a pool rides a burst; times are in seconds after it began.

    Attributes:
        growth_rate: of the backlog at first, in jobs/s; 0 where it does not grow.
        peak_backlog: most jobs that wait.
        longest_wait: of any job, in seconds, on average over bursts: 0 where nothing builds up.
        end_wait: the wait at the burst's end, or when more servers come, that `percentile` % of bursts do not
            exceed, in seconds.
        missed: jobs that break the promise: the fluid's, or the mean with chance if that is more.
        first_miss_at: arrival of the first of them; None where the backlog makes none late.
        drained_at: when nothing waits any more; 0 where nothing builds up.
    """

    growth_rate: float
    peak_backlog: float
    longest_wait: float
    end_wait: float
    missed: float
    first_miss_at: float | None
    drained_at: float


@dataclass(frozen=True)
class Burst:
    """A burst, and what would help.

    Attributes:
        factor: b, of the arrival rate.
        seconds: D, its length.
        startup_seconds: from the order of a worker until it takes jobs.
        jobs: that arrive during it.
        alone: how the planned pool rides it.
        refused_by_admission: jobs that the capacity limit would turn away, so that the others start in time.
        servers_for_rate: fewest servers that keep the promise at bλ for however long.
        extra_workers: to order for it, beyond the planned ones.
        needed_by: the latest moment when they must take jobs so that none is late; None where none is late anyway.
        reinforced: how the pool rides it if they are ordered when it begins, and come after the start-up.
        servers_to_ride: fewest servers that keep the promise to the jobs at its end with nothing ordered.
        headroom_workers: beyond the planned ones, to have that many.
    """

    factor: float
    seconds: float
    startup_seconds: float
    jobs: float
    alone: Ride
    refused_by_admission: float
    servers_for_rate: int
    extra_workers: int
    needed_by: float | None
    reinforced: Ride
    servers_to_ride: int
    headroom_workers: int


def plan_burst(
    demand: Demand,
    workers: int,
    threads: int,
    factor: float,
    seconds: float,
    startup_seconds: float,
    limit: int,
) -> Burst:
    """What a burst does to a pool of workers.

    Args:
        workers: processes there when it begins; stable without the burst.
        threads: of a worker.
        factor: b, of the arrival rate; >= 1.
        seconds: D, length of the burst; > 0.
        startup_seconds: from the order of a worker until it takes jobs; > 0.
        limit: capacity limit of the pool, in jobs that may wait; >= 0.

    Raises:
        ValidationError: factor, seconds or startup_seconds is out of range.
    """
    _check_burst(demand, factor, seconds, startup_seconds)
    servers = workers * threads
    for_rate = demand.servers_at(factor)
    wanted = max(workers, math.ceil(for_rate / threads))
    to_ride = max(demand.servers_needed, min(for_rate, _servers_to_ride(demand, factor, seconds)))
    alone = ride(demand, factor, seconds, servers)
    return Burst(
        factor=factor,
        seconds=seconds,
        startup_seconds=startup_seconds,
        jobs=factor * demand.arrival_rate * seconds,
        alone=alone,
        refused_by_admission=max(0.0, alone.peak_backlog - limit),
        servers_for_rate=for_rate,
        extra_workers=wanted - workers,
        needed_by=None if alone.first_miss_at is None else alone.first_miss_at + demand.patience,
        reinforced=ride(demand, factor, seconds, servers, wanted * threads, startup_seconds),
        servers_to_ride=to_ride,
        headroom_workers=max(0, math.ceil(to_ride / threads) - workers),
    )


def ride(
    demand: Demand,
    factor: float,
    seconds: float,
    servers: int,
    later: int | None = None,
    at: float = math.inf,
) -> Ride:
    """How `servers`, and from `at` on `later` (>= servers), ride the burst."""
    rate, base, service = factor * demand.arrival_rate, demand.arrival_rate, demand.service_time
    before, after = servers / service, (servers if later is None else later) / service
    by_chance = _by_chance(demand, factor, seconds, servers, later, at)
    end_wait = chance.wait_quantile(demand, rate, servers, min(seconds, at))
    if rate < before:
        # An empty queue is below its steady state at first; a diffusion is too coarse for one that is mostly empty.
        end_wait = min(end_wait, demand.wait_quantile(servers, demand.percentile, factor))
        by_chance = min(by_chance, rate * seconds * demand.missed_share(servers, factor))
    if rate <= before:
        return Ride(0.0, 0.0, 0.0, end_wait, by_chance, None, 0.0)
    end, peak = _drained(rate, base, seconds, before, after, at)

    def arrived(time: float) -> float:
        return rate * min(time, seconds) + base * max(0.0, time - seconds)

    def wait(time: float) -> float:
        jobs = arrived(time)
        start = jobs / before if jobs <= before * at else at + (jobs - before * at) / after
        return max(0.0, start - time)

    moments = [0.0, seconds, end]
    if before * at < arrived(end):  # the job that the first of the later servers takes
        jobs = before * at
        moments.append(jobs / rate if jobs <= rate * seconds else seconds + (jobs - rate * seconds) / base)
    late: list[tuple[float, float]] = []
    for first, last in pairwise(sorted(moment for moment in moments if moment <= end)):
        late += _above(demand.patience, first, wait(first), last, wait(last))
    return Ride(
        growth_rate=rate - before,
        peak_backlog=peak,
        longest_wait=max(wait(moment) for moment in moments),
        end_wait=end_wait,
        missed=max(
            sum(arrived(last) - arrived(first) for first, last in late),
            by_chance,
        ),
        first_miss_at=late[0][0] if late else None,
        drained_at=end,
    )


def _drained(
    rate: float, base: float, seconds: float, before: float, after: float, at: float
) -> tuple[float, float]:
    """When the backlog is gone, in seconds, and how large it was at most, in jobs."""
    backlog = peak = time = 0.0
    for until in (*sorted({seconds, at}), math.inf):
        growth = (rate if time < seconds else base) - (before if time < at else after)
        # What empties once never fills again: each change after it is less work or more servers.
        if growth < 0 and time - backlog / growth <= until:
            return time - backlog / growth, peak
        backlog += growth * (until - time)
        peak = max(peak, backlog)
        time = until
    raise AssertionError("a stable pool drains")


def _above(bound: float, first: float, low: float, last: float, high: float) -> list[tuple[float, float]]:
    """The part of [first, last] in which a line from `low` to `high` is above `bound`."""
    if max(low, high) <= bound or first == last:
        return []
    if min(low, high) >= bound:
        return [(first, last)]
    crossing = first + (last - first) * (bound - low) / (high - low)
    return [(first, crossing) if low > bound else (crossing, last)]


def _by_chance(
    demand: Demand, factor: float, seconds: float, servers: int, later: int | None, at: float
) -> float:
    """Mean number of misses if backlogs are random, in the burst and while it drains."""
    rate, base = factor * demand.arrival_rate, demand.arrival_rate
    alone = min(seconds, at)
    missed = chance.late_jobs(demand, rate, servers, alone)
    if at < seconds:  # the reinforced pool holds the burst: what it has to clear is in the fluid
        return missed
    pool = servers if later is None or at > seconds else later
    falls = pool / demand.service_time - base
    return missed + base * chance.excess(demand, rate, servers, seconds) / falls


def _servers_to_ride(demand: Demand, factor: float, seconds: float) -> int:
    """Fewest servers with which the last job of the burst is in time, in `percentile` % of the bursts.

    The probability that a job is late rises as long as the burst lasts, so the jobs before it fare better.
    """
    rate = factor * demand.arrival_rate

    def rides(servers: int) -> bool:
        return chance.late_share(demand, rate, servers, seconds) <= demand.miss

    above = demand.least_servers
    below = above - 1
    while not rides(above) and above < law.MAX_SERVERS:
        below, above = above, min(law.MAX_SERVERS, 2 * above)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if rides(middle) else (middle, above)
    return above


def _check_burst(demand: Demand, factor: float, seconds: float, startup_seconds: float) -> None:
    if not 1.0 <= factor < math.inf:
        raise ValidationError(
            f"burst is {factor!r}; it must be a finite number >= 1: 3 for three times the arrival rate."
        )
    if factor * demand.offered_load >= law.MAX_SERVERS:
        raise ValidationError(
            f"burst is {factor:g}, which makes {factor * demand.offered_load:g} erlangs; it must leave them below "
            f"{law.MAX_SERVERS}: pass the multiple of the arrival rate, not a rate."
        )
    for name, value in (("startup_seconds", startup_seconds), ("burst_seconds", seconds)):
        if not 0.0 < value <= _LONGEST:
            raise ValidationError(
                f"{name} is {value!r}; it must be above 0 and at most {_LONGEST:g}: pass it in seconds."
            )
