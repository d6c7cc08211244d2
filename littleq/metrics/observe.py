"""What the fleet's counts and the broker's truth say about a queue: the numbers of /metrics and the monitor.

Pure: a snapshot of the ledger, truth tables and settings in, one `QueueReport` a queue out. Whoever computes
it from the same snapshot gets the same numbers, so what the workers have published in the ledger about a
queue (its SLA, its limit) wins over the configuration of the process that happens to ask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from littleq import estimators
from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.errors import ValidationError
from littleq.ledger import fields
from littleq.ledger.base import EMPTY_QUEUE, LedgerSnapshot
from littleq.ledger.fleet import fleet_view
from littleq.metrics.histograms import bins
from littleq.policies import admission

#: What puts a job into a queue, now or once it is due.
_ENTERED = ("admitted", "deferred", "bypassed", fields.RETRIED)


@dataclass(frozen=True, slots=True)
class QueueReport:
    """One queue at one moment. Times in seconds, rates per second, None where a number is not known.

    "Recent" is the last `window_seconds` of the ledger, up to a minute.

    Attributes:
        queue: its name.
        truth: the broker's truth table; None if the broker could not be read.
        sla_seconds: the promise, on the wait or the sojourn time (`sla_on`: `wait` or `sojourn`).
        percentile: share of jobs that the promise covers, in percent.
        workers: live worker processes that serve the queue.
        servers: c, their threads.
        window_seconds: width of the recent window; 0 when the ledger knows nothing yet.
        arrival_rate: λ, recent first-time sends offered, refused ones included.
        shed_rate: recent sends refused with `Overloaded`.
        retry_rate: recent attempts scheduled again.
        entry_rate: recent jobs that entered the queue: admitted, deferred, bypassed or retried.
        completion_rate: recent attempts that returned or raised.
        service_time: S, mean of the recent services, else of all, else as configured.
        service_scv: squared coefficient of variation of the same services.
        waiting_time: Wq, mean of the recent waits.
        sojourn_time: W, mean of the recent sojourns, else Wq + S.
        wait_p50, wait_p99: quantiles of the recent waits, interpolated within their bin.
        at_percentile: recent wait, for a sojourn SLA the sojourn, at `percentile`: what `sla_seconds` bounds.
        breaches: attempts that missed the SLA, of all time.
        breach_ratio: the same as a share of the recent attempts, [0, 1].
        burn_rate: that share over the one that may miss; above 1 the promise breaks.
        number_in_system: L, jobs that wait or run, as the broker counts them.
        number_in_system_expected: λW by Little's Law, with the entry rate as λ: refused sends are never in
            the system, retries are in it once more. Recent, so it differs from L while the load changes.
        offered_load: a = (λ + retry rate) × S, in erlangs.
        utilization: ρ = a / c, above 1 if demand is ahead; None without a worker.
        queue_limit: jobs, waiting or running, at which a send of full criticality is refused; None: none is.
        predicted_wait: Ŵ of a job sent now: (L − c + 1) departures at c / S a second, 0 if a thread is free;
            None without a worker or a service time, and while the queue is paused: nobody knows for how long.
        headroom: SLA − Ŵ, for a sojourn SLA − Ŵ − S; below 0 a breach is predicted.
    """

    queue: str
    truth: TruthTable | None
    sla_seconds: float
    percentile: float
    sla_on: str
    workers: int | None = None
    servers: int | None = None
    window_seconds: float | None = None
    arrival_rate: float | None = None
    shed_rate: float | None = None
    retry_rate: float | None = None
    entry_rate: float | None = None
    completion_rate: float | None = None
    service_time: float | None = None
    service_scv: float | None = None
    waiting_time: float | None = None
    sojourn_time: float | None = None
    wait_p50: float | None = None
    wait_p99: float | None = None
    at_percentile: float | None = None
    breaches: float | None = None
    breach_ratio: float | None = None
    burn_rate: float | None = None
    number_in_system: int | None = None
    number_in_system_expected: float | None = None
    offered_load: float | None = None
    utilization: float | None = None
    queue_limit: float | None = None
    predicted_wait: float | None = None
    headroom: float | None = None

    @property
    def promised(self) -> str:
        """The ledger's histogram that the SLA bounds: `wait` or `sojourn`."""
        return fields.SOJOURN if self.sla_on == "sojourn" else fields.WAIT


