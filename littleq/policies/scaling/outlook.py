"""Work that must have begun by each moment ahead, and who can have done it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from littleq.policies.scaling.types import ScalingSettings

#: A promise that is already broken is restored within so many seconds of the arrival of new workers: shorter costs more
#: workers than it saves misses.
DRAIN_SECONDS = 5.0
#: Where the queue absorbs, jobs wait this share of what they may wait: room on both sides for what is not foreseen.
LEAN_WAIT_SHARE = 0.6
#: A new worker is asked for when it would be used for this share of its time, at least.
WORTH_A_WORKER = 0.25
#: Moments ahead that are looked at, at most.
MOST_MOMENTS = 40


class Outlook:
    """Work that must have begun by each moment ahead, and who can have done it."""

    def __init__(self, settings: ScalingSettings, inputs: Mapping[str, Any]) -> None:
        self._inputs, self._settings = inputs, settings
        self.service_time: float = inputs["service_time"]
        # A sojourn promise leaves for the wait what the service does not take.
        self.promise = max(
            settings.sla_seconds - (self.service_time if settings.sojourn else 0.0),
            0.05 * settings.sla_seconds,
        )
        self.patience = self.promise * settings.scale_threshold
        self.startup: float = inputs["startup_seconds"]
        step = settings.interval_seconds
        horizon = self.startup + max(DRAIN_SECONDS, self.patience) + step
        step *= max(1.0, math.ceil(horizon / step / MOST_MOMENTS))
        self._moments = [step * k for k in range(1, int(horizon / step + 1e-9) + 1)]
        self._first_help = self.startup + (step if inputs["lean"] else max(DRAIN_SECONDS, step))

    def due(self, moment: float, patience: float) -> float:
        """Server-seconds of the jobs that must have begun within `moment` seconds, jobs to come included."""
        jobs = sum(count for age, count in self._inputs["backlog"] if patience - age <= moment)
        jobs += sum(count for after, count in self._inputs["scheduled"] if after + patience <= moment)
        jobs += self._inputs["backlog_rate"] * max(0.0, moment - patience)
        return float(jobs * self.service_time)

    def served(self, moment: float) -> float:
        """Server-seconds that the workers there and starting can have served by then."""
        workers = self._inputs["workers"] * moment
        workers += sum(count * max(0.0, moment - left) for left, count in self._inputs["starting"])
        return float(workers * self._settings.threads_per_worker)

    def workers_for_backlog(self) -> int:
        """The fewest workers, there, starting or new, with which all that is due is begun in time."""
        threads, inputs = self._settings.threads_per_worker, self._inputs
        due = [(moment, self.due(moment, self.patience)) for moment in self._moments]
        missing = max(
            (
                (work - self.served(moment)) / (moment - self.startup) / threads
                for moment, work in due
                if moment >= self._first_help - 1e-6
            ),
            default=0.0,
        )
        there, starting = inputs["workers"], inputs["starting"]
        if missing > WORTH_A_WORKER:
            return int(there + sum(count for _, count in starting) + math.ceil(missing - 1e-9))
        # Enough: how many of them could go? A little too few is no reason to ask for one more.
        spare = [(m, max(0.0, w - WORTH_A_WORKER * threads * max(0.0, m - self.startup))) for m, w in due]
        fewest = math.ceil(max((work / moment for moment, work in spare), default=0.0) / threads - 1e-9)
        if fewest <= there:
            return max(0, fewest)
        kept, left = there, [(m, w - there * threads * m) for m, w in spare]
        for arrives, count in starting:
            short = max(
                (work / (moment - arrives) for moment, work in left if moment > arrives + 1e-9), default=0.0
            )
            needed = min(count, max(0, math.ceil(short / threads - 1e-9)))
            kept += needed
            left = [(m, w - needed * threads * max(0.0, m - arrives)) for m, w in left]
            if needed < count:
                break
        return int(kept)

    def lean_servers(self) -> float:
        """What keeps the wait at its share of the promise: the load, and the backlog's distance from there."""
        inputs, span = self._inputs, self.startup + self.patience
        waiting = sum(count for _, count in inputs["backlog"])
        rate = inputs["arrival_rate"]
        work = waiting + rate * (span - LEAN_WAIT_SHARE * self.patience)
        return float(work * self.service_time / span)

    def time_to_breach(self) -> float | None:
        """Seconds until a job misses the promise with the workers there and starting; None: none in sight."""
        oldest = self._inputs["oldest_age"]
        if oldest is not None and oldest > self._settings.sla_seconds:
            return 0.0
        for moment in self._moments:
            if self.due(moment, self.promise) > self.served(moment) + 0.5 * self.service_time:
                return float(moment)
        return None
