"""First come, first served, in virtual time, with a pool of workers that somebody resizes.

    arrivals ──(admission)──> queue ──> free thread of a ready worker ──> done
                                ▲
       every interval: Observation ──> policy ──> so many workers

Between two events (a decision, a worker that becomes ready) the pool does not change, so the jobs of that span are
served in one tight loop: the next job starts when it has arrived and the first thread is free. Everything is computed,
nothing is drawn: the workload holds all chance.

Of what happens at the very moment of a decision, jobs that end and workers that become ready come before it, jobs that
arrive or start after it.
"""

from __future__ import annotations

import heapq
import math
import operator
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Protocol

from littleq.policies.scaling import Observation, ScalingSettings
from littleq.simulation.accounts import Accounts
from littleq.simulation.admission import OPEN, AdmissionRule, Gatekeeper
from littleq.simulation.fleet import Fleet
from littleq.simulation.workload import Workload

#: A run ends at last so long after its last arrival, in seconds, or after its own length if that is more: a policy that
#: keeps no worker would never finish.
PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class View:
    """What a policy may look at.

    Attributes:
        observation: what LittleQ's controller would read.
        pool: workers, ready or starting.
        utilization: share of the time of ready threads, since this policy's last look, in which they ran a job;
            None: no thread was ready.
    """

    observation: Observation
    pool: int
    utilization: float | None


