"""How many workers a queue needs now, so that the promise holds at the least cost.

Pure: an observation and the state of the last decision in, a decision and the next state out. The same code runs
in the controller, in `littleq explain` and, in virtual time, in `littleq simulate`.

    settings = ScalingSettings(sla_seconds=1.0, max_workers=50)
    decision, state = decide(settings, observation, state)   # state: None at first
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from littleq.estimators.counters import increase
from littleq.estimators.durations import Services, Starts
from littleq.estimators.traffic import Traffic
from littleq.policies import sizing
from littleq.policies.headroom import FIRST_MARGIN, FORECASTS, Choice, Shadows
from littleq.policies.staffing import servers_for


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
class ScalingState:
    """What one decision hands to the next; `as_dict` and `from_dict` carry it through JSON.

    Attributes:
        desired_workers: the last decision.
        last: the last observation that could be read.
        traffic, services, starts, shadows: see `littleq.estimators` and `littleq.policies.headroom`.
        guard: what headroom is multiplied by, since real misses differ from those of the shadows.
        held: (when, workers wanted) within the last start-up time.
        busy_at: when something last came, waited or ran.
        young_until: no worker is sent away before.
    """

    desired_workers: int = 0
    last: Observation | None = None
    traffic: Traffic | None = None
    services: Services = Services()
    starts: Starts = Starts()
    shadows: Shadows = Shadows()
    guard: float = 1.0
    held: tuple[tuple[float, int], ...] = ()
    busy_at: float = 0.0
    young_until: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "desired_workers": self.desired_workers,
            "last": None if self.last is None else asdict(self.last),
            "traffic": None if self.traffic is None else self.traffic.as_dict(),
            "services": list(self.services),
            "starts": self.starts.as_list(),
            "shadows": self.shadows.as_dict(),
            "guard": round(self.guard, 4),
            "held": [list(each) for each in self.held],
            "busy_at": self.busy_at,
            "young_until": self.young_until,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ScalingState:
        """The state that `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: another release wrote it, or it is broken: begin with None.
        """
        last, traffic = record["last"], record["traffic"]
        if last is not None:
            last = Observation(**{**last, "due": tuple((within, jobs) for within, jobs in last["due"])})
        return cls(
            desired_workers=int(record["desired_workers"]),
            last=last,
            traffic=None if traffic is None else Traffic.from_dict(traffic),
            services=Services(*record["services"]),
            starts=Starts.from_list(record["starts"]),
            shadows=Shadows.from_dict(record["shadows"]),
            guard=float(record["guard"]),
            held=tuple((when, int(workers)) for when, workers in record["held"]),
            busy_at=float(record["busy_at"]),
            young_until=float(record["young_until"]),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why.

    Attributes:
        desired_workers: worker processes that the queue shall have.
        required_servers: threads that the promise needs, before min, max and steps.
        regime: `cold`, `steady`, `draining`, `lean`, `idle`, `holding` or `blind` (see `littleq.policies.sizing`).
        reason: one sentence for an operator.
        time_to_breach: seconds until a job misses the SLA with the workers there and starting; 0: now; None: none
            in sight.
        inputs: every number that it was made from (`littleq.policies.sizing.INPUTS`).
        steps: the numbers in between, in servers unless the name says otherwise.
    """

    desired_workers: int
    required_servers: int
    regime: str
    reason: str
    time_to_breach: float | None
    inputs: Mapping[str, Any]
    steps: Mapping[str, float]


#: A queue is young for so long: averages mean something after a minute.
YOUNG_SECONDS: Final = 60.0
#: Candidates for headroom are judged from then on: before, every forecast is wrong in the same way.
WARM_SECONDS: Final = 150.0
#: Numbers older than so many intervals are no basis for a decision.
STALE_INTERVALS: Final = 3.0
#: After a pause of so many intervals (a controller away, a clock that stepped) its counts say little about now,
GAP_INTERVALS: Final = 6.0
#: and after so many seconds what was known before does not, either.
LOST_SECONDS: Final = 1800.0
#: A last worker stays so many start-up times after the last job where a job cannot wait for another one.
IDLE_STARTUPS: Final = 10.0
#: Bounds of the guard, and how far misses of one percent of half an hour's jobs raise it (as a power of e).
GUARD_LEAST, GUARD_MOST, GUARD_GAIN, GUARD_SECONDS = 0.9, 1.5, 0.25, 1800.0
#: The guard rests at this share of the misses that the promise allows.
GUARD_TARGET: Final = 0.5
#: A rate this many standard errors above its forecast is a surge, not an error.
SURGE_ERRORS: Final = 2.5


def decide(
    settings: ScalingSettings, observation: Observation, state: ScalingState | None = None
) -> tuple[Decision, ScalingState]:
    """The next decision. Deterministic; keeps nothing but what it returns.

    Args:
        observation: what could be read now. Call once an interval; other distances are allowed.
        state: as the last call returned it; None at first, or when it was lost.
    """
    seen = observation
    if blind := _blind(settings, seen, state):
        standing = max(state.desired_workers if state else 0, seen.workers or 0)
        inputs = _inputs(settings, seen, state or ScalingState(), None, standing) | {"blind": blind}
        decision = recompute(settings, inputs)
        return decision, replace(state or ScalingState(), desired_workers=decision.desired_workers)
    state = _learned(settings, seen, state)
    standing = (
        max(state.desired_workers, seen.workers or 0)
        if seen.now < state.young_until
        else state.desired_workers
    )
    choice = _headroom(settings, state, seen.now)
    decision = recompute(settings, _inputs(settings, seen, state, choice, standing))
    there = (seen.workers or 0) + _starting(seen, state)
    held = decision.steps.get("wanted_workers")
    return decision, replace(
        state,
        desired_workers=decision.desired_workers,
        starts=state.starts.after_asking(seen.now, decision.desired_workers - there),
        held=state.held if held is None else (*state.held, (seen.now, int(held))),
    )


def recompute(settings: ScalingSettings, inputs: Mapping[str, Any]) -> Decision:
    """The decision that these inputs lead to: `recompute(settings, decision.inputs) == decision`."""
    found = sizing.answer(settings, inputs)
    return Decision(
        desired_workers=found.desired,
        required_servers=found.servers,
        regime=found.regime,
        reason=found.reason,
        time_to_breach=found.time_to_breach,
        inputs=inputs,
        steps=found.steps,
    )


def _blind(settings: ScalingSettings, seen: Observation, state: ScalingState | None) -> str | None:
    """What keeps us from deciding, in words."""
    missing = [
        name
        for name, value in (("arrivals", seen.offered), ("backlog", seen.ready), ("workers", seen.workers))
        if value is None
    ]
    if missing:
        return f"The {' and the '.join(missing)} cannot be read"
    limit = STALE_INTERVALS * settings.interval_seconds
    if seen.age_seconds > limit:
        return f"The numbers are {seen.age_seconds:.0f} s old, more than {limit:g} s"
    if state is not None and state.last is not None and state.last.now >= seen.now > state.last.now - 1.0:
        return "No time has passed since the last decision"
    return None


def _learned(settings: ScalingSettings, seen: Observation, state: ScalingState | None) -> ScalingState:
    """The state with what this observation tells."""
    now, last = seen.now, state.last if state else None
    elapsed = now - last.now if last else 0.0
    young = now + max(YOUNG_SECONDS, settings.startup_seconds + 2 * settings.interval_seconds)
    if state is None or last is None or state.traffic is None or elapsed <= 0 or elapsed > LOST_SECONDS:
        state = state or ScalingState(desired_workers=(seen.workers or 0) + (seen.starting or 0))
        return replace(
            state,
            last=seen,
            traffic=Traffic(now),
            starts=Starts(state.starts.seconds),
            shadows=Shadows(),
            held=(),
            busy_at=now,
            young_until=young,
        )
    starting = _starting(seen, state)
    starts = state.starts.after_seeing(now, starting, settings.interval_seconds)
    startup = _startup(settings, starts)
    state = replace(
        state,
        last=seen,
        starts=starts,
        services=state.services.after(elapsed, *_served(last, seen)),
        held=tuple(each for each in state.held if each[0] >= now - startup - 1e-6),
    )
    if elapsed > GAP_INTERVALS * settings.interval_seconds:
        return replace(state, young_until=young)
    jobs = _arrived(last, seen)
    assert state.traffic is not None
    traffic = state.traffic.after(now, elapsed, jobs, startup + settings.interval_seconds)
    busy = jobs > 0 or (seen.ready or 0) > 0 or (seen.in_flight or 0) > 0
    state = replace(state, traffic=traffic, busy_at=now if busy else state.busy_at)
    if _is_lean(settings, state):
        return state
    return replace(
        state,
        shadows=_shadowed(settings, state, elapsed, jobs),
        guard=_guarded(settings, state, last, seen, jobs),
    )


def _arrived(last: Observation, seen: Observation) -> float:
    """Jobs that became ready between two observations, refused ones included: they are demand as well."""
    offered = increase(last.offered, seen.offered) or 0.0
    retried = increase(last.retried, seen.retried) or 0.0
    hidden = (seen.delayed or 0) - (last.delayed or 0) if None not in (seen.delayed, last.delayed) else 0
    if (
        offered == 0.0
    ):  # a plain Dramatiq process sends uncounted: it shows in what is there and what was served
        there = (seen.ready or 0) + (seen.in_flight or 0) - (last.ready or 0) - (last.in_flight or 0)
        return max(0.0, retried - hidden, there + _served(last, seen)[0])
    return max(0.0, offered + retried - hidden)


def _served(last: Observation, seen: Observation) -> tuple[float, float, float]:
    count = increase(last.services, seen.services) or 0.0
    seconds = increase(last.service_seconds, seen.service_seconds) or 0.0
    squares = increase(last.service_seconds_squared, seen.service_seconds_squared) or 0.0
    return count, seconds, squares


def _starting(seen: Observation, state: ScalingState) -> int:
    if seen.starting is not None:
        return seen.starting
    return max(0, state.desired_workers - (seen.workers or 0))


def _startup(settings: ScalingSettings, starts: Starts) -> float:
    return settings.startup_seconds if starts.seconds is None else starts.seconds


def _service_time(settings: ScalingSettings, state: ScalingState) -> float | None:
    return state.services.mean() or settings.service_time


def _promise(settings: ScalingSettings, service_time: float | None) -> float:
    """What is left of the SLA for the wait."""
    served = (service_time or 0.0) if settings.sojourn else 0.0
    return max(settings.sla_seconds - served, 0.05 * settings.sla_seconds)


def _is_lean(settings: ScalingSettings, state: ScalingState) -> bool:
    """Whether a worker that is asked for after a surprise still comes in time."""
    patience = _promise(settings, _service_time(settings, state)) * settings.scale_threshold
    return patience >= _startup(settings, state.starts) + settings.interval_seconds


def _rates(traffic: Traffic, now: float) -> tuple[float, ...]:
    """What the forecasts of `headroom.FORECASTS` say."""
    return traffic.average(60.0), traffic.peak(180.0, now), traffic.peak(600.0, now)


def _shadowed(settings: ScalingSettings, state: ScalingState, elapsed: float, jobs: float) -> Shadows:
    service_time, traffic = _service_time(settings, state), state.traffic
    if service_time is None or traffic is None or state.last is None:
        return state.shadows
    promise, scv = _promise(settings, service_time), state.services.scv()
    return state.shadows.after(
        state.last.now,
        elapsed,
        jobs,
        rates=_rates(traffic, state.last.now),
        service_time=service_time,
        servers_for=lambda rate: max(1, servers_for(rate, service_time, scv, promise, settings.percentile)),
        patience=promise,
        startup=_startup(settings, state.starts),
        warm=traffic.seen >= WARM_SECONDS,
    )


def _headroom(settings: ScalingSettings, state: ScalingState, now: float) -> Choice:
    if state.traffic is None:
        return Choice(FORECASTS[0], 0.0, FIRST_MARGIN, 0.0)
    return state.shadows.choose(_rates(state.traffic, now), 1.0 - settings.percentile / 100.0)


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


def _inputs(
    settings: ScalingSettings,
    seen: Observation,
    state: ScalingState,
    choice: Choice | None,
    standing: int,
) -> dict[str, Any]:
    """Everything that `sizing.answer` reads; plain values, rounded, so that what is printed is what was used."""
    now, traffic = seen.now, state.traffic or Traffic(seen.now)
    startup, lean = _startup(settings, state.starts), _is_lean(settings, state)
    rate, error = traffic.forecast(startup + settings.interval_seconds)
    choice = choice or Choice(FORECASTS[0], rate, FIRST_MARGIN, 0.0)
    service_time = _service_time(settings, state)
    waiting = (seen.ready or 0) + max(
        0, (seen.in_flight or 0) - (seen.workers or 0) * settings.threads_per_worker
    )
    idle_after = startup if lean else max(YOUNG_SECONDS, IDLE_STARTUPS * startup)
    idle_for = now - state.busy_at
    is_idle = idle_for >= idle_after and waiting == 0 and (seen.in_flight or 0) == 0
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
        "service_time": None if service_time is None else _six(service_time),
        "service_scv": _six(state.services.scv()),
        "backlog": [[round(age, 3), jobs] for age, jobs in traffic.ages(waiting, now, seen.oldest_age)],
        "scheduled": _scheduled(seen, settings, startup),
        "oldest_age": None if seen.oldest_age is None else _six(seen.oldest_age),
        "workers": seen.workers or 0,
        "starting": sizing.grouped(
            [round(left, 3) for left in state.starts.remaining(now, _starting(seen, state), startup)]
        ),
        "startup_seconds": _six(startup),
        "desired_before": state.desired_workers,
        "standing_workers": standing,
        "held": [[round(now - when, 3), workers] for when, workers in state.held],
        "lean": lean,
        "young": now < state.young_until,
        "idle_for": round(idle_for, 3) if is_idle else None,
        "halted": "paused"
        if seen.paused
        else "not consumed, for its breaker is open"
        if seen.breaker_open
        else None,
        "blind": None,
    }


def _surge(traffic: Traffic, rate: float, error: float) -> float:
    """The rate by which a backlog grows: the forecast, unless what came last is beyond its usual error."""
    recent = traffic.recent_rate(2)
    noise = math.sqrt(rate / 10.0) if rate > 0 else 0.0  # of a count over two intervals
    return recent if recent > rate + SURGE_ERRORS * max(error, noise) else rate


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
