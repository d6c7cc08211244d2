"""What a fleet's ledger would have counted: all that a policy learns of the past."""

from __future__ import annotations

from littleq.policies.scaling import ScalingSettings


class Accounts:
    """Counters over the jobs of a run, exact at every moment at which they are brought up to date.

    Attributes:
        running: jobs that have begun and not ended, as (finish, service time, arrival), in seconds.
        services, seconds, squares: jobs that have ended, the sum of their service times and of the squares.
        timed, breached: jobs whose wait (sojourn) is known, and those of them that missed the SLA.
    """

    def __init__(self, settings: ScalingSettings) -> None:
        self._sla = settings.sla_seconds
        self._sojourn = settings.sojourn
        self._seen = 0
        self.running: list[tuple[float, float, float]] = []
        self.services = 0
        self.seconds = 0.0
        self.squares = 0.0
        self.timed = 0
        self.breached = 0

    def update(self, now: float, arrivals: list[float], services: list[float], starts: list[float]) -> None:
        """Count what has started and ended since the last time."""
        seen, started = self._seen, len(starts)
        running = self.running
        for job in range(seen, started):
            start, service, arrival = starts[job], services[job], arrivals[job]
            running.append((start + service, service, arrival))
            if not self._sojourn and start - arrival > self._sla:
                self.breached += 1
        still: list[tuple[float, float, float]] = []
        for one in running:
            finish, service, arrival = one
            if finish > now:
                still.append(one)
                continue
            self.services += 1
            self.seconds += service
            self.squares += service * service
            if self._sojourn and finish - arrival > self._sla:
                self.breached += 1
        self.running = still
        self.timed = self.services if self._sojourn else started
        self._seen = started
