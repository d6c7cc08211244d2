"""One decision at a time, whoever ticks, whatever is away, and never a worker less because something is not known."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import littleq
from littleq.autoscale import events
from littleq.autoscale.controller import LEASE, Controller, controller_for
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.base import Record
from littleq.policies import scaling
from littleq.policies.scaling import Decision, ScalingState
from tests.fluid import BUSY, STARTUP_SECONDS, THREADS, Fleet

#: 60 jobs/s of 0.2 s are 12 erlangs: with fewer workers of 4 threads the queue grows for ever.
LEAST = 60.0 * 0.2 / THREADS


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def settled(fleet: Fleet, *controllers: Controller) -> int:
    """After four minutes of steady traffic; from then on `fleet.published` is watched."""
    fleet.run(240, *controllers)
    found = fleet.decision()
    assert found is not None and LEAST <= found.desired_workers < BUSY.max_workers
    fleet.published.clear()
    return found.desired_workers


def never_starved(fleet: Fleet) -> None:
    """No decision since `settled` had the busy queue below its load, and it is well again."""
    assert fleet.published and min(fleet.published) >= LEAST
    assert fleet.truth(["q"])["q"].ready <= fleet.rate * BUSY.sla_seconds
    assert len(fleet.names) >= LEAST


def outcomes(fleet: Fleet, controller: Controller, seconds: int) -> list[str]:
    return [tick.outcome for tick in fleet.run(seconds, controller)]


def test_a_tick_decides_and_publishes(fleet: Fleet) -> None:
    controller = fleet.controller("me")
    (tick,) = fleet.run(1, controller)
    found = fleet.decision()
    assert found is not None and tick.outcome == "decided"
    assert tick.decisions["q"] == found.decision
    assert (found.holder, found.decided_at, found.settings.threads_per_worker) == (
        "me",
        fleet.clock.now(),
        THREADS,
    )
    assert found.decision.inputs["workers"] == 5


def test_there_is_one_decision_an_interval_however_often_it_ticks(fleet: Fleet) -> None:
    assert outcomes(fleet, fleet.controller(), 9) == ["decided", "early", "early"] * 3


def test_of_two_controllers_one_decides(fleet: Fleet) -> None:
    ticks = fleet.run(30, fleet.controller("a"), fleet.controller("b"))
    assert {tick.outcome for tick in ticks[1::2]} == {"held"}
    assert [tick.outcome for tick in ticks[::2]] == ["decided", "early", "early"] * 10


def test_a_second_tick_at_the_same_time_finds_nothing_to_do(fleet: Fleet) -> None:
    controller = fleet.controller()
    inner: list[str] = []
    fleet.ledger.at = lambda point: inner.append(controller.tick().outcome)
    assert controller.tick().outcome == "decided"
    assert set(inner) == {"early"}


def test_a_controller_that_is_closed_hands_over_at_once_and_its_memory_goes_with_it(fleet: Fleet) -> None:
    first, second = fleet.controller("a"), fleet.controller("b")
    settled(fleet, first)
    before = fleet.decision()
    first.close()
    fleet.clock.advance(5)
    (decided,) = fleet.run(1, second)
    after = fleet.decision()
    assert before is not None and after is not None and decided.outcome == "decided"
    assert (after.holder, after.desired_workers) == ("b", before.desired_workers)
    assert after.decision.inputs["service_time"] == pytest.approx(0.2)  # learned by the first
    assert not after.decision.inputs["young"]


def test_close_without_a_tick_and_twice_and_without_a_ledger(fleet: Fleet) -> None:
    controller = fleet.controller()
    controller.close()
    controller.tick()
    fleet.ledger.is_away = True
    controller.close()
    controller.close()


def test_a_controller_that_goes_on_asks_once_for_each_thing(fleet: Fleet) -> None:
    controller = fleet.controller()
    fleet.run(1, controller)
    fleet.clock.advance(5)
    fleet.ledger.calls.clear()
    fleet.broker.calls.clear()
    assert controller.tick().outcome == "decided"
    assert fleet.ledger.calls == ["lease", "snapshot", "publish"]
    assert fleet.broker.calls == ["truth"]


def test_one_that_takes_over_reads_the_states_once(fleet: Fleet) -> None:
    first, second = fleet.controller("a"), fleet.controller("b")
    fleet.run(1, first)
    first.close()
    fleet.clock.advance(5)
    fleet.ledger.calls.clear()
    second.tick()
    assert fleet.ledger.calls == ["lease", "records", "snapshot", "publish"]


def test_a_controller_that_lost_the_lease_meanwhile_reads_what_the_other_has_decided(fleet: Fleet) -> None:
    first, second = fleet.controller("a"), fleet.controller("b")
    fleet.run(6, first)
    fleet.clock.advance(20)
    assert second.tick().outcome == "decided"
    assert first.tick().outcome == "held"
    fleet.clock.advance(20)
    fleet.ledger.calls.clear()
    assert first.tick().outcome == "decided"
    assert fleet.ledger.calls == ["lease", "records", "snapshot", "publish"]


def test_one_that_was_frozen_in_the_middle_of_a_tick_changes_nothing_when_it_thaws(fleet: Fleet) -> None:
    frozen, other = fleet.controller("frozen"), fleet.controller("other")
    fleet.run(6, frozen)

    def freeze(point: str) -> None:
        if point == "before publish":
            fleet.ledger.at = lambda _point: None
            fleet.clock.advance(20)
            assert other.tick().outcome == "decided"

    fleet.ledger.at = freeze
    assert outcomes(fleet, frozen, 1) in (["held"], ["early"])
    found = fleet.decision()
    assert found is not None and found.holder == "other"


def test_ticks_that_go_to_any_of_several_controllers_are_all_decided(fleet: Fleet) -> None:
    """Messages of one queue: no interval is lost because the tick came to the one that did not decide last."""
    turns = [fleet.controller(name) for name in ("a", "b", "c")]
    fleet.run(6, turns[0])
    for k in range(30):
        fleet.clock.advance(5)
        assert turns[(k * k + k // 4) % 3].tick().outcome == "decided"


POINTS = [
    f"{when} {what}" for what in ("lease", "snapshot", "truth", "publish") for when in ("before", "after")
]


@pytest.mark.parametrize("point", POINTS)
def test_one_that_dies_at_any_point_is_followed_by_another(fleet: Fleet, point: str) -> None:
    mortal, heir = fleet.controller("mortal"), fleet.controller("heir")
    desired = settled(fleet, mortal)
    dead: list[str] = []

    def die(reached: str) -> None:
        if reached == point:
            dead.append(reached)
        if dead:
            raise RuntimeError("killed")

    fleet.ledger.at = fleet.broker.at = die
    while not dead:
        fleet.run(1, mortal)
    fleet.ledger.at = fleet.broker.at = lambda _point: None
    taken_over = outcomes(fleet, heir, 30)
    assert "decided" in taken_over[:16]
    found = fleet.decision()
    assert found is not None and found.holder == "heir" and found.desired_workers == desired
    never_starved(fleet)


def test_an_answer_that_got_lost_is_looked_up(fleet: Fleet) -> None:
    controller = fleet.controller()
    fleet.run(6, controller)
    lost: list[str] = []

    def lose(point: str) -> None:
        if point == "after publish" and not lost:
            lost.append(point)
            raise RuntimeError("no answer")

    fleet.ledger.at = lose
    fleet.run(3, controller)
    assert lost
    fleet.ledger.calls.clear()
    fleet.run(3, controller)
    assert fleet.ledger.calls.count("records") == 1


def test_an_emptied_ledger_under_a_busy_queue(fleet: Fleet) -> None:
    controller = fleet.controller()
    settled(fleet, controller)
    fleet.empty_the_ledger()
    assert controller.tick().outcome == "decided"  # before any worker has said again that it lives
    fleet.obey()
    found = fleet.decision()
    assert found is not None and found.decision.inputs["workers"] >= LEAST
    fleet.run(120, controller)
    never_starved(fleet)
    assert len(set(fleet.published)) == 1  # nobody noticed


def test_an_emptied_ledger_and_a_controller_that_remembers_nothing(fleet: Fleet) -> None:
    settled(fleet, fleet.controller())
    fleet.empty_the_ledger()
    fresh = fleet.controller("fresh")
    assert fresh.tick().decisions == {}  # nothing is known: no decision is better than one
    fleet.run(2, fresh)
    assert fleet.decision() is None
    fleet.run(120, fresh)
    never_starved(fleet)


def test_a_new_ledger_and_no_worker_in_sight() -> None:
    """There may be some that it has not heard of, unless jobs wait and nobody takes them."""
    fleet = Fleet(rate=0.0, workers=0)
    fleet.empty_the_ledger()
    controller = fleet.controller()
    assert outcomes(fleet, controller, 4) == ["waiting", "waiting", "waiting", "decided"]
    found = fleet.decision()
    assert found is not None and found.desired_workers == 0


def test_jobs_that_nobody_takes_are_decided_about_at_once() -> None:
    fleet = Fleet(rate=0.0, workers=0)
    fleet.empty_the_ledger()
    fleet.backlog = 50
    (tick,) = fleet.run(1, fleet.controller())
    assert tick.decisions["q"].desired_workers > 0


def test_a_broker_that_is_down_for_half_a_minute(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    controller = fleet.controller()
    desired = settled(fleet, controller)
    fleet.broker.is_away = True
    with caplog.at_level(logging.INFO):
        fleet.run(30, controller)
    found = fleet.decision()
    assert found is not None and found.decision.regime == "blind" and found.desired_workers == desired
    assert found.age_seconds < 5.0 and not found.is_stale
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    fleet.broker.is_away = False
    fleet.run(60, controller)
    found = fleet.decision()
    assert found is not None and found.decision.regime != "blind"
    never_starved(fleet)


def test_a_broker_that_is_down_from_the_start(fleet: Fleet) -> None:
    """Nothing is known, so nothing is said: the minimum would be a guess."""
    fleet.broker.is_away = True
    assert fleet.run(1, fleet.controller())[0].decisions == {}
    assert fleet.decision() is None


def test_a_restart_while_the_broker_is_down(fleet: Fleet) -> None:
    first = fleet.controller("a")
    desired = settled(fleet, first)
    fleet.broker.is_away = True
    first.close()
    fleet.run(20, fleet.controller("b"))
    found = fleet.decision()
    assert found is not None and (found.holder, found.desired_workers) == ("b", desired)
    assert found.decision.regime == "blind"


def test_a_ledger_that_is_away(fleet: Fleet) -> None:
    controller = fleet.controller()
    desired = settled(fleet, controller)
    fleet.ledger.is_away = True
    assert set(outcomes(fleet, controller, 60)) == {"away"}
    fleet.ledger.is_away = False
    stale = fleet.decision()
    assert stale is not None and stale.is_stale and stale.desired_workers == desired
    fleet.run(60, controller)
    never_starved(fleet)


def test_a_ledger_that_comes_back_empty(fleet: Fleet) -> None:
    controller = fleet.controller()
    settled(fleet, controller)
    fleet.ledger.is_away = True
    fleet.run(30, controller)
    fleet.empty_the_ledger()
    fleet.ledger.is_away = False
    assert controller.tick().decisions["q"].desired_workers >= LEAST
    fleet.run(120, controller)
    never_starved(fleet)


def test_all_workers_gone_and_nobody_brings_new_ones_for_a_while(fleet: Fleet) -> None:
    controller = fleet.controller()
    settled(fleet, controller)
    fleet.obeys = False
    fleet.lose(len(fleet.names))
    fleet.run(60, controller)
    assert min(fleet.published) >= LEAST
    fleet.obeys = True
    fleet.run(240, controller)
    never_starved(fleet)


def test_all_workers_gone_and_the_pool_replaces_them(fleet: Fleet) -> None:
    controller = fleet.controller()
    settled(fleet, controller)
    fleet.lose(len(fleet.names))
    fleet.run(240, controller)
    never_starved(fleet)


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"policy": {"desired_workers": 1}, "events": {}},
        {"policy": "odd", "events": None},
        {"policy": None},
    ],
)
def test_a_state_that_cannot_be_read_begins_with_what_is_there(fleet: Fleet, state: Any) -> None:
    lease = fleet.memory.lease(LEASE, "another release", 1.0)
    assert lease is not None
    assert fleet.memory.publish(lease, {"q": Record(decision={"other": "words"}, state=state)})
    fleet.run(10)
    (tick,) = fleet.run(1, fleet.controller())
    assert tick.decisions["q"].desired_workers >= 5


@pytest.fixture
def odd_queue(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A switch that makes the policy fail for the queue with an SLA of 7 s."""
    broken: list[bool] = [True]

    def decide(settings: Any, *args: Any) -> Any:
        if settings.sla_seconds == 7.0 and broken[-1]:
            raise ZeroDivisionError("odd")
        return real(settings, *args)

    real = scaling.decide
    monkeypatch.setattr(scaling, "decide", decide)
    return broken.append


