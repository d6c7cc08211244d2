"""Admission in virtual time: the product's rule, on the numbers that its gate would know."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Literal

from littleq.policies import admission as policy
from littleq.policies.scaling import ScalingSettings
from littleq.simulation.fleet import Fleet

Mode = Literal["off", "contract", "capacity"]

#: A capacity limit is computed anew after so long, in seconds, as the product's gate does.
LIMIT_SECONDS = 1.0
#: Width of the window over which service times are measured, and of its slots, in seconds, as in the ledger.
WINDOW_SECONDS, SLOT_SECONDS = 60.0, 5.0


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """Who is let in.

    Attributes:
        mode: `off`: everyone; `contract`: λ × SLA jobs; `capacity`: what the live workers can start in time.
        arrival_rate: λ that the contract declares, in jobs per second; only for `contract`.
    """

    mode: Mode = "off"
    arrival_rate: float = 0.0


OPEN = AdmissionRule()


class Gatekeeper:
    """Judges arrivals one by one, all of them of default criticality, with an exact depth."""

    def __init__(self, rule: AdmissionRule, settings: ScalingSettings) -> None:
        self._rule = rule
        self._settings = settings
        self._finishes: list[tuple[float, float]] = []
        self._seen = 0
        self._limit: policy.QueueLimit | None = None
        self._limited_at = float("-inf")
        self._totals = (0, 0.0, 0.0)
        self._slots: deque[tuple[float, tuple[int, float, float]]] = deque([(0.0, self._totals)])

    def admits(
        self, now: float, waiting: int, fleet: Fleet, services: list[float], starts: list[float]
    ) -> bool:
        """Whether a job that arrives now may enter; `services` and `starts` are of the jobs admitted before it."""
        for job in range(self._seen, len(starts)):
            heapq.heappush(self._finishes, (starts[job] + services[job], services[job]))
        self._seen = len(starts)
        count, seconds, squares = self._totals
        while self._finishes and self._finishes[0][0] <= now:
            service = heapq.heappop(self._finishes)[1]
            count, seconds, squares = count + 1, seconds + service, squares + service * service
        self._totals = (count, seconds, squares)
        limit = self._current_limit(now, fleet)
        return policy.judge(limit, number_in_system=waiting + len(self._finishes), share=1.0).admitted

    def _current_limit(self, now: float, fleet: Fleet) -> policy.QueueLimit:
        if self._limit is None or (self._rule.mode == "capacity" and now - self._limited_at >= LIMIT_SECONDS):
            self._limit, self._limited_at = self._new_limit(now, fleet), now
        return self._limit

    def _new_limit(self, now: float, fleet: Fleet) -> policy.QueueLimit:
        settings = self._settings
        if self._rule.mode == "contract":
            return policy.contract_limit(self._rule.arrival_rate, settings.sla_seconds)
        service_time, scv = self._measured(now)
        return policy.capacity_limit(
            servers=fleet.ready * settings.threads_per_worker,
            service_time=service_time or settings.service_time,
            service_scv=scv,
            sla_seconds=settings.sla_seconds,
            percentile=settings.percentile,
            sojourn=settings.sojourn,
            worker_processes=fleet.ready,
            jobs_per_worker=settings.jobs_per_worker,
        )

    def _measured(self, now: float) -> tuple[float | None, float | None]:
        """Mean service time and its scv over the last minute; None: nothing ended in it."""
        if now - self._slots[-1][0] >= SLOT_SECONDS:
            self._slots.append((now, self._totals))
        while len(self._slots) > 1 and now - self._slots[1][0] >= WINDOW_SECONDS:
            self._slots.popleft()
        count, seconds, squares = (
            newer - older for newer, older in zip(self._totals, self._slots[0][1], strict=True)
        )
        if not count:
            return None, None
        mean = seconds / count
        return mean, max(0.0, squares / count / mean**2 - 1.0)
