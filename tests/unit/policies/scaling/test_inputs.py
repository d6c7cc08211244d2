"""What is printed is what was used: each decision and each number in its reason follow from its inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from littleq.policies.scaling import INPUTS, Decision, Observation, ScalingSettings, decide, recompute
from littleq.policies.scaling.inputs import grouped
from littleq.policies.scaling.reasons import span
from tests.unit.policies.scaling.driven import Driven

SHORT = ScalingSettings(sla_seconds=1.0)
POLICIES = (
    SHORT,
    ScalingSettings(sla_seconds=60.0),
    ScalingSettings(sla_seconds=10.0, sojourn=True, threads_per_worker=3, max_workers=9, min_workers=1),
    ScalingSettings(sla_seconds=0.2, max_step_up=2, max_step_down=1, concurrency_global=20, percentile=95.0),
    ScalingSettings(sla_seconds=1.0, startup_seconds=0.0, service_time=0.1),
)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
#: Something that happens before a look, with what is then seen of it.
EVENTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no backlog": {"ready": None, "oldest_age": None},
    "no arrivals": {"offered": None},
    "no workers": {"workers": None, "starting": None},
    "no services": {"services": None, "service_seconds": None, "service_seconds_squared": None},
    "nobody counts starts": {"starting": None},
    "old": {"age_seconds": 99.0},
    "paused": {"paused": True},
    "breaker": {"breaker_open": True},
    "due": {"due": ((3.0, 20), (33.0, 200), (900.0, 900)), "delayed": 900},
    "reset": {},
    "all gone": {},
    "clock back": {},
    "clock forth": {},
    "a minute later": {},
}
walks = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.3, 5.0, 20.0, 120.0]), st.sampled_from(sorted(EVENTS)), st.integers(1, 4)
    ),
    min_size=1,
    max_size=14,
)


def happen(queue: Driven, event: str) -> None:
    if event == "reset":
        queue.offered = queue.served = 0.0
    elif event == "all gone":
        queue.workers = 0
    elif event == "clock back":
        queue.now -= 30.0
    elif event == "clock forth":
        queue.now += 12.5
    elif event == "a minute later":
        for _ in range(12):
            queue.pass_time()


def walked(policy: ScalingSettings, walk: Iterable[tuple[float, str, int]]) -> Iterable[Decision]:
    queue = Driven(policy, workers=3)
    for rate, event, ticks in walk:
        queue.rate = rate
        happen(queue, event)
        for _ in range(ticks):
            yield queue.tick(1, **EVENTS[event])


def told(policy: ScalingSettings, decision: Decision) -> set[str]:
    """Every number that the reason may contain, as it is written."""
    inputs, steps = decision.inputs, decision.steps
    values = [
        v for v in (*inputs.values(), *steps.values(), *asdict(policy).values()) if isinstance(v, int | float)
    ]
    values += [workers for _, workers in inputs["held"]]
    values.append(sum(jobs for _, jobs in inputs["backlog"]))
    values.append(inputs["workers"] + sum(count for _, count in inputs["starting"]))
    values.append(inputs["margin"] * inputs["guard"])
    values.append(inputs["headroom_rate"] * inputs["margin"] * inputs["guard"])
    values.append(-(-sum(jobs for _, jobs in inputs["backlog"]) // policy.jobs_per_worker))
    values.append(max([steps.get("wanted_workers", 0.0), *[workers for _, workers in inputs["held"]]]))
    values.append(-(-steps.get("backlog_servers", 0) // policy.threads_per_worker))
    values.append(-(-(policy.concurrency_global or 0) // policy.threads_per_worker))
    texts = {inputs["headroom_of"], inputs["blind"] or "", "99"}
    for value in values:
        texts |= {f"{value:g}", f"{value:.3g}", str(value), span(abs(float(value)))}
    return {number for text in texts for number in NUMBER.findall(text)}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(POLICIES), walks)
def test_every_decision_is_recomputed_from_its_inputs_even_after_json(
    policy: ScalingSettings, walk: list[tuple[float, str, int]]
) -> None:
    for decision in walked(policy, walk):
        assert set(decision.inputs) == set(INPUTS)
        assert recompute(policy, decision.inputs) == decision
        assert recompute(policy, json.loads(json.dumps(decision.inputs))) == decision


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(POLICIES), walks)
def test_every_number_in_a_reason_is_in_the_inputs_the_steps_or_the_settings(
    policy: ScalingSettings, walk: list[tuple[float, str, int]]
) -> None:
    for decision in walked(policy, walk):
        missing = set(NUMBER.findall(decision.reason)) - told(policy, decision)
        assert not missing, (missing, decision.reason)
        assert decision.reason.endswith(".")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(POLICIES), walks)
def test_every_decision_is_within_its_bounds(
    policy: ScalingSettings, walk: list[tuple[float, str, int]]
) -> None:
    for decision in walked(policy, walk):
        assert isinstance(decision.desired_workers, int)
        assert policy.min_workers <= decision.desired_workers <= policy.max_workers
        assert decision.required_servers >= 0
        assert decision.time_to_breach is None or decision.time_to_breach >= 0.0
        assert decision.regime in {"cold", "steady", "draining", "lean", "idle", "holding", "blind"}


def test_numbers_that_decide_are_those_that_are_printed() -> None:
    """A change of an input changes what is recomputed: no number is taken from elsewhere."""
    queue = Driven(SHORT)
    inputs = queue.tick(60).inputs
    assert recompute(SHORT, {**inputs, "headroom_rate": 60.0}).desired_workers > 30
    assert recompute(SHORT, {**inputs, "backlog": [[0.0, 2000]]}).regime == "draining"
    assert recompute(SHORT, {**inputs, "service_time": None}).regime == "cold"


@pytest.mark.parametrize(
    "settings",
    [
        ScalingSettings(sla_seconds=1e-9),
        ScalingSettings(sla_seconds=1e9),
        ScalingSettings(sla_seconds=1.0, startup_seconds=0.0),
        ScalingSettings(sla_seconds=1.0, startup_seconds=1e6),
        ScalingSettings(sla_seconds=1.0, interval_seconds=0.01),
        ScalingSettings(sla_seconds=1.0, service_time=1e9),
        ScalingSettings(sla_seconds=1.0, service_time=1e-9, sojourn=True),
        ScalingSettings(sla_seconds=1.0, percentile=1.0),
        ScalingSettings(sla_seconds=1.0, percentile=99.99999),
        ScalingSettings(sla_seconds=1.0, threads_per_worker=10_000),
    ],
)
@pytest.mark.parametrize("rate", [0.0, 1e-6, 1e6])
@pytest.mark.parametrize("service_time", [1e-6, 1e6])
def test_absurd_numbers_still_lead_to_a_number_within_the_bounds(
    settings: ScalingSettings, rate: float, service_time: float
) -> None:
    queue = Driven(replace(settings, max_workers=500), rate=rate, service_time=service_time)
    for decision in (queue.tick(15), queue.tick(1, oldest_age=-5.0), queue.tick(1, age_seconds=-5.0)):
        assert 0 <= decision.desired_workers <= 500
        assert recompute(queue.settings, decision.inputs) == decision


@pytest.mark.parametrize("name", ["ready", "in_flight", "delayed", "workers", "offered"])
def test_a_negative_count_does_no_harm(name: str) -> None:
    queue = Driven(SHORT)
    queue.tick(20)
    queue.obeys = False
    queue.tick(1, **{name: -5})
    assert queue.tick(12).desired_workers >= 7


def test_jobs_that_are_prefetched_wait_as_well() -> None:
    seen = Observation(5.0, offered=0.0, ready=10, in_flight=12, workers=4, oldest_age=2.25)
    decision, _ = decide(SHORT, seen)
    assert decision.inputs["backlog"] == [[2.25, 10 + 12 - 4]]


def test_what_is_due_is_split_by_time_and_looked_at_as_far_as_a_decision_reaches() -> None:
    """30 s start-up, 1 s promise and two intervals: 41 s."""
    seen = Observation(5.0, offered=0.0, ready=0, workers=4, due=((1.0, 2), (10.0, 2), (41.0, 7), (60.0, 9)))
    decision, _ = decide(SHORT, seen)
    assert decision.inputs["scheduled"] == [[1.0, 2], [41.0, 5]]


def test_a_surge_is_believed_before_the_forecast_explains_it() -> None:
    queue = Driven(SHORT)
    for k in range(120):
        queue.rate = 8.0 if k % 2 else 12.0
        queue.tick()
    queue.rate = 100.0
    inputs = queue.tick().inputs
    assert inputs["backlog_rate"] == pytest.approx(100.0, rel=0.01)
    assert inputs["arrival_rate"] < 50.0


def test_times_are_grouped() -> None:
    assert grouped([]) == []
    assert grouped([0.0, 0.0, 1.0, 2.0, 2.0]) == [[0.0, 2], [1.0, 1], [2.0, 2]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.05, "50 ms"), (0.5, "0.5 s"), (59.96, "60 s"), (600.0, "10 min"), (86_400.0, "24 h")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text
