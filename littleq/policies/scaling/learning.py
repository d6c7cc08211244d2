"""What an observation teaches: the next state. Counters that were reset, gaps and clocks that step do no harm."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from littleq.estimators.counters import increase
from littleq.estimators.durations import Starts
from littleq.estimators.traffic import Traffic
from littleq.policies.scaling.headroom import Shadows
from littleq.policies.scaling.staffing import servers_for
from littleq.policies.scaling.state import (
    ScalingState,
    is_lean,
    promised_wait,
    service_time,
    starting_workers,
    startup_seconds,
)
from littleq.policies.scaling.types import Observation, ScalingSettings

#: A queue is young for so many intervals, or for a start-up time and two intervals: then averages mean something.
YOUNG_INTERVALS: Final = 6.0
#: Candidates for headroom are judged from then on: before, every forecast is wrong in the same way.
WARM_SECONDS: Final = 150.0
#: After a pause of so many intervals (a controller away, a clock that stepped) its counts say little about now,
GAP_INTERVALS: Final = 6.0
#: and after so many seconds what was known before does not, either.
LOST_SECONDS: Final = 1800.0
#: Bounds of the guard, and how far misses of one percent of half an hour's jobs raise it (as a power of e).
GUARD_LEAST, GUARD_MOST, GUARD_GAIN, GUARD_SECONDS = 0.9, 1.5, 0.25, 1800.0
#: The guard rests at this share of the misses that the promise allows.
GUARD_TARGET: Final = 0.5


def learned(settings: ScalingSettings, seen: Observation, state: ScalingState | None) -> ScalingState:
    """The state with what this observation tells."""
    now, last = seen.now, state.last if state else None
    elapsed = now - last.now if last else 0.0
    interval = settings.interval_seconds
    young = now + max(YOUNG_INTERVALS * interval, settings.startup_seconds + 2 * interval)
    if state is None or last is None or state.traffic is None or elapsed <= 0 or elapsed > LOST_SECONDS:
        state = state or ScalingState()
        there = (seen.workers or 0) + (seen.starting or 0)
        return replace(
            state,
            desired_workers=state.desired_workers if last else max(state.desired_workers, there),
            last=seen,
            traffic=Traffic(now),
            starts=Starts(state.starts.seconds),
            shadows=Shadows(),
            held=(),
            busy_at=now,
            young_until=young,
        )
    rhythm = state.rhythm  # whoever is driven once a minute does not live in pauses
    starting = starting_workers(seen, state)
    starts = state.starts.after_seeing(now, starting, settings.interval_seconds, settings.startup_seconds)
    missing = starting - sum(count for _, count in starts.asked)
    if missing > 0:  # workers that died: whoever keeps the pool starts others in their place
        starts = starts.after_asking(now, missing)
    startup = startup_seconds(settings, starts)
    state = replace(
        state,
        last=seen,
        rhythm=elapsed,
        starts=starts,
        services=state.services.after(elapsed, *_served(last, seen)),
        held=tuple(each for each in state.held if each[0] >= now - startup - 1e-6),
    )
    if elapsed > GAP_INTERVALS * max(interval, rhythm):
        # What was asked for before has come or not come unseen: nothing can be learned from when it is seen.
        return replace(state, starts=Starts(state.starts.seconds), young_until=young, busy_at=now)
    jobs, owed = _arrived(last, seen, state.owed)
    assert state.traffic is not None
    traffic = state.traffic.after(now, elapsed, jobs, startup + settings.interval_seconds)
    busy = jobs > 0 or (seen.ready or 0) > 0 or (seen.in_flight or 0) > 0
    state = replace(state, traffic=traffic, owed=owed, busy_at=now if busy else state.busy_at)
    if is_lean(settings, state):
        return state
    return replace(
        state,
        shadows=_shadowed(settings, state, elapsed, jobs),
        guard=_guarded(settings, state, last, seen, jobs),
    )


def _arrived(last: Observation, seen: Observation, owed: float) -> tuple[float, float]:
    """Jobs that became ready between two observations, refused ones included: they are demand as well.

    A delayed job is offered when it is sent and becomes ready when it is due, so it counts as less first and as more
    then. Counters are flushed once a second and the queue is read at once, so the less may be seen before the offer:
    what is below zero is owed by the next interval.

    Returns:
        Jobs, and what is owed.
    """
    offered = increase(last.offered, seen.offered) or 0.0
    retried = increase(last.retried, seen.retried) or 0.0
    hidden = (seen.delayed or 0) - (last.delayed or 0) if None not in (seen.delayed, last.delayed) else 0
    jobs = offered + retried - hidden
    if offered == 0.0:  # plain Dramatiq sends uncounted: it shows in what is there and in what was served
        there = (seen.ready or 0) + (seen.in_flight or 0) - (last.ready or 0) - (last.in_flight or 0)
        uncounted = there + _served(last, seen)[0]
        jobs = uncounted if uncounted > max(jobs, 0.0) else jobs
    jobs -= owed
    # Halved from the second time on, so that what is never counted as offered is not owed for ever.
    return max(0.0, jobs), max(0.0, -jobs) * (0.5 if owed else 1.0)


def _served(last: Observation, seen: Observation) -> tuple[float, float, float]:
    count = increase(last.services, seen.services) or 0.0
    seconds = increase(last.service_seconds, seen.service_seconds) or 0.0
    squares = increase(last.service_seconds_squared, seen.service_seconds_squared) or 0.0
    return count, seconds, squares


def headroom_rates(traffic: Traffic, now: float) -> tuple[float, ...]:
    """What the forecasts of `headroom.FORECASTS` say."""
    return traffic.average(60.0), traffic.peak(180.0, now), traffic.peak(600.0, now)


def _shadowed(settings: ScalingSettings, state: ScalingState, elapsed: float, jobs: float) -> Shadows:
    service, traffic = service_time(settings, state), state.traffic
    if service is None or traffic is None or state.last is None:
        return state.shadows
    promise, scv = promised_wait(settings, service), state.services.scv()
    return state.shadows.after(
        state.last.now,
        elapsed,
        jobs,
        rates=headroom_rates(traffic, state.last.now),
        service_time=service,
        servers_for=lambda rate: max(1, servers_for(rate, service, scv, promise, settings.percentile)),
        patience=promise,
        startup=startup_seconds(settings, state.starts),
        warm=traffic.seen >= WARM_SECONDS,
    )


def _guarded(
    settings: ScalingSettings, state: ScalingState, last: Observation, seen: Observation, jobs: float
) -> float:
    """Up by the misses that happened, down by those that may: in the long run as many happen as may.

    Source: Gibbs and Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021.
    """
    missed = increase(last.breached, seen.breached)
    if missed is None:  # not counted: when the oldest job is late, those that were served were late as well
        late = seen.oldest_age is not None and seen.oldest_age > settings.sla_seconds
        missed = _served(last, seen)[0] if late else 0.0
    may_miss = 1.0 - settings.percentile / 100.0
    assert state.traffic is not None
    usual = GUARD_SECONDS * max(state.traffic.average(600.0), 1.0 / GUARD_SECONDS)
    step = GUARD_GAIN * (missed - GUARD_TARGET * may_miss * jobs) / (may_miss * usual)
    return min(GUARD_MOST, max(GUARD_LEAST, state.guard * math.exp(min(1.0, step))))
