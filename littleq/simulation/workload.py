"""The jobs of a simulation: when each arrives and how long it takes, fixed before anything runs."""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from littleq.errors import ValidationError
from littleq.simulation.arrivals import Trace
from littleq.simulation.quantities import MOST_JOBS
from littleq.simulation.services import Sampler
from littleq.simulation.shapes import Shape


@dataclass(frozen=True)
class Workload:
    """Jobs in the order of their arrival.

    Attributes:
        arrivals: seconds from the start, rising, >= 0.
        services: in seconds, > 0, one for each arrival.
        seconds: how long the run is; the last arrival is not later.
    """

    arrivals: Sequence[float]
    services: Sequence[float]
    seconds: float

    def __post_init__(self) -> None:
        if len(self.arrivals) != len(self.services):
            raise ValidationError(
                f"{len(self.arrivals)} arrivals have {len(self.services)} service times: give one for each."
            )
        if any(later < earlier for earlier, later in pairwise(self.arrivals)):
            raise ValidationError("the arrivals go back in time: sort them.")
        if self.arrivals and not 0 <= self.arrivals[0] <= self.arrivals[-1] <= self.seconds:
            raise ValidationError(
                f"the arrivals lie from {self.arrivals[0]:g} to {self.arrivals[-1]:g} s: all must lie in the "
                f"run, from 0 to {self.seconds:g} s."
            )

    @cached_property
    def service_time(self) -> float:
        """S, the mean service time, in seconds; 0 without a job."""
        return statistics.fmean(self.services) if self.services else 0.0

    @cached_property
    def service_scv(self) -> float:
        """Squared coefficient of variation of the service times; 0 without a job."""
        if not self.services:
            return 0.0
        square = statistics.fmean(service * service for service in self.services)
        return max(0.0, square / self.service_time**2 - 1.0)

    @cached_property
    def work(self) -> float:
        """Sum of all service times, in seconds."""
        return sum(self.services)

    def rate(self, start: float, end: float) -> float:
        """Arrivals per second between two moments."""
        return (bisect_left(self.arrivals, end) - bisect_left(self.arrivals, start)) / (end - start)

    def peak_rate(self, window: float = 60.0) -> float:
        """Arrivals per second in the busiest of the windows into which the run is cut.

        Args:
            window: in seconds, > 0; a run that is shorter is one window.
        """
        window = min(window, self.seconds)
        windows = math.ceil(self.seconds / window - 1e-9)
        return max(self.rate(index * window, (index + 1) * window) for index in range(windows))

    def binned(self, bin_seconds: float) -> Trace:
        """The arrivals as a trace."""
        bins: dict[int, int] = {0: 0}
        for at in self.arrivals:
            index = int(at / bin_seconds)
            bins[index] = bins.get(index, 0) + 1
        bins.setdefault(max(0, round(self.seconds / bin_seconds) - 1), 0)
        return Trace(bin_seconds, 1.0, tuple(sorted(bins.items())))


def from_trace(trace: Trace, service: Sampler, *, seed: int, speed_up: float | None = None) -> Workload:
    """The arrivals of a trace, each with a service time; the same seed gives the same jobs.

    Raises:
        ValidationError: more of them than fit into memory.
    """
    if trace.total > MOST_JOBS:
        raise ValidationError(
            f"the trace has {trace.total:,} arrivals: give one of at most {MOST_JOBS:,}, such as a part of it."
        )
    arrivals = list(trace.arrivals(_generator(seed, "arrivals"), speed_up))
    return _with_services(arrivals, service, trace.seconds(speed_up), seed)


def from_shape(shape: Shape, service: Sampler, *, seconds: float, seed: int) -> Workload:
    """The arrivals of a shape, each with a service time; the same seed gives the same jobs."""
    return _with_services(shape.times(seconds, _generator(seed, "arrivals")), service, seconds, seed)


def _with_services(arrivals: list[float], service: Sampler, seconds: float, seed: int) -> Workload:
    rng = _generator(seed, "services")
    seconds = max([seconds, *arrivals[-1:]])  # the end of a trace's last bin, up to rounding
    return Workload(arrivals, [service(rng) for _ in arrivals], seconds)


def _generator(seed: int, purpose: str) -> random.Random:
    """Arrivals and services have a stream each: another distribution of services leaves the arrivals as they are."""
    return random.Random(f"{seed} {purpose}")
