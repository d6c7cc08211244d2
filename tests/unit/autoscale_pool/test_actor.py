"""The periodic actor: it decides, and nothing that happens to it multiplies its ticks or ends them."""

from __future__ import annotations

import logging
from typing import Any

import periodiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from hypothesis import given
from hypothesis import strategies as st

from littleq.autoscale.actor import BEGIN, LATE_SECONDS, TICK, declare_scaling_actor, dues, is_declared
from littleq.config import Config, SLAQueueConfig
from littleq.errors import ConfigurationError, LittleQError
from littleq.ledger import MemoryLedger
from littleq.stack import install
from littleq.testing import ManualClock

CONTROL = "littleq.control"


class Controller:
    """Counts, and fails on demand."""

    def __init__(self) -> None:
        self.ticks = self.closed = 0
        self.error: Exception | None = None

    def tick(self) -> None:
        if self.error is not None:
            raise self.error
        self.ticks += 1

    def close(self) -> None:
        self.closed += 1


class App:
    def __init__(self, **settings: Any) -> None:
        self.clock, self.controller = ManualClock(start=6000.0), Controller()  # the start of a minute
        self.config = Config(url="stub://", **settings)
        self.broker = StubBroker()
        install(self.broker, self.config, ledger=MemoryLedger())
        self.begin = declare_scaling_actor(self.broker, controller=lambda: self.controller, clock=self.clock)
        self.tick = self.broker.get_actor(TICK)

    def sent(self) -> list[Any]:
        """The ticks that wait for their time; taken out."""
        queue = self.broker.queues[f"{CONTROL}.DQ"]
        return [self.broker_message(queue.get_nowait()) for _ in range(queue.qsize())]

    @staticmethod
    def broker_message(data: bytes) -> Any:
        from dramatiq import Message

        return Message.decode(data)


@pytest.fixture
def app() -> App:
    return App()


@pytest.mark.parametrize(
    ("now", "interval", "expected"),
    [
        (6000.0, 5.0, [5.0 * k for k in range(1, 12)]),  # at :00 the ticks of a whole minute
        (6037.0, 5.0, [5.0, 10.0, 15.0, 20.0]),  # a scheduler that starts at :37; the next minute has its own
        (6058.0, 5.0, []),
        (6000.0, 25.0, [25.0]),
        (6000.0, 60.0, []),  # the minute's own message is enough
        (6000.0, 300.0, []),
    ],
)
def test_the_ticks_of_the_rest_of_a_minute(now: float, interval: float, expected: list[float]) -> None:
    assert dues(now, interval) == expected


@given(st.floats(0, 2e9), st.floats(0.5, 90))
def test_ticks_stay_within_their_minute_an_interval_apart(now: float, interval: float) -> None:
    found = dues(now, interval)
    left = 60 - now % 60
    assert found == [k * interval for k in range(1, len(found) + 1)]
    assert all(delay < left for delay in found)
    assert left - (found[-1] if found else 0) <= 1.5 * interval + 1e-6 or left <= 1.5 * interval


def test_each_minute_decides_and_sends_its_ticks(app: App) -> None:
    app.begin.fn()
    assert app.controller.ticks == 1
    sent = app.sent()
    assert [message.args[0] - 6000.0 for message in sent] == [5.0 * k for k in range(1, 12)]
    assert {message.actor_name for message in sent} == {TICK}


def test_a_tick_decides_and_sends_nothing_so_that_no_chain_can_multiply(app: App) -> None:
    app.tick.fn(app.clock.now())
    assert app.controller.ticks == 1
    assert f"{CONTROL}.DQ" not in app.broker.queues or app.sent() == []


def test_a_tick_that_comes_too_late_leaves_it_to_the_next_one(app: App) -> None:
    due = app.clock.now()
    app.clock.advance(LATE_SECONDS)
    app.tick.fn(due)
    assert app.controller.ticks == 1
    app.clock.advance(0.1)
    app.tick.fn(due)
    assert app.controller.ticks == 1


def test_a_decision_that_fails_is_said_once_and_raises_nothing(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """Raised, it would be retried or dead-lettered: both are of no use, the next tick knows more."""
    app.controller.error = LittleQError("the ledger is away")
    with caplog.at_level(logging.WARNING, "littleq.autoscale"):
        app.begin.fn()
        app.tick.fn(app.clock.now())
        app.tick.fn(app.clock.now())
    assert [record.getMessage() for record in caplog.records] == [
        "Autoscaling cannot decide: the ledger is away"
    ]
    assert len(app.sent()) == 11, "the minute goes on"
    app.controller.error = None
    app.tick.fn(app.clock.now())
    assert app.controller.ticks == 1


def test_a_bug_in_the_controller_shows_its_traceback(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.controller.error = ZeroDivisionError("division by zero")
    app.tick.fn(app.clock.now())
    assert caplog.records[-1].exc_info is not None


def test_a_server_that_takes_no_ticks_still_lets_it_decide(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionClosed("away")

    monkeypatch.setattr(app.broker, "enqueue", refuse)
    app.begin.fn()
    assert app.controller.ticks == 1


def test_periodiq_finds_it_each_minute_on_the_control_queue(app: App) -> None:
    assert is_declared(app.broker)
    assert app.begin.actor_name == BEGIN
    assert (app.begin.queue_name, app.tick.queue_name) == (CONTROL, CONTROL)
    assert str(app.begin.options["periodic"]) == "* * * * *"
    assert app.begin.options["max_retries"] == app.tick.options["max_retries"] == 0
    kinds = [type(middleware) for middleware in app.broker.middleware]
    assert kinds.count(periodiq.PeriodiqMiddleware) == 1


def test_an_app_with_periodic_actors_of_its_own_keeps_its_middleware() -> None:
    broker = StubBroker()
    install(broker, Config(url="stub://"), ledger=MemoryLedger())
    own = periodiq.PeriodiqMiddleware(skip_delay=7)
    broker.add_middleware(own)
    declare_scaling_actor(broker, controller=Controller)
    assert [m for m in broker.middleware if isinstance(m, periodiq.PeriodiqMiddleware)] == [own]


def test_no_send_to_the_control_queue_is_ever_refused(app: App) -> None:
    """periodiq's scheduler ends when one is."""
    for number in range(500):
        app.begin.send_with_options(scheduled_at="2026-11-24T10:00:00+00:00")
        app.tick.send(float(number))
    assert app.broker.queues[CONTROL].qsize() == 1000


def test_a_bounded_control_queue_is_refused_beforehand() -> None:
    queue = SLAQueueConfig(CONTROL, arrival_rate=1)
    with pytest.raises(ConfigurationError, match="must never be refused"):
        App(queues={CONTROL: queue})


def test_nothing_is_connected_before_the_first_decision() -> None:
    made: list[Controller] = []

    def make() -> Controller:
        made.append(Controller())
        return made[-1]

    broker = StubBroker()
    install(broker, Config(url="stub://"), ledger=MemoryLedger())
    begin = declare_scaling_actor(broker, controller=make)
    assert made == []
    begin.fn()
    begin.fn()
    assert [controller.ticks for controller in made] == [2]
