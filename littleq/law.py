"""Queueing maths: Little's Law, Erlang B and C, M/M/c, M/G/1, G/G/c, admission limits and sizing.

Pure functions of numbers. Names, units and legal ranges are the same in every signature, so the docstrings
below do not repeat them:

    arrival_rate      λ      jobs/s      >= 0         sla_seconds         s         > 0
    service_time      S      s           > 0          seconds             s         >= 0
    servers           c      whole       1..10**6     percentile          %         1 <= p < 100
    offered_load      a=λS   erlangs     >= 0         backlog             jobs      >= 0
    arrival_scv, service_scv, scv    squared coefficient of variation, (deviation / mean)²; >= 0:
                                     0 is clockwork, 1 exponential (Poisson arrivals), above 1 bursty

All raise `ValidationError` for an argument that is out of range, NaN, infinite or not a number; those that
need a steady state raise `UnstableQueueError` when a >= c. Queues are first come, first served.

Exact: Little, Erlang B and C, every `mmc_`, `mm1_`, `md1_` and `mg1_` function, and `servers_for_tail` and
`capacity_limit` at scv = 1. The rest approximates; tests/simulation/test_law_against_ciw.py says how well.
"""

from __future__ import annotations

import math

from littleq.errors import UnstableQueueError, ValidationError

# More threads than any fleet that we know of. A load above it is nearly always milliseconds taken for
# seconds, and refusing it bounds every loop below.
MAX_SERVERS = 10**6

# Above it floats no longer count single jobs: a wrong unit again, not a queue.
_MAX_JOBS = 2.0**53

_ADVICE = {
    "arrival_rate": "pass jobs per second, 0 for an idle queue",
    "service_time": "pass the mean run time of a job in seconds",
    "sojourn_time": "pass the mean of wait plus run time in seconds",
    "number_in_system": "pass the mean number of jobs, waiting and running",
    "offered_load": "pass arrival_rate × service_time, in erlangs",
    "sla_seconds": "pass the longest promised wait in seconds",
    "seconds": "pass a wait in seconds",
    "backlog": "pass the number of jobs that wait",
    "scv": "pass variance / mean² of the run times, 1.0 if unknown",
    "arrival_scv": "pass variance / mean² of the gaps between sends, 1.0 if unknown",
    "service_scv": "pass variance / mean² of the run times, 1.0 if unknown",
    "beta": "pass a margin in units of √a, usually 0.5 to 3",
    "shape": "pass mean² / variance",
    "x": "pass the value over the scale",
}


def little_number_in_system(arrival_rate: float, sojourn_time: float) -> float:
    """Mean number of jobs in a system, L = λW; fed with Wq instead of W, Lq.

    Holds for any arrival process, service time, discipline and number of servers.

    Source: Little, A proof for the queuing formula L = λW, Oper. Res. 9 (1961).

    >>> little_number_in_system(arrival_rate=20.0, sojourn_time=0.5)
    10.0
    """
    _check(">= 0", arrival_rate=arrival_rate, sojourn_time=sojourn_time)
    return arrival_rate * sojourn_time


def little_arrival_rate(number_in_system: float, sojourn_time: float) -> float:
    """Arrival rate that keeps L jobs in a system, λ = L/W, in jobs/s; sojourn_time > 0.

    >>> little_arrival_rate(number_in_system=10.0, sojourn_time=0.5)
    20.0
    """
    _check(">= 0", number_in_system=number_in_system)
    _check("> 0", sojourn_time=sojourn_time)
    return number_in_system / sojourn_time


def little_sojourn_time(number_in_system: float, arrival_rate: float) -> float:
    """Mean time a job spends in a system that holds L jobs, W = L/λ, in seconds; arrival_rate > 0.

    >>> little_sojourn_time(number_in_system=10.0, arrival_rate=20.0)
    0.5
    """
    _check(">= 0", number_in_system=number_in_system)
    _check("> 0", arrival_rate=arrival_rate)
    return number_in_system / arrival_rate


