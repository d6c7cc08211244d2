"""A worker writes its pulse, whoever runs it and whatever its broker is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq.middleware import SkipMessage, TimeLimit

from littleq.health import pulse
from littleq.health.pulse import Field, State
from littleq.health.readings import Reading, read
from littleq.health.verdict import judge
from littleq.middleware import Pulse
from littleq.middleware.pulse import MARGIN_SECONDS
from tests.support import eventually

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(pulse.FOLDER_VARIABLE, str(tmp_path))
    pulse.keep(None)
    yield tmp_path
    pulse.end()


def only(place: Path) -> Reading:
    [found] = read(place)
    return found


def test_a_worker_of_a_stub_broker_is_ready_until_it_stops(make_stack: Make, place: Path) -> None:
    stack = make_stack()
    stack.actor(lambda: None, actor_name="a", queue_name="q")
    assert read(place) == [], "who only sends has no pulse"
    worker = stack.work(threads=3)
    found = only(place)
    assert (found.state, found.threads, found.consumers) == (
        State.RUNNING,
        3,
        2,
    )  # the queue, and its delay queue
    assert judge([found], time.monotonic(), live=False).ok
    worker.stop()
    assert read(place) == []
    assert pulse.current() is None


def test_a_running_job_is_excused_as_long_as_its_time_limit(make_stack: Make, place: Path) -> None:
    go, began = threading.Event(), threading.Barrier(4)

    def hold() -> None:
        began.wait(10)
        go.wait(10)

    stack = make_stack()
    default = stack.actor(hold, actor_name="default", queue_name="q")
    actor = stack.actor(hold, actor_name="actor", queue_name="q", time_limit=5_000)
    message = stack.actor(hold, actor_name="message", queue_name="q", time_limit=5_000)
    default.send()
    actor.send()
    message.send_with_options(time_limit=7_000)
    worker = stack.work(threads=3)
    began.wait(10)
    now = time.monotonic()
    left = sorted(round(until - MARGIN_SECONDS - now) for until in only(place).jobs)
    assert [abs(a - b) <= 1 for a, b in zip(left, [5, 7, 600], strict=True)] == [True] * 3
    assert stack.middleware(Pulse).running == 3
    go.set()
    eventually(lambda: only(place).jobs == (), 10, "the end of the jobs")
    worker.stop()


def test_without_a_time_limit_a_job_may_take_for_ever(make_stack: Make, place: Path) -> None:
    go = threading.Event()
    stack = make_stack(middleware=[])
    assert not any(isinstance(m, TimeLimit) for m in stack.broker.middleware)
    stack.actor(lambda: go.wait(10), actor_name="a", queue_name="q").send()
    worker = stack.work(threads=1)
    assert eventually(lambda: only(place).jobs, 10, "the job") == (math.inf,)
    go.set()
    worker.stop()


def test_a_job_that_fails_or_is_skipped_leaves_its_slot(make_stack: Make, place: Path) -> None:
    def fail() -> None:
        raise RuntimeError

    def skip() -> None:
        raise SkipMessage

    stack = make_stack()
    stack.actor(fail, actor_name="fails", queue_name="q", max_retries=0).send()
    stack.actor(skip, actor_name="skips", queue_name="q").send()
    worker = stack.work(threads=1)
    stack.broker.join("q", timeout=10_000, fail_fast=False)
    worker.work_queue.join()
    assert only(place).jobs == ()
    worker.stop()


def test_a_consumer_whose_loop_does_not_turn_is_found(make_stack: Make, place: Path) -> None:
    """Seconds count where the interpreter runs: here by beats that the test makes."""
    stack = make_stack()
    stack.actor(lambda: None, actor_name="a", queue_name="q")
    worker = stack.work()
    middleware = stack.middleware(Pulse)
    eventually(lambda: only(place).stuck_seconds == 0.0, 5, "a turn")
    held = threading.Event()
    turn = worker.consumers["q"].handle_delayed_messages
    worker.consumers["q"].handle_delayed_messages = lambda: (held.wait(20), turn())
    middleware._background.stop()
    time.sleep(0.1)  # the consumer is in there by now
    middleware._beat()
    for _ in range(40):
        middleware._beat_at -= 2.0
        middleware._beat()
    found = only(place)
    assert found.stuck_seconds >= 70
    assert found.name == "q"
    assert "the loop of queue 'q' has not turned" in judge([found], time.monotonic(), live=True).reason
    held.set()
    eventually(lambda: (middleware._beat(), only(place).stuck_seconds == 0.0)[1], 5, "another turn")
    worker.stop()


def test_threads_that_have_ended_are_found(make_stack: Make, place: Path) -> None:
    stack = make_stack()
    stack.actor(lambda: None, actor_name="a", queue_name="q")
    worker = stack.work(threads=2)
    for thread in (*worker.workers, worker.consumers["q"]):
        thread.running = False
        thread.join(10)
    stack.middleware(Pulse)._beat()
    found = only(place)
    assert (found.dead_threads, found.dead_consumers) == (2, 1)
    worker.stop()


def test_a_broker_that_no_consumer_has_heard_is_asked(make_stack: Make, place: Path) -> None:
    asked: list[bool] = []

    def ask() -> None:
        asked.append(True)
        if len(asked) == 2:
            raise ConnectionError

    stack = make_stack()
    stack.actor(lambda: None, actor_name="a", queue_name="q")
    middleware = stack.middleware(Pulse)
    middleware._ask = ask
    worker = stack.work()
    middleware._background.stop()
    first = middleware._head[Field.ANSWERED]
    assert (len(asked), first > 0) == (1, True)
    middleware._beat()
    assert len(asked) == 1, "it has just answered"
    middleware._answered_at = first - 10
    middleware._beat()
    assert (len(asked), middleware._head[Field.ANSWERED]) == (2, first - 10), "no answer changes nothing"
    middleware._beat()
    assert (len(asked), middleware._head[Field.ANSWERED] >= first) == (3, True)
    worker.stop()