def test_a_queue_that_cannot_be_decided_stops_no_other(
    odd_queue: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet()
    queues = {"odd": SLAQueueConfig("odd", sla_seconds=7.0), "q": BUSY}
    fleet.config = Config(queues=queues)
    controller = fleet.controller()
    ticks = [tick for tick in fleet.run(20, controller) if tick.outcome == "decided"]
    assert [set(tick.decisions) for tick in ticks] == [{"q"}] * len(ticks)
    assert len([record for record in caplog.records if record.exc_info]) == 1
    odd_queue(False)
    fleet.run(3, controller)
    assert fleet.memory.records()[1].keys() >= {"q", "odd"}


def test_a_state_that_makes_decisions_fail_is_given_up(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(settings: Any, seen: Any, state: Any) -> Any:
        if state is not None:
            raise ZeroDivisionError("odd state")
        return real(settings, seen, state)

    controller = fleet.controller()
    fleet.run(1, controller)
    real = scaling.decide
    monkeypatch.setattr(scaling, "decide", decide)
    assert outcomes(fleet, controller, 4) == ["early", "early", "waiting", "decided"]


def test_a_clock_that_is_set_back_stops_no_decisions(fleet: Fleet) -> None:
    controller = fleet.controller()
    desired = settled(fleet, controller)
    fleet.clock.step_wall(-3600.0)
    assert "decided" in outcomes(fleet, controller, 4)
    found = fleet.decision()
    assert found is not None and found.desired_workers >= desired


def test_a_state_that_cannot_be_stored_stops_no_other_queue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def as_dict(state: ScalingState) -> dict[str, Any]:
        if state.last is not None and state.last.offered == 0:
            raise ValueError("cannot be written")
        return real(state)

    real = ScalingState.as_dict
    monkeypatch.setattr(ScalingState, "as_dict", as_dict)
    fleet = Fleet()
    fleet.config = Config(queues={"idle": SLAQueueConfig("idle"), "q": BUSY})
    (tick,) = fleet.run(1, fleet.controller())
    assert set(tick.decisions) == {"q"}
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_delayed_jobs_are_looked_up_in_one_question_where_there_are_any() -> None:
    asked: list[dict[str, Any]] = []

    class Schedule:
        def due_times_of(self, bounds: Any) -> dict[str, Any]:
            asked.append(bounds)
            return {queue: [1] * len(moments) for queue, moments in bounds.items()}

    fleet = Fleet()
    controller = fleet.controller(schedule=Schedule())
    fleet.run(1, controller)
    assert asked == []
    fleet.delayed = 1
    fleet.run(3, controller)
    assert [set(bounds) for bounds in asked] == [{"q"}] and asked[0]["q"][0] == 0.0


def test_delayed_jobs_are_looked_up_as_far_ahead_as_a_worker_was_seen_to_take() -> None:
    asked: list[float] = []

    class Schedule:
        def due_times_of(self, bounds: Any) -> dict[str, Any]:
            asked.extend(bounds["q"])
            return {queue: [1] * len(moments) for queue, moments in bounds.items()}

    fleet = Fleet(replace(BUSY, startup_seconds=0.0), workers=1)
    controller = fleet.controller(schedule=Schedule())
    fleet.run(60, controller)
    fleet.delayed = 1
    fleet.run(3, controller)
    assert max(asked) > STARTUP_SECONDS + BUSY.sla_seconds


def test_with_no_queue_to_decide_about_nothing_is_asked(fleet: Fleet) -> None:
    fleet.config = Config(queues={"q": replace(BUSY, autoscale=False)})
    assert fleet.controller().tick().outcome == "waiting"
    assert fleet.ledger.calls == []


def test_events_are_told_once_and_counted_for_good(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_hooks", [])
    heard: list[littleq.SLAEvent] = []
    littleq.on_sla_event(heard.append)
    first = fleet.controller("a")
    settled(fleet, first)
    fleet.lose(len(fleet.names))
    fleet.run(15, first)
    names = [event.name for event in heard]
    assert names in (["breach_predicted", "breached"], ["breached"])
    first.close()
    fleet.run(240, fleet.controller("b"))
    assert [event.name for event in heard] == [*names, "recovered"]
    found = fleet.decision()
    assert found is not None
    assert found.events == {name: names.count(name) for name in ("breach_predicted", "breached")} | {
        "recovered": 1
    }


def test_a_tick_that_takes_longer_than_an_interval_says_so_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.broker.at = lambda _point: fleet.clock.advance(3.0)
    fleet.run(30, fleet.controller())
    ours = [record for record in caplog.records if record.name == "littleq.autoscale.controller"]
    assert [record.getMessage() for record in ours] == [
        "A decision took 6.0 s, longer than decide_seconds (5 s): set that higher."
    ]


def test_a_controller_of_a_configuration_opens_what_it_names() -> None:
    config = Config(
        url="stub://", namespace="test-controller", flush_seconds=1e-9, queues={"q": SLAQueueConfig("q")}
    )
    controller = controller_for(config)
    tick = controller.tick()
    assert tick.outcome == "decided" and isinstance(tick.decisions["q"], Decision)
    controller.close()


def test_no_more_workers_are_decided_on_than_the_broker_gives_jobs_to(fleet: Fleet) -> None:
    controller = fleet.controller(most_workers=lambda queue: 2 if queue == "q" else None)
    fleet.run(60, controller)
    found = fleet.decision()
    assert found is not None
    assert (found.desired_workers, found.settings.max_workers, found.settings.useful_workers) == (2, 2, 2)
    assert "are wanted, but the broker gives jobs to 2 at a time (partitions of the topic)" in found.reason
    assert scaling.recompute(found.settings, found.decision.inputs).reason == found.reason
    fleet.broker.is_away = True
    fleet.run(20, controller)
    found = fleet.decision()
    assert found is not None and found.desired_workers == 2


def test_a_backend_without_a_schedule_is_enough(fleet: Fleet) -> None:
    fleet.delayed = 3
    (tick,) = fleet.run(1, fleet.controller())
    assert tick.outcome == "decided"