def offered_load(arrival_rate: float, service_time: float) -> float:
    """Offered load a = λS, in erlangs: the mean number of busy servers if there were enough of them.

    >>> offered_load(arrival_rate=40.0, service_time=0.25)
    10.0
    """
    _check(">= 0", arrival_rate=arrival_rate)
    _check("> 0", service_time=service_time)
    return arrival_rate * service_time


def utilization(arrival_rate: float, service_time: float, servers: int) -> float:
    """Utilization ρ = a/c: stable below 1; from 1 on it says how far demand is ahead.

    >>> utilization(arrival_rate=40.0, service_time=0.25, servers=16)
    0.625
    """
    _check_servers(servers)
    return offered_load(arrival_rate, service_time) / servers


def queue_limit(arrival_rate: float, sla_seconds: float) -> int:
    """Most jobs that may wait if they leave at λ and each must start within the SLA, L = λ × SLA.

    Rounded down, but float noise of one part in 10**12 does not cost a job. At least 1: a queue that may hold
    nothing admits nothing. It bounds the mean wait; `capacity_limit` bounds a percentile.

    >>> queue_limit(arrival_rate=0.29, sla_seconds=100.0)  # 28.999999999999996 in floats
    29
    """
    _check(">= 0", arrival_rate=arrival_rate)
    _check("> 0", sla_seconds=sla_seconds)
    jobs = _countable(arrival_rate * sla_seconds, "arrival_rate × sla_seconds")
    return max(1, math.floor(jobs * (1.0 + 1e-12)))


def capacity_limit(
    servers: int, service_time: float, sla_seconds: float, percentile: float, scv: float = 1.0
) -> int:
    """Most jobs that may wait if even the last must start within the SLA in `percentile` % of the cases.

    Args:
        servers: c; 0 is legal here (no live worker) and gives 0.
        scv: of the service time.

    Returns:
        The largest K with P(T(K) <= SLA) >= percentile/100, where T(K) is the time of K departures: the wait
        of a job that finds all servers busy and K - 1 jobs ahead in the queue. So admit while fewer than K
        wait. 0 means that even the next in line starts too late too often: only a free server helps then.

    While all c servers are busy, departures have the rate c/S. With exponential service they are a Poisson
    stream, so P(T(K) <= t) = P(Poisson(ct/S) >= K), exactly, whatever the overload.

    For scv > 1 they bunch. The index of dispersion of c renewal streams together is that of one: it grows
    from 1 over short spans to scv over long ones, and how soon depends on more than two moments. So take scv
    at once, and let jobs leave in whole bunches of scv: T(K) is gamma with shape 1 + (K - 1)/scv and scale
    scv × S/c. That errs on the low side, most for an SLA of few S.

    For scv < 1 the limit is that of scv = 1: over spans below S many servers look Poisson however regular
    each is, and a gain that rests on the phases of the servers is not safe to promise.

    Known weakness: clockwork jobs that started together finish together. Then the first departure may be a
    whole S away, and an SLA that is not well above S is missed.

    Source: Cox & Smith, On the superposition of renewal processes, Biometrika 41 (1954).

    >>> capacity_limit(servers=10, service_time=0.5, sla_seconds=2.0, percentile=95.0)
    30
    """
    _check_servers(servers, least=0)
    _check("> 0", service_time=service_time, sla_seconds=sla_seconds)
    _check(">= 0", scv=scv)
    miss = _miss(percentile)
    departures = _countable(servers * (sla_seconds / service_time), "servers × sla_seconds / service_time")
    bunch = max(1.0, scv)

    def in_time(jobs: int) -> bool:
        return gamma_cdf(1.0 + (jobs - 1) / bunch, departures / bunch) >= 1.0 - miss

    above = 1
    while in_time(above):
        above *= 2
    best = above // 2
    while above - best > 1:
        middle = (best + above) // 2
        best, above = (middle, above) if in_time(middle) else (best, middle)
    return best


