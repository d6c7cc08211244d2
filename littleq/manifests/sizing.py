"""Numbers that follow from the configuration, each with the reason that its annotation gives."""

from __future__ import annotations

import math
from typing import NamedTuple

from littleq.config import Config, SLAQueueConfig
from littleq.errors import LittleQError
from littleq.manifests.settings import DRAMATIQ_TIME_LIMIT_SECONDS, Settings, TimeLimit
from littleq.planning import Demand, plan

#: Beyond the grace of running jobs: handing back what still runs, the last counts to the ledger, the end of Python.
#: Somewhat arbitrary; all of it takes well under a second where the server answers.
STOP_MARGIN_SECONDS = 15
#: KEDA's own polls, and Prometheus' scrapes, in seconds.
POLLING_SECONDS = 5
#: To none after so many seconds without a decision for one; the decision has waited for an idle queue already.
_LEAST_COOLDOWN_SECONDS = 30
#: A worker may take so many times its usual start-up before it counts as one that never starts, and this many seconds.
_STARTUP_FACTOR, _LEAST_STARTUP_SECONDS = 4, 120

DEFAULT_LIMIT = TimeLimit(DRAMATIQ_TIME_LIMIT_SECONDS, "Dramatiq's default time limit")


class Derived(NamedTuple):
    """A whole number, and why it is that."""

    value: int
    reason: str


def grace(queue: SLAQueueConfig, settings: Settings) -> Derived:
    """Seconds that the running jobs of a worker get when it shall stop."""
    if settings.grace is not None:
        return Derived(math.ceil(settings.grace), "as given with --grace")
    limit = settings.time_limits.get(queue.name, DEFAULT_LIMIT)
    return Derived(math.ceil(limit.seconds), limit.source)


def planned_workers(queue: SLAQueueConfig) -> Derived | None:
    """The fewest workers that keep the promise at the declared load; None: none is declared, or none does."""
    if queue.arrival_rate is None or queue.service_time_seconds is None:
        return None
    threads = min(queue.threads_per_worker, queue.concurrency or queue.threads_per_worker)
    try:
        demand = Demand(
            queue.arrival_rate,
            queue.service_time_seconds,
            queue.sla_seconds,
            queue.percentile,
            sojourn=queue.sla_on == "sojourn",
        )
        workers = plan(
            demand, threads=threads, startup_seconds=max(queue.startup_seconds, 1e-9)
        ).workers_needed
    except LittleQError:
        return None
    word = "thread" if threads == 1 else "threads"
    return Derived(
        workers,
        f"the plan for {queue.arrival_rate:g} jobs/s of {queue.service_time_seconds:g} s, "
        f"{queue.percentile:g} % within {queue.sla_seconds:g} s, {threads} {word} a worker",
    )


def fallback(queue: SLAQueueConfig) -> Derived:
    """Workers that run when no decision can be had: at least one, since 0 would protect nobody."""
    least = max(1, queue.min_workers)
    planned = planned_workers(queue)
    if planned is None:
        why = "min_workers" if queue.min_workers >= 1 else "the least that works"
        return Derived(
            least, f"{why}; no plan without arrival_rate and service_time_seconds that can be kept"
        )
    value = min(max(planned.value, least), queue.max_workers)
    if value == planned.value:
        return planned
    bound = "min_workers" if value > planned.value else "max_workers"
    return Derived(value, f"{bound}, for {planned.value} from {planned.reason}")


def workers_in_words(number: int) -> str:
    """A number of workers."""
    return f"{number} {'worker' if number == 1 else 'workers'}"


def cooldown_seconds(queue: SLAQueueConfig) -> int:
    """How long the last worker stays: as long as another would take to start, at least half a minute."""
    return math.ceil(max(queue.startup_seconds, _LEAST_COOLDOWN_SECONDS))


def startup_limit_seconds(queue: SLAQueueConfig) -> int:
    """After so long a worker that has not begun to work is started again."""
    return math.ceil(max(_STARTUP_FACTOR * queue.startup_seconds, _LEAST_STARTUP_SECONDS))


def scrape_seconds(config: Config) -> int:
    """Between two scrapes: as often as there are decisions, not more often than KEDA asks."""
    return max(POLLING_SECONDS, math.floor(config.decide_seconds))


def waking_seconds(queue: SLAQueueConfig, config: Config) -> float:
    """From a job into an empty queue at no workers until one takes it, at worst: decide, scrape, poll, start."""
    return config.decide_seconds + scrape_seconds(config) + POLLING_SECONDS + queue.startup_seconds