class Policy(Protocol):
    """Who decides how many workers there are."""

    name: str
    interval_seconds: float

    def workers(self, view: View) -> int:
        """So many workers shall there be; called once an interval, the first time after one."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """What was seen at a decision, and what was decided."""

    at: float
    ready_jobs: int
    in_flight: int
    workers: int
    starting: int
    desired: int


@dataclass
class Run:
    """What happened.

    Attributes:
        policy: its name.
        initial_workers: ready when the run began.
        arrivals, services: of the jobs that were admitted, in order.
        starts: when each of them began; those that never did are missing at the end.
        shed: arrivals that admission refused, their times.
        end: when the last worker left, in seconds; at least the workload's length.
        worker_seconds: cost, from "asked for" until it left, over all workers.
        ready_seconds: the same from "takes jobs".
        worker_starts: workers that were asked for, those at the beginning included.
        peak_workers: most workers at one time, starting ones included.
    """

    policy: str
    initial_workers: int
    arrivals: list[float]
    services: list[float]
    starts: list[float]
    shed: list[float]
    end: float = 0.0
    worker_seconds: float = 0.0
    ready_seconds: float = 0.0
    worker_starts: int = 0
    peak_workers: int = 0
    moments: list[Moment] = field(default_factory=list)

    @property
    def waits(self) -> list[float]:
        """From arrival to start, in seconds, of the jobs that started, in order of arrival."""
        return [start - arrival for start, arrival in zip(self.starts, self.arrivals, strict=False)]


def simulate(
    workload: Workload,
    policy: Policy,
    settings: ScalingSettings,
    *,
    initial_workers: int,
    admission: AdmissionRule = OPEN,
) -> Run:
    """Run the workload under a policy.

    Args:
        settings: the promise, threads of a worker, start-up and the bounds of the pool: min and max hold whatever the
            policy says.
        initial_workers: they are ready when the run begins, and have cost their start-up.
        admission: who is let in.
    """
    return _Engine(workload, policy, settings, initial_workers, admission).run()


class _Engine:
    def __init__(
        self,
        workload: Workload,
        policy: Policy,
        settings: ScalingSettings,
        initial_workers: int,
        admission: AdmissionRule,
    ) -> None:
        self.workload = workload
        self.policy = policy
        self.settings = settings
        self.fleet = Fleet(settings.threads_per_worker, settings.startup_seconds)
        self.fleet.ask(-settings.startup_seconds, initial_workers)
        self.gatekeeper = None if admission.mode == "off" else Gatekeeper(admission, settings)
        #: Admitted jobs. Without admission all are, and `arrived` tells how far time has come.
        self.arrivals: list[float] = [] if self.gatekeeper else list(workload.arrivals)
        self.services: list[float] = [] if self.gatekeeper else list(workload.services)
        self.starts: list[float] = []
        self.shed: list[float] = []
        self.arrived = 0
        self.accounts = Accounts(settings)
        self._busy_mark = self._capacity_mark = 0.0
        self._started_work = 0.0
        self._summed = 0
        self._capacity = 0.0
        self._now = 0.0

    def run(self) -> Run:
        fleet, interval = self.fleet, self.policy.interval_seconds
        run = Run(self.policy.name, fleet.starts, self.arrivals, self.services, self.starts, self.shed)
        give_up = self.workload.seconds + max(self.workload.seconds, PATIENCE_SECONDS)
        decisions, end = 1, math.inf  # a system that has just begun has nothing to decide on
        fleet.open(0.0)
        while True:
            now = min(decisions * interval, fleet.next_ready)
            self._serve_until(min(now, give_up))
            if end == math.inf and self._all_started():
                finishes = map(operator.add, self.starts, self.services)
                end = max(self.workload.seconds, max(finishes, default=0.0))
            if now >= give_up and end == math.inf:
                end = give_up
            if now >= end:
                break
            self._capacity += (now - self._now) * len(fleet.servers)
            self._now = now
            fleet.open(now)
            if now == decisions * interval:
                run.moments.append(self._decide(now))
                decisions += 1
        fleet.close(end)
        run.end = end
        run.worker_seconds, run.ready_seconds = fleet.worker_seconds, fleet.ready_seconds
        run.worker_starts, run.peak_workers = fleet.starts, fleet.peak
        return run

    def _all_started(self) -> bool:
        return self.arrived == len(self.workload.arrivals) and len(self.starts) == len(self.arrivals)

    def _serve_until(self, until: float) -> None:
        """Let time pass: everything that arrives or starts before `until`."""
        every = self.workload.arrivals
        arrived = bisect_left(every, until, self.arrived)
        if self.gatekeeper is None:
            self.arrived = arrived
            self._start_jobs(until, arrived)
            return
        for job in range(self.arrived, arrived):
            at = every[job]
            self._start_jobs(at, len(self.arrivals))
            waiting = len(self.arrivals) - len(self.starts)
            if self.gatekeeper.admits(at, waiting, self.fleet, self.services, self.starts):
                self.arrivals.append(at)
                self.services.append(self.workload.services[job])
            else:
                self.shed.append(at)
        self.arrived = arrived
        self._start_jobs(until, len(self.arrivals))

    def _start_jobs(self, until: float, arrived: int) -> None:
        """Start the jobs, of the first `arrived`, whose turn comes before `until`. The inner loop of it all."""
        servers = self.fleet.servers
        if not servers:
            return
        arrivals, services, starts = self.arrivals, self.services, self.starts
        replace, began = heapq.heapreplace, starts.append
        for job in range(len(starts), arrived):
            start, worker = servers[0]
            arrival = arrivals[job]
            if arrival > start:  # noqa: PLR1730 - a call of max() would take a third of the loop
                start = arrival
            if start >= until:
                break
            replace(servers, (start + services[job], worker))
            began(start)

    def _decide(self, now: float) -> Moment:
        observation = self._observe(now)
        view = View(observation, self.fleet.size, self._utilization(now))
        wanted = self.policy.workers(view)
        desired = min(self.settings.max_workers, max(self.settings.min_workers, wanted))
        self.fleet.resize(now, desired)
        ready, in_flight = observation.ready or 0, observation.in_flight or 0
        return Moment(now, ready, in_flight, self.fleet.ready, self.fleet.starting, desired)

    def _observe(self, now: float) -> Observation:
        accounts = self.accounts
        accounts.update(now, self.arrivals, self.services, self.starts)
        admitted = len(self.arrivals) if self.gatekeeper else self.arrived
        ready = admitted - len(self.starts)
        return Observation(
            now=now,
            offered=float(self.arrived),
            retried=0.0,
            services=float(accounts.services),
            service_seconds=accounts.seconds,
            service_seconds_squared=accounts.squares,
            ready=ready,
            in_flight=len(accounts.running),
            oldest_age=now - self.arrivals[len(self.starts)] if ready else 0.0,
            workers=self.fleet.ready,
            starting=self.fleet.starting,
            timed=float(accounts.timed),
            breached=float(accounts.breached),
        )

    def _utilization(self, now: float) -> float | None:
        """Of ready workers only: a worker that was sent away is in nobody's average any more."""
        self._started_work += sum(self.services[self._summed : len(self.starts)])
        self._summed = len(self.starts)
        busy = self._started_work - self.fleet.remaining(now) - self.fleet.cut_seconds
        capacity = self._capacity - self._capacity_mark
        share = (busy - self._busy_mark) / capacity if capacity > 0 else None
        self._busy_mark, self._capacity_mark = busy, self._capacity
        return None if share is None else min(1.0, max(0.0, share))
