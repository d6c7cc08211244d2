"""A queue in driven time for tests of the policy: jobs flow evenly, workers serve, the pool obeys each decision."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from littleq.policies.scaling import Decision, Observation, ScalingSettings, ScalingState, decide


def through_json(state: ScalingState) -> ScalingState:
    return ScalingState.from_dict(json.loads(json.dumps(state.as_dict())))


class Driven:
    """One queue; `tick` lets an interval pass and decides.

    Attributes:
        rate, service_time, startup: of what really happens, in jobs/s and seconds.
        workers: those that take jobs; `coming` are the others, by the moment when they do.
        waiting: jobs that no worker has.
        obeys: whether the pool does what was decided.
        seen, decision, state: the last ones.
    """

    def __init__(
        self,
        settings: ScalingSettings,
        *,
        rate: float = 10.0,
        service_time: float = 0.5,
        startup: float = 30.0,
        workers: int = 7,
    ) -> None:
        self.settings, self.rate, self.service_time, self.startup = settings, rate, service_time, startup
        self.now, self.workers, self.waiting = 10_000.0, workers, 0.0
        self.coming: list[float] = []
        self.obeys = True
        self.offered = self.served = 0.0
        self.seen = Observation(self.now)
        self.state: ScalingState | None = None
        self.decision: Decision
        self.desired: list[int] = []

    def tick(self, times: int = 1, **changes: Any) -> Decision:
        """Let so many intervals pass; `changes` are made to what is observed, not to what happens."""
        for _ in range(times):
            self.seen = replace(self.pass_time(), **changes)
            self.decision, self.state = decide(self.settings, self.seen, self.state)
            self.desired.append(self.decision.desired_workers)
            if self.obeys:
                self._obey(self.decision.desired_workers)
        return self.decision

    def pass_time(self) -> Observation:
        """An interval without a decision, and what can be seen at its end."""
        seconds, threads = self.settings.interval_seconds, self.settings.threads_per_worker
        self.now += seconds
        self.workers += sum(at <= self.now for at in self.coming)
        self.coming = [at for at in self.coming if at > self.now]
        came = self.rate * seconds
        served = min(self.waiting + came, self.workers * threads * seconds / self.service_time)
        self.offered += came
        self.served += served
        self.waiting += came - served
        busy = self.workers * threads if self.waiting else round(self.rate * self.service_time)
        return Observation(
            self.now,
            offered=self.offered,
            retried=0.0,
            services=self.served,
            service_seconds=self.served * self.service_time,
            service_seconds_squared=self.served * self.service_time**2 * 2.0,
            ready=round(self.waiting),
            in_flight=min(self.workers * threads, busy),
            delayed=0,
            oldest_age=self.waiting / self.rate if self.waiting and self.rate else None,
            workers=self.workers,
            starting=len(self.coming),
            timed=self.served,
            breached=0.0,
        )

    def _obey(self, desired: int) -> None:
        more = desired - self.workers - len(self.coming)
        self.coming += [self.now + self.startup] * more
        while more < 0 and self.coming:
            self.coming.pop()
            more += 1
        self.workers += min(0, more)
