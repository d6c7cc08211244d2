"""One decision: learn, size, remember."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from littleq.policies.scaling import sizing
from littleq.policies.scaling.headroom import FIRST_MARGIN, FORECASTS, Choice
from littleq.policies.scaling.inputs import inputs_for
from littleq.policies.scaling.learning import headroom_rates, learned
from littleq.policies.scaling.state import ScalingState, starting_workers
from littleq.policies.scaling.types import Decision, Observation, ScalingSettings

#: Numbers older than so many intervals are no basis for a decision.
STALE_INTERVALS: Final = 3.0
#: In less than this share of an interval nothing is learned: a handful of jobs would look like a rate.
LEAST_INTERVALS: Final = 0.2
#: Above it floats no longer count single jobs.
MOST_COUNTABLE: Final = 2.0**53


def decide(
    settings: ScalingSettings, observation: Observation, state: ScalingState | None = None
) -> tuple[Decision, ScalingState]:
    """The next decision. Deterministic; keeps nothing but what it returns.

    Args:
        observation: what could be read now. Call once an interval; other distances are allowed.
        state: as the last call returned it; None at first, or when it was lost.
    """
    seen = _plausible(observation)
    if blind := _blind(settings, seen, state):
        known = state is not None and state.last is not None
        standing = state.desired_workers if state and known else seen.workers or 0
        inputs = inputs_for(settings, seen, state or ScalingState(), None, standing) | {"blind": blind}
        decision = recompute(settings, inputs)
        return decision, replace(state or ScalingState(), desired_workers=decision.desired_workers)
    state = learned(settings, seen, state)
    standing = (
        max(state.desired_workers, seen.workers or 0)
        if seen.now < state.young_until
        else state.desired_workers
    )
    choice = _headroom(settings, state, seen.now)
    decision = recompute(settings, inputs_for(settings, seen, state, choice, standing))
    there = (seen.workers or 0) + starting_workers(seen, state)
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
    if (state is None or state.last is None) and not seen.workers and seen.in_flight:
        return f"{seen.in_flight} jobs are with workers, but no worker is seen"
    least = LEAST_INTERVALS * settings.interval_seconds
    if state is not None and state.last is not None and abs(seen.now - state.last.now) < least:
        return "Hardly any time has passed since the last decision"
    return None


def _plausible(seen: Observation) -> Observation:
    """Without what is no number, or is larger than anything that can be counted: it could not be read."""
    odd: dict[str, Any] = {
        name: None
        for name in Observation.__slots__
        if isinstance(value := getattr(seen, name), int | float)
        and not -MOST_COUNTABLE < value < MOST_COUNTABLE
    }
    if not odd:
        return seen
    if "now" in odd or "age_seconds" in odd:
        return replace(seen, **odd | {"now": 0.0, "age_seconds": math.inf})
    return replace(seen, **odd)


def _headroom(settings: ScalingSettings, state: ScalingState, now: float) -> Choice:
    if state.traffic is None:
        return Choice(FORECASTS[0], 0.0, FIRST_MARGIN, 0.0)
    return state.shadows.choose(headroom_rates(state.traffic, now), 1.0 - settings.percentile / 100.0)
