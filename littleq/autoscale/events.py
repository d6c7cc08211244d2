"""What happened to a service level, said once: `breach_predicted`, `breached`, `recovered`.

    fine ── breach in sight ──> predicted ── too many late ──> breached
      ^                             │                             │
      └──────── recovered ──────────┴── nothing of it for a while ┘

    @littleq.on_sla_event
    def page(event: littleq.SLAEvent) -> None:
        if event.name == "breached":
            pager.call(event.message)

An edge is found by values alone: the state of the last decision in, events and the next state out. The state is kept
in the ledger with the decision, so a controller that is restarted repeats nothing. An event is told after its decision
has been published: of two controllers one tells it, and one that dies in between has counted it without telling.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal, TypeVar, cast, get_args

from littleq.estimators.counters import increase
from littleq.policies.scaling import Decision, Observation, ScalingSettings

logger = logging.getLogger(__name__)

EventName = Literal["breach_predicted", "breached", "recovered"]
Level = Literal["fine", "predicted", "breached"]

#: A breach is told of beforehand when it is nearer than so many start-up times: one to start a worker, one to react.
NEAR_STARTUPS = 2.0
#: Late jobs are counted over so many seconds, or decisions where those are further apart.
WINDOW_SECONDS, WINDOW_INTERVALS = 60.0, 6.0
#: And a queue has recovered when for as long nothing was late beyond what may be, and no breach was in sight.
RECOVERY_SECONDS, RECOVERY_INTERVALS = 60.0, 6.0

EVENTS: Final[tuple[EventName, ...]] = get_args(EventName)


@dataclass(frozen=True, slots=True)
class SLAEvent:
    """Something that happened to the service level of a queue.

    Attributes:
        name: `breach_predicted`, `breached` or `recovered`.
        queue: whose.
        at: by the ledger's clock, s since the epoch.
        message: one sentence for an operator.
        decision: what was decided at the same moment.
    """

    name: EventName
    queue: str
    at: float
    message: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class EventState:
    """What one decision hands to the next.

    Attributes:
        level: what was told last.
        bad_at: when something was last late or about to be, or nobody could tell; ledger time.
        readings: (when, timed, breached) within the window, oldest first: counters of the ledger.
        counts: events so far, by name.
    """

    level: Level = "fine"
    bad_at: float = 0.0
    readings: tuple[tuple[float, float, float], ...] = ()
    counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(EVENTS, 0))

    def as_dict(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "bad_at": self.bad_at,
            "readings": [list(reading) for reading in self.readings],
            "counts": dict(self.counts),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> EventState:
        """The state that `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: another release wrote it, or it is broken.
        """
        if record["level"] not in get_args(Level):
            raise ValueError(f"{record['level']!r} is no level")
        return cls(
            level=cast("Level", record["level"]),
            bad_at=float(record["bad_at"]),
            readings=tuple((float(a), float(b), float(c)) for a, b, c in record["readings"]),
            counts={name: int(record["counts"].get(name, 0)) for name in EVENTS},
        )


def sla_events(
    queue: str, settings: ScalingSettings, decision: Decision, seen: Observation, state: EventState
) -> tuple[tuple[SLAEvent, ...], EventState]:
    """What happened since the last decision: one event at most, and the next state.

    A decision that was made blind tells nothing, neither that a queue is in trouble nor that it is well.
    """
    if decision.regime == "blind":
        return (), replace(state, bad_at=seen.now)
    span = max(WINDOW_SECONDS, WINDOW_INTERVALS * settings.interval_seconds)
    readings = _readings(state.readings, seen, span)
    allowed = 1.0 - settings.percentile / 100.0
    is_old = seen.oldest_age is not None and seen.oldest_age > settings.sla_seconds
    is_late = _is_beyond(readings, allowed)
    startup = float(decision.inputs["startup_seconds"])
    ahead = decision.time_to_breach
    is_near = ahead is not None and ahead <= NEAR_STARTUPS * startup
    is_bad = is_old or is_near or _is_beyond(readings[-2:], allowed)
    state = replace(state, readings=readings, bad_at=seen.now if is_bad else min(state.bad_at, seen.now))
    quiet = seen.now - state.bad_at >= max(RECOVERY_SECONDS, RECOVERY_INTERVALS * settings.interval_seconds)
    if (is_old or is_late) and state.level != "breached":
        message = _why_breached(settings, seen, readings, is_old)
        return _told("breached", "breached", message, queue, decision, seen, state)
    if is_near and state.level == "fine":
        message = _why_predicted(settings, decision, seen)
        return _told("breach_predicted", "predicted", message, queue, decision, seen, state)
    if state.level != "fine" and quiet and not is_late:
        message = f"keeps its service level again: {_promise(settings)}"
        return _told("recovered", "fine", message, queue, decision, seen, state)
    return (), state


def _told(
    name: EventName,
    level: Level,
    message: str,
    queue: str,
    decision: Decision,
    seen: Observation,
    state: EventState,
) -> tuple[tuple[SLAEvent, ...], EventState]:
    event = SLAEvent(name, queue, seen.now, f"Queue {queue!r} {message}.", decision)
    counts = {**state.counts, name: state.counts.get(name, 0) + 1}
    return (event,), replace(state, level=level, counts=counts)


def _readings(
    kept: tuple[tuple[float, float, float], ...], seen: Observation, span: float
) -> tuple[tuple[float, float, float], ...]:
    """Those within the window, and this one; after a step of the clock that one alone."""
    if seen.timed is None or seen.breached is None:
        return kept
    recent = [reading for reading in kept if seen.now - span <= reading[0] < seen.now]
    return (*recent, (seen.now, seen.timed, seen.breached))


def _rise(readings: tuple[tuple[float, float, float], ...]) -> tuple[float, float]:
    """Jobs that were timed, and those that were late, from the first reading to the last; resets are seen through."""
    timed = late = 0.0
    for before, after in pairwise(readings):
        timed += increase(before[1], after[1]) or 0.0
        late += increase(before[2], after[2]) or 0.0
    return timed, late


def _is_beyond(readings: tuple[tuple[float, float, float], ...], allowed: float) -> bool:
    """Whether more were late than may be. Counts of one batch may be in two readings: late ones without timed ones."""
    timed, late = _rise(readings)
    return late > allowed * max(timed, late)


def _promise(settings: ScalingSettings) -> str:
    what = "done" if settings.sojourn else "started"
    return f"{settings.percentile:g} % of its jobs are {what} within {settings.sla_seconds:g} s"


def _why_breached(
    settings: ScalingSettings,
    seen: Observation,
    readings: tuple[tuple[float, float, float], ...],
    is_old: bool,
) -> str:
    if is_old:
        return (
            f"breaks its service level: its oldest job has waited {seen.oldest_age:.3g} s,"
            f" of at most {settings.sla_seconds:g} s"
        )
    timed, late = _rise(readings)
    return (
        f"breaks its service level: {late:g} of {max(timed, late):g} jobs of the last"
        f" {readings[-1][0] - readings[0][0]:.0f} s were late, of at most {100 - settings.percentile:.3g} %"
    )


def _why_predicted(settings: ScalingSettings, decision: Decision, seen: Observation) -> str:
    ahead = decision.time_to_breach or 0.0
    when = "now" if ahead <= 0 else f"within {ahead:.3g} s"
    return (
        f"is about to miss its service level ({settings.sla_seconds:g} s) {when}: {seen.ready} jobs wait,"
        f" {seen.workers} workers are there, {decision.desired_workers} are wanted"
    )


Hook = TypeVar("Hook", bound=Callable[[SLAEvent], object])

#: What users want called, in this process.
_hooks: list[Callable[[SLAEvent], object]] = []


def on_sla_event(hook: Hook) -> Hook:
    """Have a function called with each `SLAEvent`; also a decorator.

    It is called in the process that decides: declare it in the module that you give to `littleq controller`. The next
    decision waits for it, so it should be quick. What it raises is logged and changes nothing.

    Returns:
        The function, unchanged.
    """
    _hooks.append(hook)
    return hook


def tell(events: Iterable[SLAEvent]) -> None:
    """Log the events and call the hooks. Never raises."""
    for event in events:
        level = logging.INFO if event.name == "recovered" else logging.WARNING
        logger.log(level, "%s: %s %s", event.name, event.message, event.decision.reason)
        for hook in tuple(_hooks):
            try:
                hook(event)
            except Exception:
                logger.exception("A hook of on_sla_event failed on %s of queue %r.", event.name, event.queue)
