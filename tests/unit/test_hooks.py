"""Hooks run as Dramatiq runs them; empty ones are left out."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from dramatiq import Middleware
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import MiddlewareError

from littleq.hooks import Hooks


class Named(Middleware):
    def __init__(self, name: str, calls: list[Any], error: Exception | None = None) -> None:
        self.name, self.calls, self.error = name, calls, error

    def before_ack(self, broker: Any, message: Any) -> None:
        self.calls.append((self.name, broker, message))
        if self.error:
            raise self.error

    after_ack = before_ack


class Idle(Middleware):
    pass


@pytest.fixture
def broker() -> StubBroker:
    broker = StubBroker(middleware=[])
    Hooks(broker).take_over()
    return broker


def test_before_runs_down_and_after_runs_up(broker: StubBroker) -> None:
    calls: list[Any] = []
    for middleware in (Named("a", calls), Idle(), Named("b", calls)):
        broker.add_middleware(middleware)
    broker.emit_before("ack", "m")
    broker.emit_after("ack", "m")
    assert calls == [("a", broker, "m"), ("b", broker, "m"), ("b", broker, "m"), ("a", broker, "m")]


def test_changes_of_the_stack_are_noticed(broker: StubBroker) -> None:
    calls: list[Any] = []
    broker.emit_before("ack", "m")
    broker.add_middleware(Named("late", calls))
    broker.emit_before("ack", "m")
    assert len(calls) == 1
    broker.middleware.clear()
    broker.emit_before("ack", "m")
    assert len(calls) == 1


def test_only_a_middleware_error_passes_and_only_before(
    broker: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []
    broker.add_middleware(Named("bug", calls, ValueError("bug")))
    broker.add_middleware(Named("no", calls, MiddlewareError("no")))
    with caplog.at_level(logging.CRITICAL), pytest.raises(MiddlewareError, match="no"):
        broker.emit_before("ack", "m")
    broker.emit_after("ack", "m")
    assert [name for name, *_ in calls] == ["bug", "no", "no", "bug"]
    assert "Unexpected failure in before_ack of" in caplog.text
    assert "Unexpected failure in after_ack of" in caplog.text


def test_a_broker_with_emitters_of_its_own_keeps_them() -> None:
    emitted: list[str] = []

    class Own(StubBroker):
        def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
            emitted.append(signal)

    broker = Own(middleware=[])
    Hooks(broker).take_over()
    broker.emit_before("ack", "m")
    assert emitted == ["ack"]
