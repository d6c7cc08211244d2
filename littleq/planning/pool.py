"""The plan: the pool that a demand needs, what it does in steady state, and what one more or less would do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from littleq import law
from littleq.errors import ValidationError
from littleq.planning.burst import Burst, plan_burst
from littleq.planning.demand import Demand

#: Quantiles that a plan tells, in percent.
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
#: The curve ends where so many jobs are in time: nobody can see the rest.
ENOUGH = 0.9999
#: Rows of a curve at most, roughly: a large fleet is shown in larger steps.
_ROWS = 32

#: What `arrival_scv` > 1 does to the tail, and other limits: see the docstrings of `littleq.law`.
_BURSTY = (
    "Bursty arrivals (--arrival-scv above 1) make more jobs wait than the formula says: in simulations at 4, the share "
    "over 0.1 service times was 1.2 to 8 times as high, that over 2 service times at most 1.7 times."
)


@dataclass(frozen=True)
class Point:
    """A pool on the cost curve.

    Attributes:
        servers: worker threads.
        workers: processes that they fill, the last perhaps in part.
        attainment: share of jobs that get what is promised, in [0, 1].
        gain: in attainment per server, over the point before; None at the first.
        holds: whether the promise holds.
    """

    servers: int
    workers: int
    attainment: float
    gain: float | None
    holds: bool


@dataclass(frozen=True)
class Plan:
    """What a demand needs, and what it gets; times in seconds.

    Attributes:
        threads: of a worker.
        servers_needed: fewest worker threads that keep the promise.
        workers_needed: processes that have as many.
        workers, servers: the pool that the rest is about: the needed one, or the one that was asked about.
        holds: whether the promise holds with it.
        utilization: ρ = a/c of the pool.
        attainment: share of jobs that get what is promised.
        wait_probability: P(Wq > 0).
        mean_wait, mean_sojourn: Wq and W.
        wait_quantiles: wait by percentile.
        queue_length, number_in_system: Lq = λWq and L = λW.
        contract_limit: λ × SLA, most jobs that admission `contract` lets wait.
        capacity_limit: most jobs that may wait so that the last starts in time; admission `capacity`.
        curve: what other pools would do, from the least stable one up.
        burst: what a burst does to the pool.
        assumptions: what all of it rests on, a sentence each.
    """

    demand: Demand
    threads: int
    servers_needed: int
    workers_needed: int
    workers: int
    servers: int
    holds: bool
    utilization: float
    attainment: float
    wait_probability: float
    mean_wait: float
    mean_sojourn: float
    wait_quantiles: dict[float, float]
    queue_length: float
    number_in_system: float
    contract_limit: int
    capacity_limit: int
    curve: tuple[Point, ...]
    burst: Burst
    assumptions: tuple[str, ...]


def plan(
    demand: Demand,
    *,
    threads: int = 8,
    workers: int | None = None,
    burst: float = 3.0,
    burst_seconds: float | None = None,
    startup_seconds: float = 30.0,
) -> Plan:
    """Plan a pool for a demand.

    Args:
        threads: of a worker process, each a server; 1..10**6.
        workers: look at so many instead of the fewest that keep the promise; >= 1.
        burst: factor of the arrival rate in the burst; >= 1.
        burst_seconds: its length; > 0; None: as long as a start-up.
        startup_seconds: from the order of a worker until it takes jobs; > 0.

    Raises:
        ValidationError: an argument is out of range.
        UnstableQueueError: the pool that was asked about cannot keep up with the arrivals.

    >>> planned = plan(Demand(20.0, 0.2, 1.0, 99.0, service_scv=1.5), threads=2)
    >>> planned.servers_needed, planned.workers, planned.contract_limit, planned.burst.extra_workers
    (6, 3, 20, 4)
    """
    for name, value in (("threads", threads), ("workers", 1 if workers is None else workers)):
        if not (isinstance(value, int) and 1 <= value <= law.MAX_SERVERS):
            raise ValidationError(
                f"{name} is {value!r}; it must be a whole number from 1 to {law.MAX_SERVERS}."
            )
    needed = math.ceil(demand.servers_needed / threads)
    workers = needed if workers is None else workers
    servers = workers * threads
    mean_wait = demand.mean_wait(servers)
    attainment = 1.0 - demand.missed_share(servers)
    limit = 0
    if demand.patience > 0:
        limit = law.capacity_limit(
            servers, demand.service_time, demand.patience, demand.percentile, demand.service_scv
        )
    mean_sojourn = mean_wait + demand.service_time
    return Plan(
        demand=demand,
        threads=threads,
        servers_needed=demand.servers_needed,
        workers_needed=needed,
        workers=workers,
        servers=servers,
        holds=servers >= demand.servers_needed,
        utilization=law.utilization(demand.arrival_rate, demand.service_time, servers),
        attainment=attainment,
        wait_probability=demand.wait_tail(servers, 0.0),
        mean_wait=mean_wait,
        mean_sojourn=mean_sojourn,
        wait_quantiles={percentile: demand.wait_quantile(servers, percentile) for percentile in PERCENTILES},
        queue_length=law.little_number_in_system(demand.arrival_rate, mean_wait),
        number_in_system=law.little_number_in_system(demand.arrival_rate, mean_sojourn),
        contract_limit=law.queue_limit(demand.arrival_rate, demand.sla_seconds),
        capacity_limit=limit,
        curve=cost_curve(demand, threads, servers),
        burst=plan_burst(
            demand,
            workers,
            threads,
            burst,
            startup_seconds if burst_seconds is None else burst_seconds,
            startup_seconds,
            limit,
        ),
        assumptions=tuple(_assumptions(demand)),
    )


def cost_curve(demand: Demand, threads: int, servers: int) -> tuple[Point, ...]:
    """Pools from the least stable one to where 99.99 % of the jobs are in time, and `servers`, in equal steps.

    A promise on sojourns that no pool keeps so often ends where one more server gains less than 1e-5.
    """
    first, needed = demand.least_servers, demand.servers_needed
    last = needed
    missed = demand.missed_share(last)
    while missed > 1.0 - ENOUGH and last < law.MAX_SERVERS:
        last, before = last + 1, missed
        missed = demand.missed_share(last)
        if before - missed < 1e-5 and demand.sojourn:
            break
    step = max(1, math.ceil((last - first) / _ROWS))
    chosen = sorted({*range(first, last + 1, step), last, needed, max(first, needed - 1), servers})
    points: list[Point] = []
    for each in chosen:
        attainment = 1.0 - demand.missed_share(each)
        gain = None
        if points:
            gain = (attainment - points[-1].attainment) / (each - points[-1].servers)
        points.append(Point(each, math.ceil(each / threads), attainment, gain, each >= needed))
    return tuple(points)


def _assumptions(demand: Demand) -> list[str]:
    said = [
        "Steady state: the arrival rate stays as it is. Retries are not counted: add them to it.",
        "First come, first served; all servers alike; run times independent of each other.",
        "Run times independent of the load: measure them at this load, since threads share cores and locks.",
    ]
    if demand.arrival_scv == 1.0:
        said.append("Poisson arrivals (many independent senders); --arrival-scv for others.")
    if demand.is_exact:
        said.append("Exponential run times; --scv for others. With both, M/M/c is exact.")
    else:
        said.append(
            "Allen-Cunneen is made for heavy traffic, utilization above 0.7. For Poisson arrivals its mean is exact on "
            "one server, and its tail errs on the safe side with --scv above 1."
        )
    if demand.arrival_scv > 1.0:
        said.append(_BURSTY)
    if demand.sojourn:
        said.append("Sojourns: wait and run time are independent, run times gamma with this mean and scv.")
    said.append(
        "The burst is a fluid that begins with an empty queue: backlog and waits are means; misses and headroom allow "
        "for chance."
    )
    return said
