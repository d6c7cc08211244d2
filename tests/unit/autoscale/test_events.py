"""Edges of a service level: told once, not repeated by a restart, and taken back when it is kept again."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

import littleq
from littleq.autoscale import events
from littleq.autoscale.events import EVENTS, EventState, SLAEvent, sla_events, tell
from littleq.policies.scaling import Decision, Observation, ScalingSettings

SETTINGS = ScalingSettings(sla_seconds=10.0, percentile=99.0, startup_seconds=30.0, interval_seconds=5.0)
FINE = Decision(2, 4, "steady", "Because.", None, {"startup_seconds": 30.0}, {})
STEADY = Observation(now=0.0, timed=0.0, breached=0.0, ready=0, workers=2)


class Story:
    """Decisions five seconds apart; the state goes through JSON each time, as through the ledger."""

    def __init__(self, settings: ScalingSettings = SETTINGS) -> None:
        self.settings, self.state = settings, EventState()
        self.seen = replace(STEADY, now=1000.0)
        self.told: list[SLAEvent] = []

    def step(
        self,
        *,
        timed: float = 100,
        late: float = 0,
        ahead: float | None = None,
        blind: bool = False,
        **seen: Any,
    ) -> list[str]:
        last = self.seen
        counters = {"timed": (last.timed or 0) + timed, "breached": (last.breached or 0) + late}
        self.seen = replace(STEADY, now=last.now + self.settings.interval_seconds, **{**counters, **seen})
        decision = replace(FINE, time_to_breach=ahead, regime="blind" if blind else "steady")
        found, state = sla_events("q", self.settings, decision, self.seen, self.state)
        self.state = EventState.from_dict(json.loads(json.dumps(state.as_dict())))
        assert self.state == state
        self.told += found
        return [event.name for event in found]

    def steps(self, count: int, **each: Any) -> list[str]:
        return [name for _ in range(count) for name in self.step(**each)]


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(None, []), (60.1, []), (60.0, ["breach_predicted"]), (0.0, ["breach_predicted"])],
)
def test_a_breach_is_told_of_when_it_is_nearer_than_two_start_ups(
    ahead: float | None, expected: list[str]
) -> None:
    assert Story().step(ahead=ahead) == expected


@pytest.mark.parametrize(
    ("late", "expected"),
    [(0, []), (1, []), (2, ["breached"]), (100, ["breached"])],  # of 100, at 99 %
)
def test_too_many_late_jobs_are_a_breach(late: int, expected: list[str]) -> None:
    story = Story()
    story.step()
    assert story.step(late=late) == expected


def test_late_jobs_are_a_share_of_the_last_minute() -> None:
    story = Story()
    assert story.steps(12) == []  # 1100 in time
    assert story.step(late=12) == []  # 12 of 1200
    assert story.step(late=1) == ["breached"]


def test_the_counters_before_the_first_decision_are_the_past() -> None:
    assert Story().step(timed=1000, late=1000) == []


@pytest.mark.parametrize(("age", "expected"), [(None, []), (10.0, []), (10.1, ["breached"])])
def test_an_old_job_is_a_breach(age: float | None, expected: list[str]) -> None:
    assert Story().step(oldest_age=age) == expected


def test_each_edge_is_told_once() -> None:
    story = Story()
    assert story.steps(5, ahead=20.0) == ["breach_predicted"]
    assert story.steps(5, ahead=0.0, late=50) == ["breached"]
    assert story.steps(5, ahead=20.0) == []  # it is not over yet
    assert story.state.counts == {"breach_predicted": 1, "breached": 1, "recovered": 0}


def test_recovered_when_nothing_was_wrong_for_a_minute() -> None:
    story = Story()
    story.step()
    assert story.step(late=100) == ["breached"]
    assert story.steps(11) == []
    assert story.steps(3) == ["recovered"]
    assert story.steps(30) == []
    assert story.step(ahead=0.0) == ["breach_predicted"]  # a new story


def test_a_breach_that_did_not_come_is_taken_back() -> None:
    story = Story()
    story.step(ahead=20.0)
    assert story.steps(11) == []
    assert story.step() == ["recovered"]


def test_a_relapse_puts_recovery_off() -> None:
    story = Story()
    story.step(ahead=20.0)
    story.steps(11)
    assert story.steps(12, oldest_age=5.0, ahead=30.0) == []
    assert story.steps(11) == []
    assert story.step() == ["recovered"]


def test_nobody_recovers_while_nobody_looks() -> None:
    story = Story()
    story.step(ahead=20.0)
    assert story.steps(30, blind=True, timed=0) == []
    assert story.steps(11) == []
    assert story.step() == ["recovered"]


def test_long_intervals_take_longer() -> None:
    story = Story(replace(SETTINGS, interval_seconds=60.0))
    story.step(ahead=20.0)
    assert story.steps(5) == []  # 300 s
    assert story.step() == ["recovered"]  # six intervals


def test_a_ledger_that_counts_from_nothing_again_breaks_nothing() -> None:
    story = Story()
    story.steps(3)
    story.seen = replace(story.seen, timed=0.0, breached=0.0)
    assert story.steps(12) == []
    story.seen = replace(story.seen, timed=0.0, breached=0.0)
    assert story.step(late=100) == ["breached"]


def test_a_clock_that_is_set_back_begins_a_new_window() -> None:
    story = Story()
    story.step(ahead=20.0)
    story.seen = replace(story.seen, now=500.0)
    assert story.steps(12) == []
    assert story.step() == ["recovered"]
    assert len(story.state.readings) == 13


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"level": "odd", "bad_at": 0, "readings": [], "counts": {}},
        {**EventState().as_dict(), "readings": [[1]]},
    ],
)
def test_a_broken_state_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        EventState.from_dict(broken)


def test_messages_say_what_happened() -> None:
    story = Story()
    story.step(ahead=20.0, ready=70)
    story.step(oldest_age=12.0)
    assert [event.message for event in story.told] == [
        (
            "Queue 'q' is about to miss its service level (10 s) within 20 s: 70 jobs wait, 2 workers are there, "
            "2 are wanted."
        ),
        "Queue 'q' breaks its service level: its oldest job has waited 12 s, of at most 10 s.",
    ]
    story.steps(20)
    assert (
        story.told[-1].message
        == "Queue 'q' keeps its service level again: 99 % of its jobs are started within 10 s."
    )
    late = Story()
    late.step()
    late.step(late=3)
    assert late.told[0].message == (
        "Queue 'q' breaks its service level: 3 of 100 jobs of the last 5 s were late, of at most 1 %."
    )


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[SLAEvent]:
    monkeypatch.setattr(events, "_hooks", [])
    seen: list[SLAEvent] = []
    littleq.on_sla_event(seen.append)
    return seen


def _event(name: Any) -> SLAEvent:
    return SLAEvent(name, "q", 1.0, "Queue 'q' has news.", FINE)


def test_hooks_hear_of_each_event(hooks: list[SLAEvent]) -> None:
    happened = [_event(name) for name in EVENTS]
    tell(happened)
    assert hooks == happened


def test_a_hook_that_fails_is_logged_and_stops_nobody(
    hooks: list[SLAEvent], caplog: pytest.LogCaptureFixture
) -> None:
    @littleq.on_sla_event
    def failing(event: littleq.SLAEvent) -> None:
        raise RuntimeError("mine")

    later: list[SLAEvent] = []
    littleq.on_sla_event(later.append)
    tell([_event("breached"), _event("recovered")])
    assert len(hooks) == len(later) == 2
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR] * 2


def test_trouble_is_a_warning_and_its_end_is_not(
    caplog: pytest.LogCaptureFixture, hooks: list[SLAEvent]
) -> None:
    with caplog.at_level(logging.INFO, "littleq.autoscale.events"):
        tell([_event(name) for name in EVENTS])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "breach_predicted: Queue 'q' has news. Because."),
        ("WARNING", "breached: Queue 'q' has news. Because."),
        ("INFO", "recovered: Queue 'q' has news. Because."),
    ]
