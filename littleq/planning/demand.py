"""What is asked of a queue, and how well a pool of c servers in steady state would answer it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from littleq import law
from littleq.errors import ValidationError

#: Cells of the service time's distribution under a promise on sojourns. With 1000, P(W > t) of M/M/c is right to
#: 1e-5 of a probability.
_CELLS = 1000
#: Run times whose deviation is below 0.1 % of S are all alike: a gamma of less has no float left to be told in.
_CLOCKWORK = 1e-6
#: As many together make a step, where each is looked at often.
_COARSE = 20


@dataclass(frozen=True)
class Demand:
    """What arrives at a queue, how long it takes, and what is promised; one server runs one job at a time.

    Args:
        arrival_rate: λ, first-time sends in 1/s; > 0.
        service_time: S, mean run time of a job in seconds; > 0.
        sla_seconds: the promise: a job waits (or, with `sojourn`, is done) within it; > 0.
        percentile: the share of jobs that the promise covers, in %; [1, 100).
        service_scv: squared coefficient of variation of the run times; >= 0; 1 is exponential.
        arrival_scv: the same of the gaps between sends; >= 0; 1 is Poisson.
        sojourn: the promise covers the run time too.

    Raises:
        ValidationError: an argument is out of range, or no number of servers can keep the promise, since the jobs
            themselves take longer too often.

    >>> Demand(20.0, 0.2, 1.0, 99.0, service_scv=1.5).servers_needed
    6
    """

    arrival_rate: float
    service_time: float
    sla_seconds: float
    percentile: float = 99.0
    service_scv: float = 1.0
    arrival_scv: float = 1.0
    sojourn: bool = False

    def __post_init__(self) -> None:
        # Asked for its range checks: each names the argument, its value, the legal range and the next step.
        law.servers_for_tail(
            self.arrival_rate,
            self.service_time,
            self.sla_seconds,
            self.percentile,
            arrival_scv=self.arrival_scv,
            service_scv=self.service_scv,
        )
        if self.arrival_rate == 0:
            raise ValidationError(
                "arrival_rate is 0; it must be above 0: a queue that nothing is sent to needs no plan."
            )
        if self.sojourn and self.alone_too_long > self.miss:
            raise ValidationError(
                f"{100 * self.alone_too_long:.3g} % of the jobs run longer than the {self.sla_seconds:g} s that are "
                f"promised for wait and run time together to {self.percentile:g} %; no number of workers helps: "
                "promise a longer time or a lower percentile, or shorten the jobs."
            )

    @property
    def miss(self) -> float:
        """Share of jobs that may miss the SLA, in (0, 0.99]."""
        return (100.0 - self.percentile) / 100.0

    @property
    def offered_load(self) -> float:
        """a = λS, in erlangs."""
        return self.arrival_rate * self.service_time

    @property
    def least_servers(self) -> int:
        """Fewest servers that have a steady state at all, a + 1 rounded down."""
        return math.floor(self.offered_load) + 1

    @property
    def patience(self) -> float:
        """How long a job of mean run time may wait, in seconds: the SLA, less S under a promise on sojourns."""
        return max(0.0, self.sla_seconds - self.service_time) if self.sojourn else self.sla_seconds

    @property
    def is_exact(self) -> bool:
        """Whether the steady state is exact (M/M/c), rather than Allen-Cunneen's approximation."""
        return self.arrival_scv == self.service_scv == 1.0

    @property
    def model(self) -> str:
        """The model of the steady state, in Kendall's notation and words."""
        if self.is_exact:
            return "M/M/c, exact"
        arrivals = "M" if self.arrival_scv == 1.0 else "G"
        return f"{arrivals}/G/c by Allen-Cunneen, approximate"

    @property
    def alone_too_long(self) -> float:
        """P(S > SLA), the share of jobs that run longer than the SLA by themselves, in [0, 1]."""
        return max(0.0, 1.0 - sum(share for _, share in self._runs))

    @cached_property
    def servers_needed(self) -> int:
        """Fewest servers that keep the promise: one less does not, or has no steady state."""
        return self.servers_at(1.0)

    def servers_at(self, factor: float) -> int:
        """Fewest servers that keep the promise in steady state at `factor` × λ; factor > 0."""
        rate = factor * self.arrival_rate
        scv = {"arrival_scv": self.arrival_scv, "service_scv": self.service_scv}
        # The promise on waits is the weaker one, so its answer is where to begin.
        servers = law.servers_for_tail(rate, self.service_time, self.sla_seconds, self.percentile, **scv)
        while self.sojourn and self.missed_share(servers, factor) > self.miss:
            servers += 1
        return servers

    def wait_tail(self, servers: int, seconds: float, factor: float = 1.0) -> float:
        """P(Wq > seconds) with so many servers at `factor` × λ, in [0, 1].

        Raises:
            UnstableQueueError: the offered load reaches the number of servers.
        """
        return law.ggc_waiting_time_tail(
            factor * self.arrival_rate,
            self.service_time,
            servers,
            seconds,
            arrival_scv=self.arrival_scv,
            service_scv=self.service_scv,
        )

    def wait_quantile(self, servers: int, percentile: float, factor: float = 1.0) -> float:
        """Wait that `percentile` % of the jobs do not exceed at `factor` × λ, in seconds; 0 if so many never wait."""
        waits = self.wait_tail(servers, 0.0, factor)
        miss = (100.0 - percentile) / 100.0
        if waits <= miss:
            return 0.0
        spread = (self.arrival_scv + self.service_scv) / 2.0
        return math.log(waits / miss) * spread * self.service_time / (servers - factor * self.offered_load)

    def mean_wait(self, servers: int) -> float:
        """Mean wait Wq, in seconds."""
        return law.ggc_waiting_time(
            self.arrival_rate,
            self.service_time,
            servers,
            arrival_scv=self.arrival_scv,
            service_scv=self.service_scv,
        )

    def missed_share(self, servers: int, factor: float = 1.0) -> float:
        """Share of jobs that break the promise with so many servers at `factor` × λ, in [0, 1].

        Under a promise on sojourns, P(Wq + S > SLA) with Wq and S independent (exact in M/M/c) and S gamma with its
        mean and scv.

        Raises:
            UnstableQueueError: the offered load reaches the number of servers.
        """
        if not self.sojourn:
            return self.wait_tail(servers, self.sla_seconds, factor)
        waits = self.wait_tail(servers, 0.0, factor)
        spread = (self.arrival_scv + self.service_scv) / 2.0
        missed = self.alone_too_long
        if spread > 0:
            decay = (servers - factor * self.offered_load) / (spread * self.service_time)
            missed += sum(
                share * waits * math.exp(-decay * (self.sla_seconds - run)) for run, share in self._runs
            )
        return min(1.0, missed)

    @cached_property
    def patiences(self) -> list[tuple[float, float]]:
        """How long jobs may wait, as (seconds, share of the jobs); those that run too long alone are left out.

        The SLA, or what a run time leaves of it, in some fifty steps under a promise on sojourns.
        """
        if not self.sojourn:
            return [(self.sla_seconds, 1.0)]
        steps = []
        for first in range(0, len(self._runs), _COARSE):
            runs = self._runs[first : first + _COARSE]
            share = sum(share for _, share in runs)
            steps.append((self.sla_seconds - sum(run * share for run, share in runs) / share, share))
        return steps

    @cached_property
    def _runs(self) -> list[tuple[float, float]]:
        """Run times up to the SLA as (seconds, share of the jobs), from a gamma distribution."""
        scv, mean, end = self.service_scv, self.service_time, self.sla_seconds
        if scv < _CLOCKWORK:
            return [(mean, 1.0)] if mean <= end else []
        # Where a gamma distribution has next to nothing left, so that the cells lie where the jobs are.
        end = min(end, mean * (1.0 + 12.0 * math.sqrt(scv) + 40.0 * scv))
        edges = [end * cell / _CELLS for cell in range(_CELLS + 1)]
        below = [law.gamma_cdf(1.0 / scv, edge / (scv * mean)) for edge in edges]
        pairs = zip(pairwise(edges), pairwise(below), strict=True)
        return [((a + b) / 2.0, after - before) for (a, b), (before, after) in pairs if after > before]
