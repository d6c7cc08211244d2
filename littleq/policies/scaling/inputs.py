"""Everything that a decision is made from, as plain numbers, rounded: what is printed is what was used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from littleq.estimators.traffic import Traffic
from littleq.policies.scaling.headroom import FIRST_MARGIN, FORECASTS, Choice
from littleq.policies.scaling.state import (
    ScalingState,
    is_lean,
    service_time,
    starting_workers,
    startup_seconds,
)
from littleq.policies.scaling.types import Observation, ScalingSettings

#: A last worker stays so many start-up times after the last job where a job cannot wait for another one.
IDLE_STARTUPS: Final = 10.0
#: And for so long at least.
IDLE_LEAST_SECONDS: Final = 60.0
#: A rate this many standard errors above its forecast is a surge, not an error.
SURGE_ERRORS: Final = 2.5
#: And the last interval alone, this many.
SUDDEN_ERRORS: Final = 5.0

#: `halted` of a queue that is not consumed since its breaker is open.
BREAKER_OPEN: Final = "not consumed, for its breaker is open"

#: What `Decision.inputs` holds: name, unit, meaning. `littleq explain` prints it.
INPUTS: Final[Mapping[str, tuple[str, str]]] = {
    "arrival_rate": ("jobs/s", "λ forecast for now + start-up time, retries included, refused jobs too"),
    "forecast_error": ("jobs/s", "standard error of such forecasts lately"),
    "backlog_rate": (
        "jobs/s",
        "rate at which jobs join the backlog: the forecast, or a surge that it does not explain",
    ),
    "headroom_of": ("", "forecast that headroom is measured from"),
    "headroom_rate": ("jobs/s", "what that forecast says"),
    "margin": ("×", "multiple of it that would have kept the promise at least cost"),
    "misses_expected": ("share", "of the jobs that would have missed with that headroom"),
    "guard": ("×", "correction by the misses that really happened"),
    "dispersion": ("", "variance over mean of the counts by interval; 1 for Poisson arrivals"),
    "service_time": ("s", "S, mean service time"),
    "service_scv": ("", "squared coefficient of variation of S"),
    "backlog": ("s, jobs", "jobs that wait, by age"),
    "scheduled": ("s, jobs", "delayed jobs and retries, by the time until they are due"),
    "oldest_age": ("s", "how long the oldest job has waited"),
    "workers": ("", "worker processes that take jobs"),
    "starting": ("s, workers", "workers asked for, by the time until they take jobs"),
    "startup_seconds": ("s", "start-up time of a worker, as learned"),
    "desired_before": ("workers", "the last decision"),
    "standing_workers": ("workers", "what a decision that changes nothing keeps"),
    "held": ("s, workers", "what was wanted within the last start-up time, by age"),
    "lean": ("", "the promise is longer than a start-up, so the queue may absorb"),
    "young": ("", "too little history to send workers away"),
    "idle_for": ("s", "nothing came and nothing waited, long enough to send all away"),
    "halted": ("", "paused, or its breaker is open"),
    "blind": ("", "what is missing or too old"),
}


def inputs_for(
    settings: ScalingSettings,
    seen: Observation,
    state: ScalingState,
    choice: Choice | None,
    standing: int,
) -> dict[str, Any]:
    """Everything that `sizing.answer` reads; plain values, rounded, so that what is printed is what was used."""
    now, traffic = seen.now, state.traffic or Traffic(seen.now)
    startup, lean = startup_seconds(settings, state.starts), is_lean(settings, state)
    rate, error = traffic.forecast(startup + settings.interval_seconds)
    choice = choice or Choice(FORECASTS[0], rate, FIRST_MARGIN, 0.0)
    service = service_time(settings, state)
    waiting = (seen.ready or 0) + max(
        0, (seen.in_flight or 0) - (seen.workers or 0) * settings.threads_per_worker
    )
    idle_after = startup if lean else max(IDLE_LEAST_SECONDS, IDLE_STARTUPS * startup)
    idle_for = now - state.busy_at
    scheduled = _scheduled(seen, settings, startup)
    is_idle = idle_for >= idle_after and waiting == 0 and not seen.in_flight and not scheduled
    return {
        "arrival_rate": _six(rate),
        "forecast_error": _six(error),
        "backlog_rate": _six(rate if lean else _surge(traffic, rate, error)),
        "headroom_of": choice.of,
        "headroom_rate": _six(choice.rate),
        "margin": choice.margin,
        "misses_expected": _six(choice.misses),
        "guard": _six(state.guard),
        "dispersion": _six(traffic.dispersion()),
        "service_time": None if service is None else _six(service),
        "service_scv": _six(state.services.scv()),
        "backlog": [[round(age, 3), jobs] for age, jobs in traffic.ages(waiting, now, seen.oldest_age)],
        "scheduled": scheduled,
        "oldest_age": None if seen.oldest_age is None else _six(seen.oldest_age),
        "workers": seen.workers or 0,
        "starting": grouped(
            [round(left, 3) for left in state.starts.remaining(now, starting_workers(seen, state), startup)]
        ),
        "startup_seconds": _six(startup),
        "desired_before": state.desired_workers,
        "standing_workers": standing,
        "held": [[round(now - when, 3), workers] for when, workers in state.held],
        "lean": lean,
        "young": now < state.young_until,
        "idle_for": round(idle_for, 3) if is_idle else None,
        "halted": "paused" if seen.paused else BREAKER_OPEN if seen.breaker_open else None,
        "blind": None,
    }


def _surge(traffic: Traffic, rate: float, error: float) -> float:
    """The rate by which a backlog grows: the forecast, unless what came last is beyond its usual error.

    The last interval alone is enough where it is far beyond: each interval that is waited for is one more of misses.
    """
    for intervals, errors in ((1, SUDDEN_ERRORS), (2, SURGE_ERRORS)):
        recent, span = traffic.recent(intervals)
        noise = math.sqrt(rate / span) if span > 0 else math.inf  # of a count over so long
        if recent > rate + errors * max(error, noise):
            return recent
    return rate


def _scheduled(seen: Observation, settings: ScalingSettings, startup: float) -> list[list[float]]:
    """Delayed jobs by the time until they are due, as far ahead as a decision looks."""
    horizon = startup + settings.sla_seconds + 2 * settings.interval_seconds
    found, before = [], 0
    for within, jobs in seen.due:
        if jobs > before and within <= horizon:
            found.append([round(within, 3), jobs - before])
        before = jobs
    return found


def _six(value: float) -> float:
    return float(f"{value:.6g}")


def grouped(times: Sequence[float]) -> list[list[float]]:
    """Equal times together, as [seconds, how many].

    >>> grouped([1.0, 1.0, 4.0])
    [[1.0, 2], [4.0, 1]]
    """
    found: list[list[float]] = []
    for each in times:
        if found and abs(found[-1][0] - each) < 1e-9:
            found[-1][1] += 1
        else:
            found.append([each, 1])
    return found
