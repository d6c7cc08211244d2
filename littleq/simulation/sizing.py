"""Pools of a fixed size, by Erlang C."""

from __future__ import annotations

import math

from littleq import law
from littleq.policies.scaling import ScalingSettings
from littleq.simulation.workload import Workload

#: Of a promise on sojourns, this share of a mean service is left for waiting where the service alone takes it all:
#: nobody could keep such a promise, but a pool must have some size.
LEAST_PATIENCE = 0.01


def pool_for(rate: float, workload: Workload, settings: ScalingSettings) -> int:
    """Fewest workers that keep the promise in the long run at this rate, within the bounds of the settings.

    Uses the mean and the scv of the workload's own service times.

    Args:
        rate: arrivals per second; 0 gives the least pool.
    """
    if rate <= 0 or not workload.services:
        return settings.min_workers
    mean = workload.service_time
    patience = settings.sla_seconds - (mean if settings.sojourn else 0.0)
    servers = law.servers_for_tail(
        rate,
        mean,
        max(patience, LEAST_PATIENCE * mean),
        settings.percentile,
        service_scv=workload.service_scv,
    )
    workers = math.ceil(servers / settings.threads_per_worker)
    return min(settings.max_workers, max(settings.min_workers, workers))


def warm_pool(workload: Workload, settings: ScalingSettings) -> int:
    """The pool that a system would have when the run begins: enough for the rate of the first minute."""
    window = min(60.0, workload.seconds)
    return pool_for(workload.rate(0.0, window), workload, settings)