def erlang_b(offered_load: float, servers: int) -> float:
    """Probability that an arrival is lost in an M/G/c/c system, where nobody can wait (Erlang B), in [0, 1].

    The recurrence 1/B(c) = 1 + (c/a)/B(c - 1), unrolled from the top: all terms are positive, so nothing
    cancels, and the sum stops at the first term too small to count, after about c - a + 9√c steps, not c.

    Source: Jagerman, Some properties of the Erlang loss function, Bell Syst. Tech. J. 53 (1974).

    >>> round(erlang_b(2.0, 3), 4)
    0.2105
    """
    _check(">= 0", offered_load=offered_load)
    _check_servers(servers)
    if offered_load == 0:
        return 0.0
    total = term = 1.0
    for server in range(servers, 0, -1):
        term *= server / offered_load
        total += term
        if term < total * 1e-17 or total == math.inf:  # inf: B is below the smallest float
            break
    return 1.0 / total


def erlang_c(offered_load: float, servers: int) -> float:
    """Probability that an arrival waits in an M/M/c queue (Erlang C).

    Args:
        offered_load: a = λ/μ, in erlangs; 0 <= a < servers.
        servers: c, identical servers; c >= 1.

    Returns:
        P(Wq > 0), in [0, 1].

    Raises:
        UnstableQueueError: a >= c, so no steady state exists.

    Assumes Poisson arrivals and exponential service. Evaluated from Erlang B, which does not overflow for
    large c, and from c - a, which is exact however close a is to c.

    Source: Kleinrock, Queueing Systems vol. 1 (1975), ch. 3.

    >>> round(erlang_c(2.0, 3), 4)
    0.4444
    """
    blocked = erlang_b(offered_load, servers)
    _check_stable(offered_load, servers)
    return _waits(blocked, offered_load, servers)


def mmc_waiting_time(arrival_rate: float, service_time: float, servers: int) -> float:
    """Mean wait in an M/M/c queue, Wq = C(c, a) S/(c - a), in seconds.

    >>> round(mmc_waiting_time(arrival_rate=2.0, service_time=1.0, servers=3), 4)
    0.4444
    """
    return ggc_waiting_time(arrival_rate, service_time, servers)


def mmc_queue_length(arrival_rate: float, service_time: float, servers: int) -> float:
    """Mean number of waiting jobs in an M/M/c queue, Lq = C(c, a) a/(c - a); running jobs are not counted.

    >>> round(mmc_queue_length(arrival_rate=2.0, service_time=1.0, servers=3), 4)
    0.8889
    """
    load = offered_load(arrival_rate, service_time)
    return erlang_c(load, servers) * load / (servers - load)


def mmc_waiting_time_tail(arrival_rate: float, service_time: float, servers: int, seconds: float) -> float:
    """P(Wq > seconds) in an M/M/c queue, C(c, a) exp(-(c - a) t/S), in [0, 1].

    >>> round(mmc_waiting_time_tail(arrival_rate=2.0, service_time=1.0, servers=3, seconds=1.0), 4)
    0.1635
    """
    return ggc_waiting_time_tail(arrival_rate, service_time, servers, seconds)


def mmc_waiting_time_quantile(
    arrival_rate: float, service_time: float, servers: int, percentile: float
) -> float:
    """Wait that `percentile` % of the jobs in M/M/c do not exceed, in seconds; 0 if so many never wait.

    >>> round(mmc_waiting_time_quantile(arrival_rate=2.0, service_time=1.0, servers=3, percentile=95.0), 4)
    2.1848
    """
    miss = _miss(percentile)
    load = offered_load(arrival_rate, service_time)
    waits = erlang_c(load, servers)
    return 0.0 if waits <= miss else math.log(waits / miss) * service_time / (servers - load)


def mm1_waiting_time(arrival_rate: float, service_time: float) -> float:
    """Mean wait in an M/M/1 queue, Wq = ρS/(1 - ρ), in seconds.

    >>> round(mm1_waiting_time(arrival_rate=0.8, service_time=1.0), 4)
    4.0
    """
    return mg1_waiting_time(arrival_rate, service_time, service_scv=1.0)