#: What holds for a queue that nobody has declared: a queue of `Config.queue`.
_UNDECLARED = SLAQueueConfig(name="undeclared", admission="off")


def observe(
    snapshot: LedgerSnapshot | None, truths: Mapping[str, TruthTable] | None, config: Config
) -> dict[str, QueueReport]:
    """A report on each queue that the ledger, a live worker, the broker or the configuration knows, by name.

    Args:
        snapshot: None if the ledger could not be read; then only what the broker tells is known.
        truths: None if the broker could not be read.
        config: asked for a setting that no worker has published.
    """
    known = known_queues(snapshot, truths, config)
    return {queue: report(queue, snapshot, (truths or {}).get(queue), config) for queue in sorted(known)}


def known_queues(
    snapshot: LedgerSnapshot | None, truths: Mapping[str, TruthTable] | None, config: Config
) -> set[str]:
    """Names of all queues that one of the sources knows."""
    known = set(config.queues).union(truths or ())
    if snapshot is not None:
        known.update(snapshot.queues, *(worker.queues for worker in snapshot.workers))
    return known - {""}  # the ledger's name for "no queue"


def report(
    queue: str, snapshot: LedgerSnapshot | None, truth: TruthTable | None, config: Config
) -> QueueReport:
    """What is known about one queue."""
    known = _Known(queue, snapshot, truth, config)
    service_time, service_scv = known.service()
    arrivals, retries, entries = (
        known.rate(*names) for names in ((fields.OFFERED,), (fields.RETRIED,), _ENTERED)
    )
    sojourn_time = known.sojourn_time(service_time)
    breach_ratio = known.breach_ratio()
    load = None
    if arrivals is not None and retries is not None and service_time is not None:
        load = (arrivals + retries) * service_time
    predicted_wait = known.predicted_wait(service_time)
    return QueueReport(
        queue=queue,
        truth=truth,
        sla_seconds=known.sla_seconds,
        percentile=known.percentile,
        sla_on=known.sla_on,
        workers=None if known.fleet is None else known.fleet.worker_processes,
        servers=known.servers,
        window_seconds=None if snapshot is None else known.ledger.recent_seconds,
        arrival_rate=arrivals,
        shed_rate=known.rate("shed"),
        retry_rate=retries,
        entry_rate=entries,
        completion_rate=known.rate(fields.DONE, fields.FAILED),
        service_time=service_time,
        service_scv=service_scv,
        waiting_time=known.recent_mean(fields.WAIT),
        sojourn_time=sojourn_time,
        wait_p50=known.quantile(fields.WAIT, 50.0),
        wait_p99=known.quantile(fields.WAIT, 99.0),
        at_percentile=known.quantile(known.promised, known.percentile),
        breaches=None if snapshot is None else fields.total(known.ledger.totals, fields.BREACHED),
        breach_ratio=breach_ratio,
        burn_rate=None if breach_ratio is None else breach_ratio / (1.0 - known.percentile / 100.0),
        number_in_system=None if truth is None else truth.number_in_system,
        number_in_system_expected=_expected(entries, sojourn_time),
        offered_load=load,
        utilization=load / known.servers if load is not None and known.servers else None,
        queue_limit=known.queue_limit(service_time, service_scv),
        predicted_wait=predicted_wait,
        headroom=known.headroom(predicted_wait, service_time),
    )


def _expected(entry_rate: float | None, sojourn_time: float | None) -> float | None:
    """λW; 0 where nothing enters, whatever W."""
    if entry_rate is None or (entry_rate > 0 and sojourn_time is None):
        return None
    return entry_rate * (sojourn_time or 0.0)


