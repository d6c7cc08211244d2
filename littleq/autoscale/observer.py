"""From what the ledger and the broker tell to what the policy reads. Arithmetic on values; nothing is asked here.

    LedgerSnapshot ─┐
    TruthTable ─────┼─> observe ──> Observation, one a queue ──> littleq.policies.scaling.decide
    due times ──────┘

What could not be read is None, and the policy then holds what there is. What is read is said in the ledger's clock:
all counters and presences are its own, so no two hosts' clocks meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, get_args

from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.config.models import Criticality
from littleq.ledger import fields
from littleq.ledger.base import LedgerSnapshot
from littleq.policies.scaling import Observation, ScalingSettings

#: Moments ahead at which delayed jobs are counted, at most: each is one more command on the broker's server.
MOST_BOUNDS = 24

#: Delayed jobs as (within so many seconds, how many), ascending and cumulative.
DueTimes = Sequence[tuple[float, int]]

#: The counters that an observation is made of. The others, bins of histograms above all, are not asked for.
FIELDS: Final = (
    fields.OFFERED,
    *(fields.qualified(fields.OFFERED, criticality) for criticality in get_args(Criticality)),
    fields.RETRIED,
    *(f"{fields.SERVICE}:{moment}" for moment in ("count", "sum", "sumsq")),
    *(f"{histogram}:count" for histogram in (fields.WAIT, fields.SOJOURN)),
    fields.BREACHED,
)


def scaled_queues(config: Config) -> tuple[str, ...]:
    """The queues that are decided about: configured, not opted out, and never the one that carries the decisions."""
    return tuple(
        sorted(
            name for name, queue in config.queues.items() if queue.autoscale and name != config.control_queue
        )
    )


def scaling_settings(queue: SLAQueueConfig, config: Config) -> ScalingSettings:
    """What the policy may assume about a queue, as it is configured."""
    return ScalingSettings(
        sla_seconds=queue.sla_seconds,
        percentile=queue.percentile,
        sojourn=queue.sla_on == "sojourn",
        threads_per_worker=_bounded(queue.threads_per_worker, queue),
        min_workers=queue.min_workers,
        max_workers=queue.max_workers,
        startup_seconds=queue.startup_seconds,
        interval_seconds=config.decide_seconds,
        service_time=queue.service_time_seconds,
        jobs_per_worker=queue.jobs_per_worker,
        scale_threshold=queue.scale_threshold,
        max_step_up=queue.max_step_up,
        max_step_down=queue.max_step_down,
        concurrency_global=queue.concurrency_global,
    )


class Staff(NamedTuple):
    """The live worker processes of a queue, and their threads."""

    workers: int = 0
    threads: int = 0


def staff_of(snapshot: LedgerSnapshot) -> dict[str, Staff]:
    """The staff of each queue that has any. One pass: a fleet may have ten thousand workers and a thousand queues."""
    found: dict[str, Staff] = {}
    for worker in snapshot.workers:
        for queue in worker.queues:
            workers, threads = found.get(queue, NOBODY)
            found[queue] = Staff(workers + 1, threads + worker.threads)
    return found


NOBODY: Final = Staff()


def within_useful(settings: ScalingSettings, useful_workers: int | None) -> ScalingSettings:
    """The same, with no more workers than the broker gives jobs to at a time.

    >>> within_useful(ScalingSettings(sla_seconds=1.0, max_workers=10), 4).max_workers
    4
    """
    if useful_workers is None:
        return settings
    most = max(settings.min_workers, min(settings.max_workers, useful_workers))
    return replace(settings, max_workers=most, useful_workers=useful_workers)


def settings_now(queue: SLAQueueConfig, config: Config, staff: Staff) -> ScalingSettings:
    """The same with the threads that live workers really have, where there are any: their mean, rounded."""
    settings = scaling_settings(queue, config)
    if staff.workers == 0:
        return settings
    mean = max(1, round(staff.threads / staff.workers))
    return replace(settings, threads_per_worker=_bounded(mean, queue))


def due_bounds(settings: ScalingSettings, startup_seconds: float | None = None) -> tuple[float, ...]:
    """The moments ahead, in seconds and ascending, at which a decision wants to know how many delayed jobs are due.

    Args:
        startup_seconds: as it was learned; None: as it is configured.

    Returns:
        0 first: what is due already counts as ready on every broker, and is taken off the others.

    >>> due_bounds(ScalingSettings(sla_seconds=5.0, startup_seconds=10.0, interval_seconds=5.0))
    (0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
    """
    startup = max(settings.startup_seconds, startup_seconds or 0.0)
    horizon = startup + settings.sla_seconds + 2 * settings.interval_seconds
    step = max(settings.interval_seconds, horizon / MOST_BOUNDS)
    return (0.0, *(round(step * k, 3) for k in range(1, int(horizon / step + 1e-9) + 1)))


def due_times(bounds: Sequence[float], counts: Sequence[int]) -> DueTimes:
    """The counts of a `Schedule` at `due_bounds`, without what is due already.

    >>> due_times((0.0, 5.0, 10.0), (2, 2, 7))
    ((5.0, 0), (10.0, 5))
    """
    already = counts[0] if counts else 0
    return tuple(
        (bound, max(0, count - already)) for bound, count in zip(bounds[1:], counts[1:], strict=True)
    )


def observe(
    snapshot: LedgerSnapshot,
    truths: Mapping[str, TruthTable] | None,
    due: Mapping[str, DueTimes] | None,
    config: Config,
) -> dict[str, Observation]:
    """Each queue that is decided about, as it was read.

    Workers are live worker processes that serve the queue. A process that serves several counts for each of them, with
    all of its threads: pools that serve one queue each are what decisions are meant for.

    Args:
        snapshot: with at least `FIELDS` of `scaled_queues`. A queue that it does not know has counted nothing yet.
        truths: of the same queues; None where the broker could not be read.
        due: of queues with delayed jobs; None where the broker has no schedule or could not be read.
    """
    staff = staff_of(snapshot)
    return {
        queue: _observation(
            config.queues[queue],
            snapshot,
            staff.get(queue, NOBODY),
            (truths or {}).get(queue),
            (due or {}).get(queue, ()),
        )
        for queue in scaled_queues(config)
    }


def _observation(
    queue: SLAQueueConfig, snapshot: LedgerSnapshot, staff: Staff, truth: TruthTable | None, due: DueTimes
) -> Observation:
    totals = snapshot.queue(queue.name).totals
    timed = fields.SOJOURN if queue.sla_on == "sojourn" else fields.WAIT
    counted = Observation(
        now=snapshot.taken_at,
        offered=fields.total(totals, fields.OFFERED),
        retried=totals.get(fields.RETRIED, 0.0),
        services=totals.get(f"{fields.SERVICE}:count", 0.0),
        service_seconds=totals.get(f"{fields.SERVICE}:sum", 0.0),
        service_seconds_squared=totals.get(f"{fields.SERVICE}:sumsq", 0.0),
        timed=totals.get(f"{timed}:count", 0.0),
        breached=totals.get(fields.BREACHED, 0.0),
        workers=staff.workers,
    )
    if truth is None:
        return counted
    return replace(
        counted,
        ready=truth.ready + truth.orphaned,  # nobody works at an orphan: it waits to be taken back
        in_flight=truth.in_flight,
        delayed=truth.delayed,
        oldest_age=truth.oldest_age,
        paused=truth.paused,
        due=tuple(due),
    )


def _bounded(threads: int, queue: SLAQueueConfig) -> int:
    """A process runs no more jobs of a queue at a time than the queue's `concurrency`."""
    return threads if queue.concurrency is None else min(threads, queue.concurrency)