def md1_waiting_time(arrival_rate: float, service_time: float) -> float:
    """Mean wait in an M/D/1 queue, half that of M/M/1, in seconds.

    >>> round(md1_waiting_time(arrival_rate=0.8, service_time=1.0), 4)
    2.0
    """
    return mg1_waiting_time(arrival_rate, service_time, service_scv=0.0)


def mg1_waiting_time(arrival_rate: float, service_time: float, service_scv: float) -> float:
    """Mean wait in an M/G/1 queue, Wq = ρS/(1 - ρ) × (1 + cs²)/2 (Pollaczek-Khinchine), in seconds.

    Source: Kleinrock, Queueing Systems vol. 1 (1975), ch. 5.

    >>> round(mg1_waiting_time(arrival_rate=0.8, service_time=1.0, service_scv=4.0), 4)
    10.0
    """
    _check(">= 0", service_scv=service_scv)
    load = offered_load(arrival_rate, service_time)
    _check_stable(load, 1)
    return load * service_time / (1.0 - load) * (1.0 + service_scv) / 2.0


def ggc_waiting_time(
    arrival_rate: float,
    service_time: float,
    servers: int,
    *,
    arrival_scv: float = 1.0,
    service_scv: float = 1.0,
) -> float:
    """Mean wait in a G/G/c queue by Allen-Cunneen, that of M/M/c times (ca² + cs²)/2, in seconds.

    Exact for M/M/c and M/G/1; elsewhere an approximation for heavy traffic (ρ > 0.7).

    Source: Allen, Probability, Statistics and Queueing Theory, 2nd ed. (1990), ch. 5.

    >>> round(ggc_waiting_time(2.0, 1.0, 3, arrival_scv=1.0, service_scv=4.0), 4)
    1.1111
    """
    variability = _variability(arrival_scv, service_scv)
    load = offered_load(arrival_rate, service_time)
    return erlang_c(load, servers) * service_time / (servers - load) * variability


def ggc_waiting_time_tail(
    arrival_rate: float,
    service_time: float,
    servers: int,
    seconds: float,
    *,
    arrival_scv: float = 1.0,
    service_scv: float = 1.0,
) -> float:
    """P(Wq > seconds) in a G/G/c queue, C(c, a) exp(-(c - a) t/S × 2/(ca² + cs²)), in [0, 1].

    As many jobs wait as in M/M/c, and the waits of those are exponential with the mean of Allen-Cunneen: the
    limit in heavy traffic. Exact for M/M/c, and on the safe side for Poisson arrivals and cs² > 1.

    Known weakness: bursty arrivals (ca² > 1) make more jobs wait than C(c, a), so the tail is too low for
    short waits: in simulations of ca² = 4 by a factor of 1.2 to 8 at 0.1 S, of at most 1.7 at 2 S.

    Source: Köllerström, Heavy traffic theory for queues with several servers, J. Appl. Prob. 11 (1974).

    >>> round(ggc_waiting_time_tail(2.0, 1.0, 3, 1.0, arrival_scv=1.0, service_scv=0.0), 4)
    0.0601
    """
    _check(">= 0", seconds=seconds)
    variability = _variability(arrival_scv, service_scv)
    load = offered_load(arrival_rate, service_time)
    return _tail(erlang_c(load, servers), servers - load, seconds / service_time, variability)


