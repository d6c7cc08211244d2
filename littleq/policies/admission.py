"""Whether a first-time send may enter a queue.

By Little's Law a queue that keeps its SLA holds at most L jobs: L = λ × SLA where the rate is declared (`contract`),
or what c live servers of service time S start within the SLA (`capacity`). A send that would pass its share of L
is refused; what a refusal means (shed, defer, divert) is the user's setting.

Regimes: *steady*, depth below the limit, everything is admitted; *overloaded*, depth at the limit, one job is
admitted for each that leaves; *recovering*, the same, with `retry_after` falling to nothing.
Known weakness: in `capacity` mode the limit follows the measured service time, so a queue whose jobs suddenly
grow longer admits by yesterday's speed for about a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from littleq import law

Outcome = Literal["admitted", "deferred", "diverted", "shed", "bypassed"]

#: Never ask a sender to come back sooner than this, in seconds: a tighter loop is a busy wait.
MIN_RETRY_AFTER_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """How many jobs a queue may hold, and how fast they leave.

    Attributes:
        jobs: L, the most jobs that may wait (or, with a sojourn SLA, wait or run); >= 0.
        departure_rate: jobs per second that leave a busy queue; > 0.
        servers: jobs that run at the same time and, for a waiting-time SLA, do not count as waiting.
        reason: where the number comes from, in words.
    """

    jobs: int
    departure_rate: float
    servers: int
    reason: str


class AdmissionDecision(NamedTuple):
    """Outcome of one judgement; `retry_after` in seconds, 0 when admitted."""

    admitted: bool
    depth: int
    limit: int
    retry_after: float
    reason: str


def contract_limit(arrival_rate: float, sla_seconds: float) -> QueueLimit:
    """L = λ_declared × SLA; the queue is taken to be staffed for its declared rate."""
    jobs = law.queue_limit(arrival_rate, sla_seconds)
    return QueueLimit(jobs, arrival_rate, 0, f"contract: {arrival_rate:g}/s × {sla_seconds:g} s")


def capacity_limit(
    *,
    servers: int,
    service_time: float | None,
    service_scv: float | None,
    sla_seconds: float,
    percentile: float,
    sojourn: bool,
    worker_processes: int,
    jobs_per_worker: int,
) -> QueueLimit:
    """What the live workers can start (or finish) in time.

    Args:
        servers: c, live worker threads; 0 counts as one, or a sleeping queue could never be woken.
        service_time: S in seconds, measured or hinted; None: fall back on `jobs_per_worker`.
        service_scv: squared coefficient of variation of S; None: taken as 1.
        sla_seconds, percentile: the promise.
        sojourn: the SLA covers the service too, so the time left for waiting is SLA − S.
        worker_processes, jobs_per_worker: the cold-start limit, one process at least.
    """
    if service_time is None:
        jobs = max(1, worker_processes) * jobs_per_worker
        return QueueLimit(
            jobs, jobs / sla_seconds, 0, f"cold start: {jobs} jobs, no service time measured yet"
        )
    servers = max(1, servers)
    patience = sla_seconds - service_time if sojourn else sla_seconds
    waiting = 0
    if patience > 0:
        waiting = law.capacity_limit(servers, service_time, patience, percentile, scv=service_scv or 1.0)
    return QueueLimit(
        waiting,
        servers / service_time,
        servers,
        f"capacity: {servers} servers × {sla_seconds:g} s / {service_time:g} s at {percentile:g} %",
    )


def open_to(limit: QueueLimit, share: float) -> int:
    """Jobs that the queue may hold when a job of this criticality enters, that one included.

    In `capacity` mode a free server takes a job at once whatever the limit, so the servers are allowed on top of it.
    """
    return int(limit.jobs * share + 1e-9) + limit.servers


def judge(limit: QueueLimit, *, number_in_system: int, share: float, jobs: int = 1) -> AdmissionDecision:
    """Decide on `jobs` sends at once (a group is one decision).

    Args:
        limit: the queue's limit.
        number_in_system: jobs that wait or run now, those of this decision not included.
        share: part of the limit open to this criticality, (0, 1].
        jobs: how many jobs ask together; >= 1.
    """
    bound = open_to(limit, share)
    excess = number_in_system + jobs - bound
    if excess <= 0:
        return AdmissionDecision(True, number_in_system, bound, 0.0, limit.reason)
    retry_after = max(MIN_RETRY_AFTER_SECONDS, excess / limit.departure_rate)
    return AdmissionDecision(False, number_in_system, bound, retry_after, limit.reason)
