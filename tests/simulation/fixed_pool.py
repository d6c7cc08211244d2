"""A pool whose size is fixed or follows a plan: the engine without anybody who decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import Run, View, simulate
from littleq.simulation.workload import Workload


class Planned:
    """So many workers from the first, second, … decision on; the last number stays."""

    name = "planned"

    def __init__(self, plan: Sequence[int], interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self.views: list[View] = []
        self._plan = list(plan)

    def workers(self, view: View) -> int:
        self.views.append(view)
        return self._plan.pop(0) if len(self._plan) > 1 else self._plan[0]


def fixed(workload: Workload, servers: int, *, threads: int = 1, sla: float = 1.0) -> Run:
    """The workload on so many servers that are always there."""
    workers = servers // threads
    settings = ScalingSettings(sla_seconds=sla, threads_per_worker=threads)
    policy = Planned([workers], interval_seconds=workload.seconds / 7)  # its looks must not disturb anything
    return simulate(workload, policy, settings, initial_workers=workers)


def poisson_workload(
    rate: float, service: Callable[[random.Random], float], *, jobs: int, seed: int
) -> Workload:
    """Poisson arrivals until there are so many."""
    rng = random.Random(seed)
    at, arrivals = 0.0, []
    for _ in range(jobs):
        at += rng.expovariate(rate)
        arrivals.append(at)
    return Workload(arrivals, [service(rng) for _ in arrivals], at)