def servers_for_tail(
    arrival_rate: float,
    service_time: float,
    sla_seconds: float,
    percentile: float,
    *,
    arrival_scv: float = 1.0,
    service_scv: float = 1.0,
) -> int:
    """Fewest servers, at least 1, with P(Wq > SLA) <= 1 - percentile/100 by `ggc_waiting_time_tail`.

    The tail falls with c, so the first c that meets the SLA, counted up from the first stable one, is the
    answer. Erlang B is carried along by its recurrence, so all of it takes O(√a) steps.

    >>> servers_for_tail(arrival_rate=100.0, service_time=0.5, sla_seconds=1.0, percentile=95.0)
    52
    """
    _check("> 0", sla_seconds=sla_seconds)
    miss = _miss(percentile)
    variability = _variability(arrival_scv, service_scv)
    load = offered_load(arrival_rate, service_time)
    if load >= MAX_SERVERS:
        raise ValidationError(
            f"arrival_rate × service_time is {load:g} erlangs; it must be below {MAX_SERVERS}: check that "
            f"arrival_rate ({arrival_rate:g}) is per second and service_time ({service_time:g}) in seconds."
        )
    servers = math.floor(load) + 1
    blocked = erlang_b(load, servers)
    services = sla_seconds / service_time
    while _tail(_waits(blocked, load, servers), servers - load, services, variability) > miss:
        servers += 1
        blocked = load * blocked / (servers + load * blocked)
    return servers


def square_root_staffing(offered_load: float, beta: float) -> int:
    """Servers by the square-root rule, a + β√a rounded up, always stable and at least 1; beta > 0.

    A fleet needs its load plus a margin that grows only with √a. `halfin_whitt_beta` turns a target P(Wq > 0)
    into β. A check by hand on `servers_for_tail`, which is exact for M/M/c.

    Source: Halfin & Whitt, Heavy-traffic limits for queues with many servers, Oper. Res. 29 (1981).

    >>> square_root_staffing(offered_load=100.0, beta=1.0)
    110
    """
    _check(">= 0", offered_load=offered_load)
    _check("> 0", beta=beta)
    servers = _countable(offered_load + beta * math.sqrt(offered_load), "offered_load + beta × √a")
    return max(math.ceil(servers), math.floor(offered_load) + 1)


def halfin_whitt_wait_probability(beta: float) -> float:
    """Limit of P(Wq > 0) in M/M/c with a + β√a servers as a grows, 1/(1 + βΦ(β)/φ(β)); beta > 0.

    >>> round(halfin_whitt_wait_probability(1.0), 4)
    0.2234
    """
    _check("> 0", beta=beta)
    density = math.exp(-beta * beta / 2.0) / math.sqrt(2.0 * math.pi)
    return density / (density + beta * math.erfc(-beta / math.sqrt(2.0)) / 2.0)


def halfin_whitt_beta(wait_probability: float) -> float:
    """Margin β at which the limit of P(Wq > 0) is wait_probability; 1e-300 <= wait_probability < 1.

    >>> round(halfin_whitt_beta(0.2), 3)
    1.062
    """
    if not (isinstance(wait_probability, (int, float)) and 1e-300 <= wait_probability < 1.0):
        raise ValidationError(
            f"wait_probability is {wait_probability!r}; it must be >= 1e-300 and < 1: pass the share of jobs "
            "that may wait, 0.2 for 20 %."
        )
    low, high = 0.0, 40.0  # the limit is 1 at β = 0 and below 1e-300 at 40; 60 halvings leave 4e-17 between
    for _ in range(60):
        middle = (low + high) / 2.0
        if halfin_whitt_wait_probability(middle) > wait_probability:
            low = middle
        else:
            high = middle
    return high


def drain_time(backlog: float, servers: int, service_time: float, arrival_rate: float = 0.0) -> float:
    """Mean time until nothing waits any more, n/(c/S - λ), in seconds; servers may be 0 here.

    0 without a backlog, and inf if it never drains (λ >= c/S): for a scaling policy that compares it with the
    slack it has, "never" is an ordinary answer, not an exception. Fluid approximation: no server idles.

    >>> drain_time(backlog=600, servers=10, service_time=0.5, arrival_rate=10.0)
    60.0
    >>> drain_time(backlog=600, servers=5, service_time=0.5, arrival_rate=10.0)
    inf
    """
    _check(">= 0", backlog=backlog)
    _check_servers(servers, least=0)
    load = offered_load(arrival_rate, service_time)
    if backlog == 0:
        return 0.0
    return backlog * service_time / (servers - load) if load < servers else math.inf


