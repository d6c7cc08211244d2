"""The workers of a simulation: asked for, started, at work, sent away.

    ask ──start-up──> ready ──shrink──> gone as soon as its threads have finished their jobs
     └──shrink──> gone at once

A job that runs is never cut. What a worker costs: every second from the moment when it was asked for (a machine is
paid for while it boots) until it has left.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable

Server = tuple[float, int]


class Fleet:
    """Workers of `threads` servers each, which take jobs `startup_seconds` after they were asked for.

    Attributes:
        servers: heap of (when it is free, number of its worker), one entry a thread of a ready worker. The thread that
            has been free for longest takes the next job, as with consumers that block on one list.
        worker_seconds, ready_seconds: what the workers that have left did cost: since they were asked for, and since
            they were ready.
        starts: workers that were asked for so far.
        peak: most workers, ready and starting, at one time.
        cut_seconds: what is left of the running jobs of workers that were sent away, summed up as they were.
    """

    def __init__(self, threads: int, startup_seconds: float) -> None:
        self.threads = threads
        self.startup_seconds = startup_seconds
        self.servers: list[Server] = []
        self.worker_seconds = 0.0
        self.ready_seconds = 0.0
        self.starts = 0
        self.peak = 0
        self.cut_seconds = 0.0
        self._starting: deque[Server] = deque()
        self._asked: dict[int, float] = {}

    @property
    def ready(self) -> int:
        """Workers that take jobs."""
        return len(self.servers) // self.threads

    @property
    def starting(self) -> int:
        """Workers that were asked for and do not take jobs yet."""
        return len(self._starting)

    @property
    def size(self) -> int:
        """Workers that are ready or starting; not those that finish their last job."""
        return self.ready + self.starting

    @property
    def next_ready(self) -> float:
        """When the next starting worker takes jobs; inf: none starts."""
        return self._starting[0][0] if self._starting else math.inf

    def ask(self, now: float, workers: int) -> None:
        """Ask for more workers."""
        for _ in range(workers):
            self._starting.append((now + self.startup_seconds, self.starts))
            self._asked[self.starts] = now
            self.starts += 1
        self.peak = max(self.peak, self.size)

    def open(self, now: float) -> None:
        """Let those start to work that are ready by now."""
        while self._starting and self._starting[0][0] <= now:
            ready_at, worker = self._starting.popleft()
            for _ in range(self.threads):
                heapq.heappush(self.servers, (ready_at, worker))

    def resize(self, now: float, workers: int) -> None:
        """Ask for workers, or send some away, until there are so many."""
        if workers >= self.size:
            self.ask(now, workers - self.size)
        else:
            self.shrink(now, self.size - workers)

    def shrink(self, now: float, workers: int) -> None:
        """Send workers away: those that still start, the last asked for first; then idle ones; then those that finish
        their jobs first. Of two alike the younger one goes."""
        while workers and self._starting:
            self._leave(self._starting.pop()[1], now, now)
            workers -= 1
        if not workers:
            return
        busy_until: dict[int, float] = {}
        for free_at, worker in self.servers:
            busy_until[worker] = max(busy_until.get(worker, now), free_at)
        leaving = heapq.nsmallest(workers, busy_until, key=lambda worker: (busy_until[worker], -worker))
        for worker in leaving:
            self._leave(worker, now, busy_until[worker])
        gone = set(leaving)
        self.cut_seconds += sum(max(0.0, free - now) for free, worker in self.servers if worker in gone)
        # In place: the engine's inner loop holds on to the list.
        self.servers[:] = [server for server in self.servers if server[1] not in gone]
        heapq.heapify(self.servers)

    def close(self, now: float) -> None:
        """The run is over: every worker leaves now, or when its last job is done."""
        self.open(now)
        self.shrink(now, self.size)

    def remaining(self, now: float) -> float:
        """What is left of the running jobs of ready workers, in seconds."""
        return sum(free - now for free in self._free_times() if free > now)

    def busy(self, now: float) -> int:
        """Threads of ready workers that run a job."""
        return sum(free > now for free in self._free_times())

    def _free_times(self) -> Iterable[float]:
        return (free for free, _ in self.servers)

    def _leave(self, worker: int, now: float, gone_at: float) -> None:
        asked = self._asked.pop(worker)
        self.worker_seconds += gone_at - asked
        self.ready_seconds += max(0.0, gone_at - asked - self.startup_seconds)
