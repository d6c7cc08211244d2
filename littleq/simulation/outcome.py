"""What came of a run, in the numbers of the promise and of the bill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import Run


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one policy on one workload.

    Attributes:
        policy: as it was asked for.
        jobs: arrivals, shed ones included.
        missed: jobs that were shed, never started, or started (sojourn: ended) too late.
        shed: jobs that admission refused.
        unstarted: jobs that still waited when the run was given up.
        share_in_sla: 1 - missed / jobs; 1 without a job.
        met: whether that is the promised share.
        worker_seconds: cost, from "asked for" until a worker has left.
        ready_seconds: the same from "takes jobs".
        mean_workers: worker_seconds over the length of the run: paid workers, starting ones included.
        peak_workers: most at one time, starting ones included.
        worker_starts: workers that were asked for.
        wait_mean, wait_p50, wait_p99, wait_max: of admitted jobs, in seconds; inf where such a job never started.
        seconds: length of the run, until the last job was done.
    """

    policy: str
    jobs: int
    missed: int
    shed: int
    unstarted: int
    share_in_sla: float
    met: bool
    worker_seconds: float
    ready_seconds: float
    mean_workers: float
    peak_workers: int
    worker_starts: int
    wait_mean: float
    wait_p50: float
    wait_p99: float
    wait_max: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is infinite is None."""
        record = asdict(self)
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }


def outcome(run: Run, settings: ScalingSettings) -> Outcome:
    """Sum up a run."""
    waits = run.waits
    patience = settings.sla_seconds
    if settings.sojourn:
        late = sum(wait + service > patience for wait, service in zip(waits, run.services, strict=False))
    else:
        late = sum(wait > patience for wait in waits)
    unstarted = len(run.arrivals) - len(waits)
    jobs, missed = len(run.arrivals) + len(run.shed), late + unstarted + len(run.shed)
    share = 1.0 - missed / jobs if jobs else 1.0
    ordered = sorted(waits) + [math.inf] * unstarted
    return Outcome(
        policy=run.policy,
        jobs=jobs,
        missed=missed,
        shed=len(run.shed),
        unstarted=unstarted,
        share_in_sla=share,
        met=kept(missed, jobs, settings.percentile),
        worker_seconds=run.worker_seconds,
        ready_seconds=run.ready_seconds,
        mean_workers=run.worker_seconds / run.end if run.end else 0.0,
        peak_workers=run.peak_workers,
        worker_starts=run.worker_starts,
        wait_mean=sum(ordered) / len(ordered) if ordered else 0.0,
        wait_p50=quantile(ordered, 50.0),
        wait_p99=quantile(ordered, 99.0),
        wait_max=ordered[-1] if ordered else 0.0,
        seconds=run.end,
    )


def may_miss(jobs: int, percentile: float) -> int:
    """How many of so many jobs may miss a promise of `percentile` %.

    >>> may_miss(1000, 99.0), may_miss(99, 99.0)
    (10, 0)
    """
    return math.floor(jobs * (100.0 - percentile) / 100.0 + 1e-9)


def kept(missed: int, jobs: int, percentile: float) -> bool:
    """Whether the promise holds."""
    return missed <= may_miss(jobs, percentile)


def quantile(ordered: Sequence[float], percentile: float) -> float:
    """The value that `percentile` % do not exceed; 0 of nothing.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 50.0)
    2.0
    """
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * percentile / 100.0 - 1e-9) - 1)]
