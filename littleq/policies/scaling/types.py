"""What the policy is given, and what it answers: values, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ScalingSettings:
    """What the policy may assume and must obey.

    Attributes:
        sla_seconds: the promise, > 0.
        percentile: share of jobs that it covers, in percent; [1, 100).
        sojourn: the promise covers the service as well as the wait.
        threads_per_worker: servers of one worker process, >= 1.
        min_workers, max_workers: bounds of the answer, 0 <= min <= max.
        startup_seconds: from "asked for" to "takes jobs", a hint until it has been learned; >= 0.
        interval_seconds: between two decisions, > 0.
        service_time: S in seconds, a hint until it has been measured; None: unknown.
        jobs_per_worker: jobs that one worker can hold within the SLA, while S is not known; >= 1.
        scale_threshold: share of the SLA that a job may plan to wait; the rest is reserve; (0, 1].
        max_step_up, max_step_down: most workers that one decision adds or takes away; None: any number.
        concurrency_global: most jobs of the queue that run at a time, over the fleet; None: any number.
        useful_workers: most workers that the broker gives jobs of the queue to at a time, which `max_workers` does not
            exceed then (the partitions of a Kafka topic); None: any number.
    """

    sla_seconds: float
    percentile: float = 99.0
    sojourn: bool = False
    threads_per_worker: int = 1
    min_workers: int = 0
    max_workers: int = 1000
    startup_seconds: float = 30.0
    interval_seconds: float = 5.0
    service_time: float | None = None
    jobs_per_worker: int = 8
    scale_threshold: float = 0.8
    max_step_up: int | None = None
    max_step_down: int | None = None
    concurrency_global: int | None = None
    useful_workers: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One queue at one moment, as it was read; whatever could not be read is None.

    Counters only grow (one that fell was reset, and counts from 0 again).

    Attributes:
        now: in seconds, by one clock for all observations of a queue.
        offered: counter, first-time sends: admitted, deferred and shed.
        retried: counter, attempts that were scheduled again.
        services, service_seconds, service_seconds_squared: counters, attempts that ended, the sum of their service
            times and of the squares.
        ready: jobs that wait.
        in_flight: jobs that workers hold, prefetched or running.
        delayed: jobs that wait for their due time.
        oldest_age: how long the oldest ready job has waited, in seconds.
        due: delayed jobs and retries, as (within so many seconds, how many), ascending and cumulative.
        workers: worker processes that take jobs.
        starting: worker processes that were asked for and do not take jobs yet; None: desired last time − workers.
        timed, breached: counters, jobs whose wait is known, and those of them that missed the SLA.
        paused: no job is handed out.
        breaker_open: the queue is not consumed, for what its jobs depend on is down.
        age_seconds: how old these numbers are.
    """

    now: float
    offered: float | None = None
    retried: float | None = None
    services: float | None = None
    service_seconds: float | None = None
    service_seconds_squared: float | None = None
    ready: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    oldest_age: float | None = None
    due: tuple[tuple[float, int], ...] = ()
    workers: int | None = None
    starting: int | None = None
    timed: float | None = None
    breached: float | None = None
    paused: bool = False
    breaker_open: bool = False
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why.

    Attributes:
        desired_workers: worker processes that the queue shall have.
        required_servers: threads that the promise needs, before min, max and steps.
        regime: `cold`, `steady`, `draining`, `lean`, `idle`, `holding` or `blind` (see
            `littleq.policies.scaling.sizing`).
        reason: one sentence for an operator.
        time_to_breach: seconds until a job misses the SLA with the workers there and starting; 0: now; None: none
            in sight.
        inputs: every number that it was made from (`littleq.policies.scaling.inputs.INPUTS`).
        steps: the numbers in between, in servers unless the name says otherwise.
    """

    desired_workers: int
    required_servers: int
    regime: str
    reason: str
    time_to_breach: float | None
    inputs: Mapping[str, Any]
    steps: Mapping[str, float]
