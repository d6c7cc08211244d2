"""What a plan of the pool does to known jobs, and what a change of it does, without running everything again.

A plan says how many workers there are in each interval. Workers are ready when their interval begins (they were asked
for one start-up before) and leave when it ends, or when their last job is done. The jobs are served first come, first
served, as in the engine; threads of one worker are taken to be packed as well as can be.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.workload import Workload

Plan = list[int]

#: Jobs that have started, and when the threads are free that run one: all that the next interval has to know.
State = tuple[int, list[float]]


@dataclass(slots=True)
class Stretch:
    """What changed from interval `start` on: states at the beginning of the intervals after it, and jobs that are late
    in each; from `start + len(late)` on everything is as it was."""

    start: int
    states: list[State]
    late: list[int]
    more_late: int


class Timetable:
    """The jobs under a plan.

    Args:
        plan: workers by interval; every job must be able to start in one of them.
        interval: in seconds.

    Attributes:
        late: jobs that start in an interval, and miss the promise.
        work: jobs that were looked at, so far: what it has cost to compute this.
    """

    def __init__(self, workload: Workload, settings: ScalingSettings, plan: Plan, interval: float) -> None:
        self.plan = plan
        self.interval = interval
        self.work = 0
        self._arrivals: Sequence[float] = workload.arrivals
        self._services: Sequence[float] = workload.services
        self._threads = settings.threads_per_worker
        self._startup = settings.startup_seconds
        self._patience = settings.sla_seconds
        self._sojourn = settings.sojourn
        self._states: list[State] = [(0, [])]
        self.late: list[int] = []
        for index in range(len(plan)):
            state, late = self._serve(index, plan[index], self._states[-1])
            self._states.append(state)
            self.late.append(late)

    @property
    def unstarted(self) -> int:
        """Jobs that start in no interval."""
        return len(self._arrivals) - self._states[-1][0]

    @property
    def total_late(self) -> int:
        """Jobs that miss the promise, those that never start included."""
        return sum(self.late) + self.unstarted

    def cost(self) -> float:
        """Worker-seconds, from "asked for" until they have left."""
        return plan_cost(self.plan, self.interval, self._startup) + self.overtime()

    def overtime(self) -> float:
        """Worker-seconds in which workers finish jobs after their last interval."""
        total = 0.0
        for index, (_, busy) in enumerate(self._states):
            keep = self.plan[index] * self._threads if index < len(self.plan) else 0
            end = index * self.interval
            total += sum(free - end for free in sorted(busy)[: max(0, len(busy) - keep)])
        return total / self._threads

    def without(self, start: int, end: int, allowance: int) -> Stretch | None:
        """What one worker less does from interval `start` until before `end`.

        Returns:
            None where a job never starts, or more than `allowance` more are late.
        """
        stretch = Stretch(start, [], [], 0)
        state = self._states[start]
        for index in range(start, len(self.plan)):
            workers = self.plan[index] - (1 if index < end else 0)
            state, late = self._serve(index, workers, state)
            stretch.states.append(state)
            stretch.late.append(late)
            stretch.more_late += late - self.late[index]
            if stretch.more_late > allowance:
                return None
            if index + 1 >= end and state == self._states[index + 1]:
                return stretch
        return None if state[0] < len(self._arrivals) else stretch

    def accept(self, stretch: Stretch, end: int) -> None:
        """Make a change that `without` has looked at."""
        start, after = stretch.start, stretch.start + len(stretch.late)
        self.late[start:after] = stretch.late
        self._states[start + 1 : after + 1] = stretch.states
        for index in range(start, end):
            self.plan[index] -= 1

    def _serve(self, index: int, workers: int, state: State) -> tuple[State, int]:
        """One interval: the state at its end, and the jobs that start too late in it."""
        job, busy = state
        begin, until = index * self.interval, (index + 1) * self.interval
        servers = workers * self._threads
        idle = servers - len(busy)
        # Idle workers leave first, then those that are done first; both lists are sorted, so this is a heap.
        free = [begin] * idle + busy if idle >= 0 else busy[-idle:]
        if not free:
            return (job, []), 0
        arrivals, services, patience = self._arrivals, self._services, self._patience
        count, late, first = len(arrivals), 0, job
        replace = heapq.heapreplace
        while job < count:
            arrival, start = arrivals[job], free[0]
            if arrival > start:  # noqa: PLR1730 - as in the engine
                start = arrival
            if start >= until:
                break
            service = services[job]
            replace(free, start + service)
            if start - arrival + (service if self._sojourn else 0.0) > patience:
                late += 1
            job += 1
        self.work += job - first + 1 + servers // 8
        return (job, sorted(time for time in free if time > until)), late


def plan_cost(plan: Sequence[int], interval: float, startup_seconds: float) -> float:
    """Worker-seconds of a plan: its intervals, and a start-up for every worker that one has more than the last.

    >>> plan_cost([1, 2, 0, 1], 5.0, 30.0)
    110.0
    """
    rises = sum(max(0, after - before) for before, after in zip([0, *plan], plan, strict=False))
    return sum(plan) * interval + rises * startup_seconds


def saving(plan: Sequence[int], start: int, end: int, interval: float, startup_seconds: float) -> float:
    """Worker-seconds that one worker less saves from interval `start` until before `end`; it may be negative."""
    before = plan[start - 1] if start else 0
    after = plan[end] if end < len(plan) else 0
    starts = (1 if plan[start] > before else 0) - (1 if after >= plan[end - 1] else 0)
    return (end - start) * interval + starts * startup_seconds


def fill_gaps(plan: Sequence[int], interval: float, startup_seconds: float) -> Plan:
    """The plan without gaps that are cheaper to stay for than to leave and start again.

    >>> fill_gaps([2, 0, 0, 1, 0, 0, 0, 0, 1], 5.0, 12.0)
    [2, 1, 1, 1, 0, 0, 0, 0, 1]
    """
    filled = list(plan)
    longest = math.floor(startup_seconds / interval)
    last_at_level: list[int] = []  # by level, the last interval with so many workers
    for index, workers in enumerate(plan):
        for level in range(min(workers, len(last_at_level))):
            gap_start = last_at_level[level] + 1
            if 0 < index - gap_start <= longest:
                for between in range(gap_start, index):
                    filled[between] = max(filled[between], level + 1)
            last_at_level[level] = index
        last_at_level.extend([index] * (workers - len(last_at_level)))
    return filled
