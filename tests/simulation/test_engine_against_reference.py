"""The engine, whose inner loop takes short cuts, against one that takes none: every event by itself, in order of time.

Pools that grow, shrink, start slowly and finish their jobs: same starts, same cost, same view of the policy.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import pytest

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import simulate
from littleq.simulation.workload import Workload
from tests.simulation.fixed_pool import Planned


@dataclass(eq=False)
class Worker:
    number: int
    asked: float
    ready: float
    threads: int
    jobs: list[tuple[float, int]] = field(default_factory=list)  # (finish, job)
    idle_since: list[float] = field(default_factory=list)
    is_leaving: bool = False


class Reference:
    """One event after the other; nothing is computed ahead."""

    def __init__(
        self, workload: Workload, plan: list[int], interval: float, settings: ScalingSettings
    ) -> None:
        self.workload, self.plan, self.interval, self.settings = workload, plan, interval, settings
        self.workers: list[Worker] = []
        self.queue: deque[int] = deque()
        self.starts: dict[int, float] = {}
        self.seconds = 0.0
        self.seen: list[tuple[int, int, int, int]] = []
        self._count = 0

    def run(self, initial: int) -> None:
        self._ask(-self.settings.startup_seconds, initial)
        self._let_in(0.0)
        now, decisions, arrived = 0.0, 0, 0
        jobs = len(self.workload.arrivals)
        while True:
            finishes = [finish for worker in self.workers for finish, _ in worker.jobs]
            if arrived == jobs and len(self.starts) == jobs and not finishes and now >= self.workload.seconds:
                break
            readies = [worker.ready for worker in self.workers if worker.ready > now]
            arrival = self.workload.arrivals[arrived] if arrived < jobs else float("inf")
            decision = (decisions + 1) * self.interval
            done = arrived == jobs and len(self.starts) == jobs and not finishes
            end = self.workload.seconds if done else float("inf")
            now = min([*finishes, *readies, arrival, decision, end])
            self._finish(now)
            self._let_in(now)
            if now == end:
                break
            if now == decision:
                decisions += 1
                self._decide(now)
            if now == arrival:
                self.queue.append(arrived)
                arrived += 1
            self._start(now)
        for worker in self.workers:
            self.seconds += now - worker.asked
        self.end = now

    def _ask(self, now: float, count: int) -> None:
        for _ in range(count):
            self.workers.append(
                Worker(
                    self._count, now, now + self.settings.startup_seconds, self.settings.threads_per_worker
                )
            )
            self._count += 1

    def _let_in(self, now: float) -> None:
        for worker in self.workers:
            if worker.ready <= now and not worker.jobs and not worker.idle_since:
                worker.idle_since = [worker.ready] * worker.threads

    def _finish(self, now: float) -> None:
        for worker in list(self.workers):
            for finish, job in [each for each in worker.jobs if each[0] <= now]:
                worker.jobs.remove((finish, job))
                worker.idle_since.append(finish)
            if worker.is_leaving and not worker.jobs:
                self._gone(worker, now)

    def _gone(self, worker: Worker, now: float) -> None:
        self.workers.remove(worker)
        self.seconds += now - worker.asked

    def _start(self, now: float) -> None:
        while self.queue:
            able = [
                each for each in self.workers if each.ready <= now and each.idle_since and not each.is_leaving
            ]
            if not able:
                return
            worker = min(able, key=lambda each: (min(each.idle_since), each.number))
            worker.idle_since.remove(min(worker.idle_since))
            job = self.queue.popleft()
            self.starts[job] = now
            worker.jobs.append((now + self.workload.services[job], job))

    def _decide(self, now: float) -> None:
        here = [worker for worker in self.workers if not worker.is_leaving]
        ready = [worker for worker in here if worker.ready <= now]
        running = sum(len(worker.jobs) for worker in self.workers)
        self.seen.append((len(self.queue), running, len(ready), len(here) - len(ready)))
        wanted = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        self._ask(now, max(0, wanted - len(here)))
        for worker in list(self._leavers(here, ready, now))[: max(0, len(here) - wanted)]:
            worker.is_leaving = True
            if not worker.jobs:
                self._gone(worker, now)

    def _leavers(self, here: list[Worker], ready: list[Worker], now: float) -> Iterator[Worker]:
        yield from sorted((each for each in here if each not in ready), key=lambda each: -each.number)
        yield from sorted(
            ready, key=lambda each: (max([now, *(finish for finish, _ in each.jobs)]), -each.number)
        )


@pytest.mark.parametrize("seed", range(60))
def test_a_pool_that_changes_serves_every_job_when_the_reference_does(seed: int) -> None:
    rng = random.Random(seed)
    rate, mean = rng.choice([0.5, 2.0, 5.0]), rng.choice([0.5, 3.0, 12.0])
    arrivals = list(accumulate(rng.expovariate(rate) for _ in range(150)))
    workload = Workload(arrivals, [rng.expovariate(1 / mean) for _ in arrivals], arrivals[-1] + 5.0)
    threads, interval = rng.choice([1, 1, 2, 4]), rng.choice([2.0, 5.0])
    plan = [rng.randint(0, 12) for _ in range(rng.randint(1, 40))] + [rng.randint(2, 9)]
    settings = ScalingSettings(
        sla_seconds=1.0, threads_per_worker=threads, startup_seconds=rng.choice([0.5, 7.3, 31.0])
    )
    initial = rng.randint(0, 6)
    reference = Reference(workload, list(plan), interval, settings)
    reference.run(initial)
    policy = Planned(plan, interval)
    run = simulate(workload, policy, settings, initial_workers=initial)
    assert run.starts == [reference.starts[job] for job in range(len(arrivals))]
    assert run.end == pytest.approx(reference.end)
    assert run.worker_seconds == pytest.approx(reference.seconds)
    seen = [view.observation for view in policy.views]
    assert [(each.ready, each.in_flight, each.workers, each.starting) for each in seen] == reference.seen[
        : len(seen)
    ]
