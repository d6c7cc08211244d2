"""Waits run from ready to start, whatever happened before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.broker import MessageProxy
from dramatiq.middleware import AsyncIO, Retries

from littleq import job
from littleq.config import SLAQueueConfig
from littleq.middleware import SLATimer

Make = Callable[..., Any]
ONE_SECOND = SLAQueueConfig("q", admission="off", sla_seconds=1)


def test_wait_service_and_sojourn(make_stack: Make) -> None:
    stack = make_stack(ONE_SECOND)
    stack.actor(lambda: stack.clock.advance(0.25), actor_name="a", queue_name="q").send()
    stack.clock.advance(0.5)
    stack.run("q")
    counts = stack.counts("q")
    assert (counts["wait:count"], counts["wait:sum"]) == (1, pytest.approx(0.5))
    assert (counts["service:count"], counts["service:sum"]) == (1, pytest.approx(0.25))
    assert (counts["sojourn:count"], counts["sojourn:sum"]) == (1, pytest.approx(0.75))
    assert counts["service:sumsq"] == pytest.approx(0.0625)
    assert (counts["started"], counts["done"]) == (1, 1)
    assert "breached" not in counts


def test_a_late_start_is_a_breach(make_stack: Make) -> None:
    stack = make_stack(ONE_SECOND)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    actor.send()
    stack.clock.advance(0.75)
    actor.send()
    stack.clock.advance(0.5)
    stack.run("q")
    counts = stack.counts("q")
    assert counts["breached"] == 1
    assert counts["wait:le:1.25"] == 1


def test_with_a_sojourn_sla_the_service_counts(make_stack: Make) -> None:
    stack = make_stack(SLAQueueConfig("q", admission="off", sla_seconds=1, sla_on="sojourn"))
    stack.actor(lambda: stack.clock.advance(0.75), actor_name="a", queue_name="q").send()
    stack.clock.advance(0.5)
    stack.run("q")
    assert stack.counts("q")["breached"] == 1


def test_a_delayed_job_is_ready_when_it_is_due(make_stack: Make) -> None:
    """Hazard 5: its age is not its wait. Naive code reports the whole delay as a wait."""
    stack = make_stack(ONE_SECOND)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    message = actor.send_with_options(delay=30)
    due = stack.clock.now() + 0.030
    assert job.read(message.options)["ready_at"] == pytest.approx(due)
    stack.clock.advance(0.230)
    stack.run("q")
    counts = stack.counts("q")
    assert counts["wait:count"] == 1
    assert counts["wait:sum"] == pytest.approx(0.2)


def test_a_retry_is_ready_when_it_is_due_again(make_stack: Make) -> None:
    stack = make_stack(
        SLAQueueConfig("q", admission="off", sla_seconds=1, min_backoff_seconds=0.001, max_retries=1)
    )
    starts: list[float] = []

    def fail() -> None:
        starts.append(stack.clock.now())
        stack.clock.advance(5)  # a long first attempt is nobody's wait
        raise dramatiq.Retry(delay=2000)

    stack.actor(fail, actor_name="a", queue_name="q")
    timer, message = stack.middleware(SLATimer), stack.broker.actors["a"].message()
    timer.before_enqueue(stack.broker, message, None)
    proxy = MessageProxy(message)
    timer.before_process_message(stack.broker, proxy)
    stack.clock.advance(5)
    timer.before_enqueue(stack.broker, message, 2000)
    timer.before_enqueue(stack.broker, message, None)  # due
    stack.clock.advance(2.5)
    timer.before_process_message(stack.broker, MessageProxy(message))
    counts = stack.counts("q")
    assert (counts["wait:count"], counts["wait:sum"]) == (2, pytest.approx(0.5))


def test_a_message_that_is_sent_twice_is_stamped_twice(make_stack: Make) -> None:
    stack = make_stack(ONE_SECOND)
    message = stack.actor(lambda: None, actor_name="a", queue_name="q").message()
    stack.broker.enqueue(message)
    first = job.read(message.options)["ready_at"]
    stack.clock.advance(10)
    stack.broker.enqueue(message)
    assert job.read(message.options)["ready_at"] == first + 10


def test_a_stranger_is_timed_but_its_wait_is_not_guessed(make_stack: Make) -> None:
    stack = make_stack(ONE_SECOND)
    message = stack.actor(lambda: stack.clock.advance(1), actor_name="a", queue_name="q").message()
    stack.broker.queues["q"].put(message.encode())
    stack.run("q")
    counts = stack.counts("q")
    assert counts["service:sum"] == pytest.approx(1)
    assert "wait:count" not in counts
    assert "sojourn:count" not in counts


def test_a_sender_whose_clock_is_ahead_makes_no_negative_wait(make_stack: Make) -> None:
    stack = make_stack(ONE_SECOND)
    stack.actor(lambda: None, actor_name="a", queue_name="q").send()
    stack.clock.step_wall(-60)
    stack.run("q")
    assert stack.counts("q")["wait:sum"] == 0


def test_a_skipped_job_is_neither_done_nor_failed(make_stack: Make) -> None:
    """Hazard 4: `after_skip_message` also reaches middlewares whose `before` hook never ran."""

    class Skipper(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: MessageProxy) -> None:
            raise dramatiq.middleware.SkipMessage

    for place in ("before", "after"):
        stack = make_stack(ONE_SECOND)
        stack.broker.add_middleware(Skipper(), **{place: SLATimer})
        stack.actor(lambda: None, actor_name="a", queue_name="q").send()
        stack.run("q")
        counts = stack.counts("q")
        assert counts["skipped"] == 1
        assert "done" not in counts
        assert "failed" not in counts
        truth = stack.truth("q")
        assert (truth.accounts.skipped, truth.imbalance) == (1, 0)


def test_an_async_actor_is_timed_and_retried_like_any_other(make_stack: Make) -> None:
    """Hazard 21: it runs on an event loop while its worker thread waits."""
    stack = make_stack(
        SLAQueueConfig("q", admission="off", sla_seconds=1, min_backoff_seconds=0.001, max_retries=1),
        middleware=[AsyncIO(), Retries()],
    )
    attempts: list[int] = []

    async def work() -> None:
        attempts.append(1)
        await asyncio.sleep(0)
        stack.clock.advance(0.25)
        if len(attempts) == 1:
            raise RuntimeError

    stack.actor(work, actor_name="a", queue_name="q").send()
    stack.run("q")
    counts = stack.counts("q")
    assert (counts["failed"], counts["done"], counts["retried"]) == (1, 1, 1)
    assert counts["service:sum"] == pytest.approx(0.5)
    assert stack.truth("q").imbalance == 0
