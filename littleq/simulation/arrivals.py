"""When jobs are sent: arrival times, in seconds from the start of a run.

Pure: no clock, and chance only from the `random.Random` that is handed in. Every generator yields a rising
sequence whose long-run rate is the one asked for; how the arrivals clump differs, which is what queues feel.

    steady   |  |  |  |  |  |      fixed gaps
    poisson  | ||    |  ||   |     exponential gaps: independent users
    bursts   |||      |||          `size` at a time, gaps `size` times as long
    trace    as recorded, bin by bin
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

Arrivals = Iterator[float]


def steady(interval: float) -> Arrivals:
    """One arrival at 0, then one every `interval` seconds, for ever.

    >>> list(itertools.islice(steady(0.5), 3))
    [0.0, 0.5, 1.0]
    """
    return (number * interval for number in itertools.count())


def poisson(rate: float, rng: random.Random) -> Arrivals:
    """A Poisson process of `rate` arrivals per second, for ever."""
    return itertools.accumulate(rng.expovariate(rate) for _ in itertools.repeat(None))


def bursts(epochs: Arrivals, size: int) -> Arrivals:
    """`size` arrivals at each of the epochs.

    >>> list(itertools.islice(bursts(steady(1.0), 2), 5))
    [0.0, 0.0, 1.0, 1.0, 2.0]
    """
    return (epoch for epoch in epochs for _ in range(size))


def generated(*, rate: float, burst: int, is_poisson: bool, rng: random.Random) -> Arrivals:
    """Arrivals at a mean `rate` (1/s), `burst` at a time, with fixed or exponential gaps between bursts."""
    epochs = poisson(rate / burst, rng) if is_poisson else steady(burst / rate)
    return epochs if burst == 1 else bursts(epochs, burst)


@dataclass(frozen=True, slots=True)
class Trace:
    """Recorded arrivals, by bin.

    Attributes:
        bin_seconds: width of a bin where it was recorded, in seconds; > 0.
        speed_up: how many times faster it is meant to be played; > 0.
        bins: (index of the bin, arrivals in it), the index rising; a bin that is not there had none.
    """

    bin_seconds: float
    speed_up: float
    bins: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        """Arrivals in the whole trace."""
        return sum(arrivals for _, arrivals in self.bins)

    def seconds(self, speed_up: float | None = None) -> float:
        """How long a replay takes."""
        span = self.bins[-1][0] - self.bins[0][0] + 1 if self.bins else 0
        return span * self.bin_seconds / (speed_up or self.speed_up)

    def arrivals(self, rng: random.Random, speed_up: float | None = None) -> Arrivals:
        """All arrivals, the first bin starting at 0, each bin's at random places inside it.

        Given their number, the arrivals of a Poisson process are spread uniformly, so this is the most
        faithful reading of a bin. `speed_up` overrides the trace's own.
        """
        width = self.bin_seconds / (speed_up or self.speed_up)
        first = self.bins[0][0] if self.bins else 0
        for index, arrivals in self.bins:
            start = (index - first) * width
            yield from sorted(start + rng.random() * width for _ in range(arrivals))
