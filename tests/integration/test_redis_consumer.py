"""How a worker takes jobs from a real server and tells how they ended, also when that goes wrong."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from dramatiq.errors import ConnectionClosed

from littleq.config import SLAQueueConfig
from tests.support import eventually

Make = Callable[..., Any]
FAST = SLAQueueConfig("q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.05, max_retries=2)


def test_jobs_in_limbo_come_back(make_app: Make) -> None:
    """Fetched, but the answer never arrived: a live worker's heartbeat keeps them from everybody."""
    app = make_app(SLAQueueConfig("q", admission="off"))
    done: list[int] = []
    actor = app.actor(done.append, actor_name="a", queue_name="q")
    for number in range(4):
        actor.send(number)
    app.broker.do_fetch("q", 3)  # into nowhere
    assert app.truth().in_flight == 3
    app.work()
    eventually(app.idle, what="an empty queue")
    assert sorted(done) == [0, 1, 2, 3]


def test_a_forked_child_is_a_worker_of_its_own(make_app: Make) -> None:
    """Sharing an id, each would take the other's jobs for its own lost ones."""
    app = make_app(FAST)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, app.broker.broker_id.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100).decode() != app.broker.broker_id


def test_an_idle_consumer_polls_within_its_sla(make_app: Make) -> None:
    """Hazard 11: stock polling backs off to a second, which is all of a 1 s SLA."""
    app = make_app(SLAQueueConfig("q", admission="off", sla_seconds=1))
    app.actor(lambda: None, actor_name="a", queue_name="q")
    app.actor(lambda: None, actor_name="b", queue_name="plain")
    assert app.broker.consume("q", timeout=1000).timeout == 50
    assert app.broker.consume("plain", timeout=1000).timeout == 1000


def test_a_consumer_that_cannot_put_its_jobs_back_says_so_in_dramatiqs_words(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other error than a broker's ends the consumer thread: its queue, or all delayed jobs, would stand still."""
    app = make_app(SLAQueueConfig("q", admission="off"))
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    consumer = app.broker.consume("q")
    message = next(consumer)

    def away(*_: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(app.broker, "do_requeue", away, raising=False)
    with pytest.raises(ConnectionClosed):
        consumer.requeue([message])


def test_a_full_consumer_wakes_when_a_job_ends(make_app: Make) -> None:
    """The stock one sleeps while its threads run dry."""
    app = make_app(SLAQueueConfig("q", admission="off", sla_seconds=600))
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(3):
        actor.send()
    consumer = app.broker.consume("q", prefetch=2, timeout=10_000)
    first = next(consumer)
    assert next(consumer) is not None
    timer = threading.Timer(0.05, consumer.ack, [first])
    timer.start()
    started = time.monotonic()
    assert next(consumer) is not None
    assert time.monotonic() - started < 5  # not the ten seconds of its time-out
    timer.join()


def test_an_error_in_an_ack_does_not_cost_a_place_for_ever(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(SLAQueueConfig("q", admission="off"))
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(2):
        actor.send()
    consumer = app.broker.consume("q", prefetch=1, timeout=20)
    message = next(consumer)

    def refuse(*_: object) -> None:
        raise redis.ResponseError("WRONGTYPE by some accident")

    monkeypatch.setattr(consumer, "_send_ack", refuse)
    with pytest.raises(redis.ResponseError):
        consumer.ack(message)
    assert next(consumer) is not None


@pytest.mark.parametrize(
    "words", ["MISCONF errors writing to the AOF", "NOREPLICAS not enough good replicas"]
)
def test_what_passes_by_itself_is_waited_for(
    make_app: Make, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    app = make_app(SLAQueueConfig("q", admission="off"))
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    consumer = app.broker.consume("q")
    message = next(consumer)

    def refuse(*_: object) -> None:
        raise redis.ResponseError(words)

    monkeypatch.setattr(consumer, "_send_ack", refuse)
    with pytest.raises(ConnectionClosed):
        consumer.ack(message)


def test_an_ack_by_hand_is_dramatiqs_own(make_app: Make) -> None:
    app = make_app(SLAQueueConfig("q", admission="off"))
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    message = next(app.broker.consume("q"))
    app.broker.do_ack("q", message.options["redis_message_id"])
    assert app.truth().number_in_system == 0


def test_an_eta_of_the_apps_own_is_waited_for_in_its_queue(make_app: Make) -> None:
    """Dramatiq holds such a job in memory and enqueues it again when it is due."""
    app = make_app(SLAQueueConfig("q", admission="off"))
    done: list[int] = []
    actor = app.actor(done.append, actor_name="a", queue_name="q")
    app.broker.enqueue(actor.message_with_options(args=(1,), eta=int(time.time() * 1000) + 50))
    app.work()
    eventually(app.idle, what="an empty queue")
    assert done == [1]
    assert (app.truth().accounts.done, app.truth().imbalance) == (1, 0)
