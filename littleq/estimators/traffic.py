"""The arrival rate: at several time scales, with its trend and its peaks, and which forecast erred least.

A queue is steady or it is not, and no single average fits both: a long one is precise where nothing changes, a short
one is quick where something does. So several forecasts are made at once, each is held against what came one lead
time later, and the one that erred least lately is believed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: Time scales of the averages, in seconds; the first is the last interval alone.
WINDOWS: Final = (5.0, 15.0, 30.0, 60.0, 180.0, 600.0)
#: The trend is the line through the averages of these windows, by their mean age.
_FAST, _SLOW = WINDOWS.index(15.0), WINDOWS.index(60.0)
#: Peaks are remembered by slots of so many seconds.
PEAK_SLOT_SECONDS = 15.0
#: Errors of forecasts count half after 7 minutes.
ERROR_MEMORY_SECONDS = 600.0
#: Counts of single intervals that are kept: they tell how old the jobs of a backlog are.
KEPT_INTERVALS = 64
#: Forecasts that are kept until they can be judged; for a long lead time they stand further apart.
KEPT_FORECASTS = 24
#: Longest time that a peak is remembered, in seconds.
PEAK_MEMORY_SECONDS = 600.0


@dataclass(slots=True)
class Traffic:
    """What is known of a queue's arrivals. `after` returns the next one and leaves this one as it is.

    Attributes:
        began: when it was first looked at.
        seen: time covered since then, in seconds.
        averages: per window: (rate × weight, weight); the weight grows from 0 to 1, so that young ones are not low.
        intervals: (end, jobs) of the last intervals.
        peaks: slot -> highest 15 s average in it.
        forecasts: (when, rates) not yet judged, oldest first: one rate a window, and the trend's.
        errors: per forecast: decayed sum of squared errors.
        judged: decayed number of judgements.
    """

    began: float
    seen: float = 0.0
    averages: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)] * len(WINDOWS))
    intervals: list[tuple[float, float]] = field(default_factory=list)
    peaks: dict[int, float] = field(default_factory=dict)
    forecasts: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    errors: list[float] = field(default_factory=lambda: [0.0] * (len(WINDOWS) + 1))
    judged: float = 0.0

    def after(self, now: float, elapsed: float, jobs: float, lead: float) -> Traffic:
        """With `jobs` that came in the last `elapsed` seconds (> 0).

        Args:
            lead: how far ahead forecasts look, in seconds; >= 0.
        """
        rate = jobs / elapsed
        averages = []
        for window, (value, weight) in zip(WINDOWS, self.averages, strict=True):
            share = 1.0 - math.exp(-elapsed / window) if window > WINDOWS[0] else 1.0
            averages.append((value + share * (rate - value), weight + share * (1.0 - weight)))
        next_ = Traffic(
            began=self.began,
            seen=self.seen + elapsed,
            averages=averages,
            intervals=[*self.intervals[1 - KEPT_INTERVALS :], (round(now, 3), jobs)],
        )
        slot = int(now // PEAK_SLOT_SECONDS)
        oldest = slot - int(PEAK_MEMORY_SECONDS // PEAK_SLOT_SECONDS)
        next_.peaks = {s: peak for s, peak in self.peaks.items() if oldest <= s <= slot}
        next_.peaks[slot] = max(next_.peaks.get(slot, 0.0), next_.average(15.0))
        next_._judge(self, now, elapsed, lead)
        return next_

    def _judge(self, last: Traffic, now: float, elapsed: float, lead: float) -> None:
        """Hold the forecasts that are due against what came, and make new ones."""
        kept = math.exp(-elapsed / ERROR_MEMORY_SECONDS)
        self.errors, self.judged = [error * kept for error in last.errors], last.judged * kept
        actual, _ = self.recent(2)
        waiting = last.forecasts
        while waiting and waiting[0][0] + lead <= now:
            rates = waiting[0][1]
            if waiting[1:] and waiting[1][0] + lead <= now:
                waiting = waiting[1:]  # a pause: several are due, the last one tells most
                continue
            self.errors = [e + (rate - actual) ** 2 for e, rate in zip(self.errors, rates, strict=True)]
            self.judged += 1.0
            waiting = waiting[1:]
        if not waiting or now - waiting[-1][0] >= lead / KEPT_FORECASTS:
            waiting = [*waiting, (now, self._forecast(lead))]
        self.forecasts = waiting

    def _forecast(self, lead: float) -> tuple[float, ...]:
        means = tuple(value / weight if weight else 0.0 for value, weight in self.averages)
        slope = (means[_FAST] - means[_SLOW]) / (WINDOWS[_SLOW] - WINDOWS[_FAST])
        return tuple(round(rate, 4) for rate in (*means, max(0.0, means[_FAST] + slope * lead)))

    def average(self, window: float) -> float:
        """The rate averaged over about `window` seconds (one of `WINDOWS`), in jobs/s."""
        value, weight = self.averages[WINDOWS.index(window)]
        return value / weight if weight else 0.0

    def peak(self, seconds: float, now: float) -> float:
        """The highest 15 s average of the last `seconds`, up to ten minutes."""
        oldest = int((now - seconds) // PEAK_SLOT_SECONDS)
        return max((peak for slot, peak in self.peaks.items() if slot >= oldest), default=0.0)

    def recent(self, intervals: int) -> tuple[float, float]:
        """The rate of the last few intervals alone, and how long they were in all, in seconds."""
        last = self.intervals[-intervals - 1 :]
        if len(last) < 2:
            return self.average(WINDOWS[0]), 0.0
        span = last[-1][0] - last[0][0]
        return sum(jobs for _, jobs in last[1:]) / max(1e-9, span), span

    def forecast(self, lead: float) -> tuple[float, float]:
        """The rate `lead` seconds ahead, and the standard error that such forecasts had lately, in jobs/s."""
        rates = self._forecast(lead)
        if self.judged < 1.0:
            return rates[_FAST], rates[_FAST]
        best = min(range(len(rates)), key=lambda k: self.errors[k])
        return rates[best], math.sqrt(self.errors[best] / self.judged)

    def dispersion(self) -> float:
        """Index of dispersion of the counts: variance over mean, 1 for Poisson arrivals; 1 where too few came."""
        counts = [jobs for _, jobs in self.intervals[1:]]
        mean = sum(counts) / len(counts) if counts else 0.0
        if len(counts) < 8 or mean <= 0:
            return 1.0
        return sum((count - mean) ** 2 for count in counts) / (len(counts) - 1) / mean

    def ages(self, jobs: float, now: float, oldest_age: float | None) -> list[tuple[float, float]]:
        """How old the last `jobs` arrivals are, as (age, jobs), youngest first: first come, first served.

        Args:
            oldest_age: of the oldest of them, where it is known: all that came before the kept intervals are as old.
        """
        found: list[tuple[float, float]] = []
        for end, count in reversed(self.intervals):
            if jobs <= 0:
                return found
            if count > 0:
                found.append((now - end, min(jobs, count)))
                jobs -= count
        if jobs > 0:
            reach = now - self.intervals[0][0] if self.intervals else 0.0
            found.append((max(reach, oldest_age or 0.0), jobs))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Rounded: more digits are noise, and a thousand queues are stored every few seconds."""
        return {
            "began": self.began,
            "seen": round(self.seen, 1),
            "averages": [[round(value, 5), round(weight, 5)] for value, weight in self.averages],
            "intervals": [[end, jobs] for end, jobs in self.intervals],
            "peaks": {str(slot): round(peak, 4) for slot, peak in self.peaks.items()},
            "forecasts": self.forecasts,
            "errors": [round(error, 6) for error in self.errors],
            "judged": round(self.judged, 5),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Traffic:
        return cls(
            began=record["began"],
            seen=record["seen"],
            averages=[(value, weight) for value, weight in record["averages"]],
            intervals=[(end, jobs) for end, jobs in record["intervals"]],
            peaks={int(slot): peak for slot, peak in record["peaks"].items()},
            forecasts=[(made, tuple(rates)) for made, rates in record["forecasts"]],
            errors=list(record["errors"]),
            judged=record["judged"],
        )
