"""Every metric that LittleQ exports, as data: the collector fills these in, `docs/metrics.md` lists them.

Base units throughout (seconds, jobs, ratios from 0 to 1), counters end in `_total`, every label has a closed
set of values (`littleq.metrics.labels`) but `queue` and `place`. All numbers are the fleet's, not those of one
process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family: its name as Prometheus shows it, its type, its labels and its meaning."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


def _counter(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, "counter", labels, meaning)


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, "gauge", labels, meaning)


def _histogram(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, "histogram", labels, meaning)


UP = _gauge(
    "sla_up",
    "1 if this scrape could read the source (ledger, broker) and make the page of it, else 0 and "
    "its series are left out.",
    "source",
)

# The broker's truth
QUEUE_DEPTH = _gauge(
    "sla_queue_depth",
    "Jobs that wait or run now: ready + in_flight + orphaned. Delayed and dead jobs do neither.",
    "queue",
)
QUEUE_JOBS = _gauge(
    "sla_queue_jobs",
    "The truth table: jobs by state (ready, in_flight, delayed, dead, orphaned).",
    "queue",
    "state",
)
OLDEST_AGE = _gauge(
    "sla_queue_oldest_age_seconds",
    "Time since the oldest ready job became ready, 0 if none is ready; left out where the broker "
    "cannot tell.",
    "queue",
)
NEXT_DUE = _gauge(
    "sla_queue_next_due_seconds",
    "Time until the next delayed job is due; left out if none is delayed or the broker cannot tell.",
    "queue",
)
PAUSED = _gauge(
    "sla_queue_paused",
    "1 while the queue is paused (no job is handed out until it is resumed), else 0.",
    "queue",
)
IMBALANCE = _gauge(
    "sla_queue_imbalance_jobs",
    "Admitted jobs that are neither in the truth table nor done, skipped or purged: 0 when none is lost.",
    "queue",
)

# What became of sends
OFFERED = _counter(
    "sla_jobs_offered_total", "First-time sends that asked to enter the queue.", "queue", "criticality"
)
ADMISSIONS = _counter(
    "sla_admissions_total",
    "What became of first-time sends: admitted, deferred, diverted, shed or bypassed (not judged).",
    "queue",
    "outcome",
    "criticality",
)

# What became of attempts
STARTED = _counter("sla_attempts_started_total", "Attempts that reached an actor.", "queue")
PROCESSED = _counter(
    "sla_jobs_processed_total",
    "What workers took up: done (attempts that returned) and failed (attempts that raised) exclude "
    "each other; skipped are jobs given up, by a middleware or, after a failed attempt, by a route.",
    "queue",
    "status",
)
RETRIES = _counter("sla_retries_total", "Attempts that were scheduled again after a failure.", "queue")
DEAD_LETTERS = _counter(
    "sla_dead_letters_total",
    "Jobs dead-lettered, by reason: exhausted, refused, expired, undeliverable, unretryable or poison.",
    "queue",
    "reason",
)

# Time
JOB_DURATION = _histogram(
    "sla_job_duration_seconds",
    "Service time S: from the call of the actor to its return.",
    "queue",
)
WAIT = _histogram(
    "sla_wait_seconds",
    "Waiting time Wq: from ready (sent, due, or due again) to the call of the actor. Buckets are "
    "multiples of the SLA.",
    "queue",
)
SOJOURN = _histogram(
    "sla_sojourn_seconds",
    "Sojourn time W = Wq + S, from ready to the return of the actor. Buckets are multiples of the SLA.",
    "queue",
)

# The promise
TARGET = _gauge(
    "sla_target_seconds",
    "The promise: a job waits (or is done) within this time.",
    "queue",
)
TARGET_RATIO = _gauge(
    "sla_target_ratio",
    "The share of jobs that the promise covers: 0.99 for p99.",
    "queue",
)
TIMED = _counter(
    "sla_attempts_timed_total",
    "Attempts that the SLA was measured on: their wait (or sojourn) is known.",
    "queue",
)
BREACHES = _counter("sla_breaches_total", "Attempts that missed the SLA.", "queue")
BURN_RATE = _gauge(
    "sla_burn_rate",
    "Share of attempts that missed the SLA in the last minute, over the share that may: above 1 "
    "the promise breaks.",
    "queue",
)
PREDICTED_WAIT = _gauge(
    "sla_predicted_wait_seconds",
    "Wait of a job sent now: departures needed before a thread is free, times S / c. Left out "
    "without a worker or an S, and while the queue is paused.",
    "queue",
)
HEADROOM = _gauge(
    "sla_headroom_seconds",
    "SLA minus predicted wait (minus S as well for a sojourn SLA).",
    "queue",
)
QUEUE_LIMIT = _gauge(
    "sla_queue_limit",
    "Jobs, waiting or running, at which a send of full criticality is refused; left out where "
    "nothing is refused.",
    "queue",
)

# The model
ARRIVAL_RATE = _gauge(
    "sla_arrival_rate",
    "λ: first-time sends offered per second over the last minute, refused ones included.",
    "queue",
)
RETRY_RATE = _gauge(
    "sla_retry_rate",
    "Attempts scheduled again per second over the last minute.",
    "queue",
)
SERVICE_TIME = _gauge(
    "sla_service_time_seconds",
    "S: mean service time over the last minute, of all time if nothing ran, or as configured if "
    "nothing ever did.",
    "queue",
)
SERVICE_SCV = _gauge(
    "sla_service_time_scv",
    "Squared coefficient of variation of S: 0 for clockwork, 1 for exponential, more for bursts.",
    "queue",
)
UTILIZATION = _gauge(
    "sla_utilization_ratio",
    "ρ = (λ + retry rate) S / c, above 1 if demand is ahead. Threads that serve several queues "
    "count for each: add those up.",
    "queue",
)
NUMBER_IN_SYSTEM = _gauge(
    "sla_number_in_system",
    "L, as the broker counts it; the same as sla_queue_depth.",
    "queue",
)
NUMBER_IN_SYSTEM_EXPECTED = _gauge(
    "sla_number_in_system_expected",
    "λW, as Little's Law expects L: entries per second (admitted, deferred, bypassed, retried) "
    "times mean sojourn time.",
    "queue",
)

# The fleet
WORKERS = _gauge("sla_workers", "Live worker processes.")
QUEUE_WORKERS = _gauge("sla_queue_workers", "Live worker processes that serve the queue.", "queue")
QUEUE_THREADS = _gauge(
    "sla_queue_threads",
    "c: live worker threads that serve the queue, over all processes.",
    "queue",
)
INTERNAL_ERRORS = _counter(
    "sla_internal_errors_total",
    "Failures inside LittleQ, by place; it fails open. An empty queue where none is known.",
    "queue",
    "place",
)

# What was decided
DESIRED_WORKERS = _gauge(
    "sla_desired_workers",
    "Worker processes that the queue shall have; left out while the last decision is too old to act on.",
    "queue",
)
DESIRED_WORKERS_STEPPED = _gauge(
    "sla_desired_workers_stepped",
    "sla_desired_workers rounded up to 0 to 9, 11, 13, 15, 17, 19, 22, …: steps that an HPA with a tolerance of "
    "10 % takes.",
    "queue",
)
MAX_WORKERS = _gauge(
    "sla_max_workers",
    "Most worker processes that a decision may ask for, as set for the last one.",
    "queue",
)
REQUIRED_SERVERS = _gauge(
    "sla_required_servers",
    "Worker threads that the promise needs, before min_workers, max_workers and the step limits.",
    "queue",
)
TIME_TO_BREACH = _gauge(
    "sla_time_to_breach_seconds",
    "Time until a job misses the SLA with the workers there and starting, 0 if one has; left out if none will.",
    "queue",
)
DECISION_AGE = _gauge(
    "sla_decision_age_seconds",
    "Time since the queue was last decided about. While it is too old only this, "
    "sla_decision_timestamp_seconds and sla_events_total are told.",
    "queue",
)
DECISION_TIMESTAMP = _gauge(
    "sla_decision_timestamp_seconds",
    "When the queue was last decided about, by the ledger's clock, in seconds since 1970.",
    "queue",
)
BREAKER_OPEN = _gauge(
    "sla_breaker_open",
    "1 if the last decision found that the queue is not consumed since its breaker is open, else 0.",
    "queue",
)
DECISION_REGIME = _gauge(
    "sla_decision_regime",
    "1 for the regime of the last decision: cold, steady, draining, lean, idle, holding or blind.",
    "queue",
    "regime",
)
DECISION_INPUT = _gauge(
    "sla_decision_input",
    "The numbers that the last decision was made from; left out where one was not known.",
    "queue",
    "input",
)
EVENTS_TOTAL = _counter(
    "sla_events_total",
    "What happened to the service level: breach_predicted, breached or recovered.",
    "queue",
    "event",
)

METRICS: Final[tuple[Metric, ...]] = tuple(
    each for each in tuple(vars().values()) if isinstance(each, Metric)
)
