"""What chance does to a burst: a Brownian motion that is reflected at an empty queue.

Drift m = bλ - c/S, variance ca² bλ a second for what arrives and cs² c/S for what leaves. From an empty queue

    P(B(t) > x) = Φ((mt - x)/s) + exp(2mxt/s²) Φ(-(mt + x)/s)

with s² the variance up to t. A job that arrives at t is late if more wait than the pool clears within the SLA; what
is cleared until its deadline varies too, so departures count up to t + SLA.

Source: Harrison, Brownian Motion and Stochastic Flow Systems (1985), §1.8.
"""

from __future__ import annotations

import math

from littleq.planning.demand import Demand

#: Steps of the sum over a burst.
_STEPS = 400


def late_share(demand: Demand, rate: float, servers: int, time: float) -> float:
    """Probability that a job is late that arrives `time` seconds after the rate rose to `rate`, in [0, 1]."""
    late = demand.alone_too_long if demand.sojourn else 0.0
    for patience, share in demand.patiences:
        late += share * wait_tail(demand, rate, servers, time, patience)
    return min(1.0, late)


def wait_tail(demand: Demand, rate: float, servers: int, time: float, patience: float) -> float:
    """Probability that it waits longer than `patience` seconds, in [0, 1]."""
    mean, bound, noise = _backlog(demand, rate, servers, time, patience)
    if noise == 0.0:
        return float(mean > bound)
    high = (mean + bound) / noise
    # From 8 on by Mills' ratio, where the exponential might overflow and Φ underflow.
    if high > 8.0:
        reflected = _density((mean - bound) / noise) / high
    else:
        reflected = math.exp(min(700.0, 2.0 * mean * bound / noise**2)) * _below(-high)
    return min(1.0, _below((mean - bound) / noise) + reflected)


def late_jobs(demand: Demand, rate: float, servers: int, seconds: float) -> float:
    """Mean number of late jobs among those that arrive in the first `seconds` after the rate rose to `rate`."""
    step = seconds / _STEPS
    return rate * step * sum(late_share(demand, rate, servers, step * (n + 0.5)) for n in range(_STEPS))


def excess(demand: Demand, rate: float, servers: int, time: float) -> float:
    """Mean number of jobs that wait at `time` beyond what the pool clears within the SLA."""
    mean, bound, noise = _backlog(demand, rate, servers, time, demand.patience)
    if noise == 0.0:
        return max(0.0, mean - bound)
    above = (mean - bound) / noise
    return noise * _density(above) + (mean - bound) * _below(above)


def wait_quantile(demand: Demand, rate: float, servers: int, time: float) -> float:
    """Wait that a job that arrives at `time` exceeds as seldom as the promise allows, in seconds."""
    low, high = 0.0, demand.service_time
    while wait_tail(demand, rate, servers, time, high) > demand.miss:
        low, high = high, 2.0 * high
    for _ in range(50):
        middle = (low + high) / 2.0
        above = wait_tail(demand, rate, servers, time, middle) > demand.miss
        low, high = (middle, high) if above else (low, middle)
    return high


def _backlog(
    demand: Demand, rate: float, servers: int, time: float, patience: float
) -> tuple[float, float, float]:
    """Its mean if nothing held it at 0, what the pool clears within `patience`, and the deviation."""
    leave = servers / demand.service_time
    span = time + patience
    variance = demand.arrival_scv * rate * time + demand.service_scv * leave * span
    return (rate - leave) * time, leave * patience, math.sqrt(variance)


def _below(deviations: float) -> float:
    """Φ of the normal distribution."""
    return math.erfc(-deviations / math.sqrt(2.0)) / 2.0


def _density(deviations: float) -> float:
    return math.exp(-deviations * deviations / 2.0) / math.sqrt(2.0 * math.pi)