class _Known:
    """What the three sources say about one queue, and the estimates that need several of them."""

    def __init__(
        self, queue: str, snapshot: LedgerSnapshot | None, truth: TruthTable | None, config: Config
    ) -> None:
        self.ledger = EMPTY_QUEUE if snapshot is None else snapshot.queue(queue)
        self.fleet = None if snapshot is None else fleet_view(snapshot, queue)
        self.truth = truth
        self.servers = None if self.fleet is None else self.fleet.servers
        self.declared = config.queues.get(queue, _UNDECLARED)
        self.sla_seconds = self._published("sla_seconds") or self.declared.sla_seconds
        self.percentile = self._published("percentile", below=100.0) or self.declared.percentile
        self.sla_on = str(self.ledger.settings.get("sla_on", self.declared.sla_on))
        self.promised = fields.SOJOURN if self.sla_on == "sojourn" else fields.WAIT

    def _published(self, setting: str, below: float = math.inf) -> float | None:
        """A number that the workers have published, > 0; None where they have not."""
        try:
            value = float(self.ledger.settings[setting])
        except (KeyError, TypeError, ValueError):
            return None
        return value if 0 < value < below else None

    def rate(self, *names: str) -> float | None:
        events = sum(fields.total(self.ledger.recent, name) for name in names)
        return estimators.rate(events, self.ledger.recent_seconds)

    def recent_mean(self, histogram: str) -> float | None:
        recent = self.ledger.recent
        return estimators.mean(recent.get(f"{histogram}:sum", 0.0), recent.get(f"{histogram}:count", 0.0))

    def service(self) -> tuple[float | None, float | None]:
        """S and its squared coefficient of variation."""
        if self.fleet is not None and self.fleet.service_time:
            return self.fleet.service_time, self.fleet.service_scv
        return self.declared.service_time_seconds, None

    def sojourn_time(self, service_time: float | None) -> float | None:
        measured = self.recent_mean(fields.SOJOURN)
        wait = self.recent_mean(fields.WAIT)
        if measured is not None or wait is None or service_time is None:
            return measured
        return wait + service_time

    def quantile(self, histogram: str, percentile: float) -> float | None:
        bounds = fields.wait_bounds(self.sla_seconds)
        counts = zip((*bounds, math.inf), bins(self.ledger.recent, histogram, bounds), strict=True)
        return estimators.histogram_quantile(counts, percentile / 100.0)

    def breach_ratio(self) -> float | None:
        """Only attempts whose promised time is known can breach, so only they are counted below the line."""
        timed = self.ledger.recent.get(f"{self.promised}:count", 0.0)
        missed = estimators.mean(fields.total(self.ledger.recent, fields.BREACHED), timed)
        return None if missed is None else min(1.0, missed)

    def predicted_wait(self, service_time: float | None) -> float | None:
        if self.truth is None or self.truth.paused or not self.servers or service_time is None:
            return None
        departures = max(0, self.truth.number_in_system - self.servers + 1)
        return departures * service_time / self.servers

    def headroom(self, predicted_wait: float | None, service_time: float | None) -> float | None:
        if predicted_wait is None or service_time is None:
            return None
        return self.sla_seconds - predicted_wait - (service_time if self.sla_on == "sojourn" else 0.0)

    def queue_limit(self, service_time: float | None, service_scv: float | None) -> float | None:
        """What a producer would compute now; the one that was published where this process cannot know it."""
        published = self._published("queue_limit")
        if self.declared is _UNDECLARED or self.fleet is None:
            return published
        if published is not None and self.declared.admission_mode != "capacity":
            return published  # a capacity limit is only as old as the fleet that it was computed for
        rate = self._published("arrival_rate") or self.declared.arrival_rate
        try:
            if self.declared.admission_mode == "contract" and rate is not None:
                return admission.contract_limit(rate, self.sla_seconds).jobs
            if self.declared.admission_mode == "capacity":
                limit = admission.capacity_limit(
                    servers=self.fleet.servers,
                    service_time=service_time,
                    service_scv=service_scv,
                    sla_seconds=self.sla_seconds,
                    percentile=self.percentile,
                    sojourn=self.sla_on == "sojourn",
                    worker_processes=self.fleet.worker_processes,
                    jobs_per_worker=self.declared.jobs_per_worker,
                )
                return limit.jobs + limit.servers
        except ValidationError:  # settings that the maths refuse: then no limit is in force either
            pass
        return None