def _waits(blocked: float, load: float, servers: int) -> float:
    """Erlang C from Erlang B."""
    return min(1.0, servers * blocked / (servers - load + load * blocked))


def _tail(waits: float, spare: float, services: float, variability: float) -> float:
    """P(Wq > t) with spare = c - a and t = services × S; where all is clockwork (0), nobody waits."""
    return waits * math.exp(-spare * services / variability) if variability > 0 else 0.0


def gamma_cdf(shape: float, x: float) -> float:
    """P(Gamma(shape) <= x) with scale 1, which for a whole shape is P(Poisson(x) >= shape).

    Args:
        shape: > 0.
        x: >= 0.

    Returns:
        A probability, in [0, 1].

    Raises:
        ValidationError: an argument is out of its range.

    A series of positive terms. Above shape 1000 it would need thousands, so there Temme's uniform expansion,
    whose error is below 3e-8, the effect of 2e-6 of a job.

    Source: Abramowitz & Stegun 6.5.29; Temme, SIAM J. Math. Anal. 10 (1979).

    >>> round(gamma_cdf(1.0, 1.0), 4)  # exponential: 1 - 1/e
    0.6321
    """
    _check("> 0", shape=shape)
    _check(">= 0", x=x)
    if x <= 0.0:
        return 0.0
    if x > 2.0 * shape + 100.0:
        return 1.0  # short by less than 1e-30
    if shape > 1000.0:
        excess = (x - shape) / shape
        eta = math.copysign(math.sqrt(max(0.0, 2.0 * (excess - math.log1p(excess)))), excess)
        normal = math.erfc(-eta * math.sqrt(shape / 2.0)) / 2.0
        density = math.exp(-shape * eta * eta / 2.0) / math.sqrt(2.0 * math.pi * shape)
        return normal + density * (1.0 / 3.0 - eta / 12.0 + 2.0 * eta * eta / 135.0)
    total = term = 1.0
    step = shape
    while term > total * 1e-17:
        step += 1.0
        term *= x / step
        total += term
    return min(1.0, total * math.exp(shape * math.log(x) - x - math.lgamma(shape + 1.0)))


def _variability(arrival_scv: float, service_scv: float) -> float:
    _check(">= 0", arrival_scv=arrival_scv, service_scv=service_scv)
    return (arrival_scv + service_scv) / 2.0


def _miss(percentile: float) -> float:
    """Share of jobs that may miss the SLA. Below 1 % it is a fraction given for a percentage: 0.95."""
    if not (isinstance(percentile, (int, float)) and 1.0 <= percentile < 100.0):
        raise ValidationError(
            f"percentile is {percentile!r}; it must be >= 1 and < 100: write 95 for 95 %, 99.99 for 100."
        )
    return (100.0 - percentile) / 100.0


def _check(bound: str, **values: float) -> None:
    """Each value is a finite number and in bound, which is "> 0" or ">= 0"."""
    for name, value in values.items():
        try:
            legal = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
        except OverflowError:  # a whole number too large for a float
            legal = False
        if not legal or (value == 0 and bound == "> 0"):
            raise ValidationError(
                f"{name} is {value!r}; it must be a finite number {bound}: {_ADVICE[name]}."
            )


def _check_servers(servers: int, least: int = 1) -> None:
    if not (isinstance(servers, int) and least <= servers <= MAX_SERVERS):
        raise ValidationError(
            f"servers is {servers!r}; it must be a whole number from {least} to {MAX_SERVERS}: pass the "
            "number of worker threads that serve the queue."
        )


def _check_stable(load: float, servers: int) -> None:
    if load >= servers:
        raise UnstableQueueError(
            f"The offered load is {load:g} erlangs on {servers} servers; it must be below the number of "
            "servers: add servers, shorten the jobs or send fewer."
        )


def _countable(jobs: float, what: str) -> float:
    if not jobs <= _MAX_JOBS:
        raise ValidationError(
            f"{what} is {jobs:g} jobs; it must be at most 2**53: check that times are in seconds."
        )
    return jobs
