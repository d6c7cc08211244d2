"""How much more than the forecast a queue must be ready for, learned from its own past.

A worker that is asked for now helps a start-up time later, so where the promise is shorter than that, what comes in
between must meet workers that are there already. How many depends on how the queue's arrivals surprise, and no
formula knows that. So a few candidates (a forecast × a margin) run along in virtual time: each keeps the pool that it
would have asked for, takes the jobs that really came, and counts those that would have missed the promise and what its
pool would have cost. The cheapest that would have kept the promise is believed.

Fluid: jobs come and are served evenly within an interval; what happens inside one is the business of Erlang's formula.

Known weakness: it believes that the next hour surprises as the last one did. One flash crowd a day is over before it
is believed, and then paid for during an hour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

#: Forecasts that candidates are made of: the average over a minute, the highest 15 s of 3 and of 10 minutes.
FORECASTS: Final = ("mean of 60 s", "peak of 3 min", "peak of 10 min")
MARGINS: Final = (1.0, 1.15, 1.35, 1.6, 2.0, 2.5, 3.0, 4.0)
CANDIDATES: Final = tuple((f, m) for f in range(len(FORECASTS)) for m in range(len(MARGINS)))
#: Before there is a past to learn from.
FIRST_MARGIN = 1.5
#: Misses and costs count half after 40 minutes.
MEMORY_SECONDS = 3600.0
#: Of the share of jobs that may miss, what a candidate may use; the rest is for chance, cold starts, Erlang's tail.
BUDGET_SHARE = 0.7
#: What is believed before it was seen: with margin m, so many / m³ of the jobs miss, on the strength of ten minutes'
#: jobs. More where the forecast forgets peaks: what came lately is likely to come back.
PRIOR_MISSES, PRIOR_POWER, PRIOR_SECONDS = (0.3, 0.1, 0.015), 3.0, 600.0
#: Nothing that costs more than so many times the leanest pool is chosen: a promise is not kept at any price ...
DEAREST = 2.0
#: ... but as well as is worth it: one percent more of the jobs for half a leanest pool.
PRICE_PER_PERCENT = 0.5


class Choice(NamedTuple):
    """What to be ready for: `rate` (jobs/s) × `margin`, `of` which forecast, and what share would have missed."""

    of: str
    rate: float
    margin: float
    misses: float


@dataclass(frozen=True, slots=True)
class Shadows:
    """The candidates' pools so far.

    Attributes:
        asked: (when, rate by forecast) of the last two start-up times, oldest first.
        backlogs, misses, costs: by candidate: jobs that wait; decayed jobs too late; decayed server-seconds.
        jobs, work: decayed jobs that came, and their server-seconds.
    """

    asked: tuple[tuple[float, tuple[float, ...]], ...] = ()
    backlogs: tuple[float, ...] = (0.0,) * len(CANDIDATES)
    misses: tuple[float, ...] = (0.0,) * len(CANDIDATES)
    costs: tuple[float, ...] = (0.0,) * len(CANDIDATES)
    jobs: float = 0.0
    work: float = 0.0

    def after(
        self,
        now: float,
        elapsed: float,
        jobs: float,
        *,
        rates: Sequence[float],
        service_time: float,
        servers_for: Callable[[float], int],
        patience: float,
        startup: float,
        warm: bool,
    ) -> Shadows:
        """With `jobs` that came in the last `elapsed` seconds.

        Args:
            rates: what the forecasts say now, in jobs/s.
            service_time: S in seconds.
            servers_for: the fewest servers for a steady rate, 1 at least.
            patience: longest wait that is promised, in seconds.
            startup: seconds until a worker takes jobs; a pool is held as long before it shrinks.
            warm: the forecasts have a past; before that nobody is judged.
        """
        spacing = startup / 8
        asked = [entry for entry in self.asked if entry[0] >= now - elapsed - 2 * startup - spacing]
        if not asked or now - asked[-1][0] >= spacing:
            asked.append((round(now, 3), tuple(round(rate, 4) for rate in rates)))
        next_ = replace(self, asked=tuple(asked))
        pools = _pools(self.asked, now - elapsed, startup)
        if pools is None or not warm:
            return next_
        kept = math.exp(-elapsed / MEMORY_SECONDS)
        backlogs, misses, costs = [], [], []
        work = jobs * service_time
        steady = [(servers_for(ready), servers_for(held)) for ready, held in pools]
        for k, (f, m) in enumerate(CANDIDATES):
            ready, held = pools[f]
            margin = MARGINS[m] * service_time
            servers = max(steady[f][0], math.ceil(ready * margin))
            speed = servers / service_time
            before = self.backlogs[k]
            after = before + jobs - speed * elapsed
            # The real pool would have been helped after a start-up time: no virtual backlog grows for ever.
            after = min(max(0.0, after), speed * (startup + patience))
            backlogs.append(after)
            misses.append(self.misses[k] * kept + _late_share(before / speed, after / speed, patience) * jobs)
            costs.append(self.costs[k] * kept + max(steady[f][1], math.ceil(held * margin)) * elapsed)
        return Shadows(
            tuple(asked),
            tuple(backlogs),
            tuple(misses),
            tuple(costs),
            self.jobs * kept + jobs,
            self.work * kept + work,
        )

    def choose(self, rates: Sequence[float], miss_share: float) -> Choice:
        """The cheapest candidate that keeps the promise.

        Args:
            rates: what the forecasts say now.
            miss_share: of the jobs, that may miss; (0, 1).
        """
        if self.jobs <= 0.0 or self.work <= 0.0:
            return Choice(FORECASTS[0], rates[0], FIRST_MARGIN, 0.0)
        believed = PRIOR_SECONDS * max(rates[0], self.jobs / MEMORY_SECONDS)
        shares = [
            (missed + believed * PRIOR_MISSES[f] / MARGINS[m] ** PRIOR_POWER) / (self.jobs + believed)
            for (f, m), missed in zip(CANDIDATES, self.misses, strict=True)
        ]
        target, leanest = BUDGET_SHARE * miss_share, min(self.costs)
        affordable = [k for k, cost in enumerate(self.costs) if cost <= DEAREST * leanest]
        keeping = [k for k in affordable if shares[k] <= target]
        if keeping:
            best = min(keeping, key=lambda k: (self.costs[k], shares[k]))
        else:
            price = PRICE_PER_PERCENT * leanest * 100.0
            best = min(affordable, key=lambda k: (self.costs[k] + price * shares[k], shares[k]))
        f, m = CANDIDATES[best]
        return Choice(FORECASTS[f], rates[f], MARGINS[m], shares[best])

    def as_dict(self) -> dict[str, Any]:
        if not self.asked:
            return {}
        return {
            "asked": self.asked,
            "backlogs": [round(value, 2) for value in self.backlogs],
            "misses": [round(value, 4) for value in self.misses],
            "costs": [round(value, 2) for value in self.costs],
            "jobs": self.jobs,
            "work": self.work,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Shadows:
        if not record or len(record["costs"]) != len(CANDIDATES):  # another release had others
            return cls()
        return cls(
            asked=tuple((when, tuple(rates)) for when, rates in record["asked"]),
            backlogs=tuple(record["backlogs"]),
            misses=tuple(record["misses"]),
            costs=tuple(record["costs"]),
            jobs=record["jobs"],
            work=record["work"],
        )


def _pools(
    asked: Sequence[tuple[float, tuple[float, ...]]], now: float, startup: float
) -> list[tuple[float, float]] | None:
    """By forecast: the rate for which workers were there, and the one for which they were paid, at `now`.

    A pool keeps the highest request of the last start-up time, and a worker is there when it was asked for through
    all of the start-up time before. None until there is so much past.
    """
    if not asked or asked[0][0] > now - startup:
        return None
    held: list[tuple[float, tuple[float, ...]]] = []
    for end, _ in asked:
        if now - startup <= end <= now:
            window = [rates for when, rates in asked if end - startup <= when <= end]
            held.append((end, tuple(map(max, zip(*window, strict=True)))))
    if not held:
        return None
    return [(min(rates[f] for _, rates in held), held[-1][1][f]) for f in range(len(FORECASTS))]


def _late_share(first: float, last: float, patience: float) -> float:
    """Share of an interval's jobs that wait longer than `patience`, when waits go evenly from `first` to `last`.

    >>> _late_share(0.0, 2.0, 1.0), _late_share(2.0, 3.0, 1.0), _late_share(0.0, 1.0, 1.0)
    (0.5, 1.0, 0.0)
    """
    low, high = min(first, last), max(first, last)
    if high <= patience:
        return 0.0
    return 1.0 if low >= patience else (high - patience) / (high - low)
