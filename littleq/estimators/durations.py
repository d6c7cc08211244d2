"""How long things take: a job's service and a worker's start, as they were lately."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

#: Services count half after 7 minutes: as fast as code is deployed, slow enough for a queue of few jobs.
SERVICE_MEMORY_SECONDS = 600.0
#: So many services before their variability is believed; 1, an exponential's, until then.
SERVICES_FOR_SCV = 20
#: A start that took more than so many times the usual counts as that.
MOST_STRETCH = 3.0
#: Share of a new start-up time in the estimate: nine starts and the first one counts for a tenth.
_STARTUP_SHARE = 0.25


class Services(NamedTuple):
    """Decayed moments of the service times: how many, their sum and the sum of their squares."""

    number: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0

    def after(self, elapsed: float, number: float, seconds: float, squares: float) -> Services:
        """With what was served in the last `elapsed` seconds."""
        kept = math.exp(-elapsed / SERVICE_MEMORY_SECONDS)
        return Services(
            self.number * kept + number, self.seconds * kept + seconds, self.squares * kept + squares
        )

    def mean(self) -> float | None:
        """S in seconds; None before the first service (a thousandth of one is a memory, too)."""
        return self.seconds / self.number if self.number > 1e-3 and self.seconds > 0 else None

    def scv(self) -> float:
        """Variance over mean², >= 0."""
        if self.number < SERVICES_FOR_SCV or self.seconds <= 0:
            return 1.0
        return max(0.0, self.squares * self.number / self.seconds**2 - 1.0)


class Starts(NamedTuple):
    """Worker starts: what is asked for and not there yet, and how long it took lately.

    Attributes:
        seconds: estimate of the start-up time; None before the first start was seen.
        asked: (when, how many more) of orders that have not arrived, oldest first.
    """

    seconds: float | None = None
    asked: tuple[tuple[float, int], ...] = ()

    def after_asking(self, now: float, more: int) -> Starts:
        """`more` workers were asked for now; a negative number takes back the latest orders."""
        asked = list(self.asked)
        if more > 0:
            asked.append((now, more))
        while more < 0 and asked:
            when, count = asked.pop()
            if count + more > 0:
                asked.append((when, count + more))
            more += count
        return Starts(self.seconds, tuple(asked))

    def after_seeing(self, now: float, starting: int, interval: float, hint: float) -> Starts:
        """Only the `starting` latest orders are still open; those before have arrived, `interval` ago at most.

        An arrival was seen late by half an interval on average, which is taken off. One that took far longer than usual
        was held up by something else (no machine to be had, nobody who starts workers) and counts for less.

        Args:
            hint: the start-up time before any was seen, in seconds.
        """
        open_, seconds = list(self.asked), self.seconds
        arrived = sum(count for _, count in open_) - starting
        while arrived > 0 and open_:
            when, count = open_.pop(0)
            usual = hint if seconds is None else seconds
            took = min(max(0.0, now - when - interval / 2), MOST_STRETCH * usual + interval)
            seconds = usual + _STARTUP_SHARE * (took - usual)
            if count > arrived:
                open_.insert(0, (when, count - arrived))
            arrived -= count
        return Starts(seconds, tuple(open_))

    def remaining(self, now: float, starting: int, startup: float) -> list[float]:
        """Seconds until each of `starting` workers takes jobs, ascending.

        One that is late comes any moment, one that is later than twice the start-up time may take as long again.
        """
        found: list[float] = []
        for when, count in reversed(self.asked):
            left = when + startup - now
            found += [left if left > 0 else 0.0 if left > -startup else startup] * count
        found = found[:starting] + [startup / 2] * max(0, starting - len(found))
        return sorted(found)

    def as_list(self) -> list[Any]:
        return [self.seconds, [list(order) for order in self.asked]]

    @classmethod
    def from_list(cls, record: list[Any]) -> Starts:
        return cls(record[0], tuple((when, int(count)) for when, count in record[1]))
