"""What an adversary tried on a real server: purges, strangers, skewed clocks, silence, undecodable jobs, copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from littleq import job
from littleq.backends.redis.quick import QuickScript
from littleq.backends.redis.urls import redis_client as connect
from littleq.config import SLAQueueConfig
from littleq.middleware import ExponentialRetries
from tests.support import App, eventually

Make = Callable[..., Any]
PLAIN = SLAQueueConfig(
    "q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=2
)


def held(app: App, prefetch: int = 1) -> tuple[Any, Any]:
    consumer = app.broker.consume("q", prefetch=prefetch)
    return consumer, next(consumer)


def retry(app: App, message: Any) -> None:
    retries = next(m for m in app.broker.middleware if isinstance(m, ExponentialRetries))
    retries.after_process_message(app.broker, message, exception=RuntimeError())


def test_a_purged_job_does_not_come_back(make_app: Make, valkey_url: str) -> None:
    """Purged by another process, while this one holds a job and a delayed one."""
    app, other = make_app(PLAIN), make_app(PLAIN)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    other.broker.declare_queue("q")
    actor.send()
    actor.send_with_options(delay=1)
    consumer, message = held(app)
    late = next(app.broker.consume("q.DQ", prefetch=1))
    other.broker.flush("q")
    retry(app, message)
    promoted = late.copy(queue_name="q")
    del promoted.options["eta"]
    app.broker.enqueue(promoted)
    consumer.ack(message)
    truth = app.truth()
    assert truth.number_in_system + truth.delayed == 0
    assert (truth.accounts.admitted, truth.accounts.purged, truth.imbalance) == (2, 2, 0)


def test_a_closed_consumer_leaves_nothing_behind(make_app: Make) -> None:
    """Fetched and not handed out yet: it goes back now, not when a heartbeat has run out."""
    app = make_app(PLAIN)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(4):
        actor.send()
    consumer, message = held(app, prefetch=4)
    assert app.truth().in_flight == 4
    consumer.ack(message)
    consumer.close()
    truth = app.truth()
    assert (truth.ready, truth.in_flight, truth.imbalance) == (3, 0, 0)


def test_an_undecodable_job_is_set_aside(make_app: Make) -> None:
    """Handed out again and again, it would stop the queue for three seconds each time."""
    app = make_app(PLAIN)
    done: list[int] = []
    actor = app.actor(done.append, actor_name="a", queue_name="q")
    app.broker.client.hset("dramatiq:q.msgs", "bad", b"\xff no message")
    app.broker.client.rpush("dramatiq:q", "bad")
    actor.send(1)
    app.work()
    eventually(lambda: app.truth().dead == 1 and done == [1], what="both")
    assert app.backend.inspector.strangers("q") == 1


def test_a_stranger_that_is_retried_joins_the_accounts(make_app: Make, valkey_url: str) -> None:
    app = make_app(PLAIN)
    runs: list[int] = []

    def fail_once() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError

    actor = app.actor(fail_once, actor_name="a", queue_name="q")
    plain = RedisBroker(client=connect(valkey_url))
    plain.declare_queue("q")
    plain.enqueue(actor.message())
    app.work()
    eventually(lambda: len(runs) == 2 and app.idle(), what="the retry")
    truth = app.truth()
    assert (truth.accounts.admitted, truth.accounts.done, truth.imbalance) == (1, 1, 0)


def test_a_retry_that_was_copied_on_its_way_is_still_a_retry(make_app: Make) -> None:
    """Tracing or tenancy wrapped around `enqueue` after the stack. Taken for a send, it multiplied without end."""
    app = make_app(PLAIN)
    runs: list[int] = []
    enqueue = app.broker.enqueue
    app.broker.enqueue = lambda message, *, delay=None: enqueue(
        message.copy(options={"trace": "x"}), delay=delay
    )

    def fail() -> None:
        runs.append(1)
        raise RuntimeError

    app.actor(fail, actor_name="a", queue_name="q").send()
    app.work()
    eventually(lambda: app.truth().dead == 1, what="the end")
    assert len(runs) == 3
    assert (app.truth().accounts.admitted, app.truth().imbalance) == (1, 0)


def test_an_attempt_without_a_verdict_goes_back(make_app: Make) -> None:
    """A time limit hit between the actor's exception and the hooks: acked, it would be done in the books, and lost."""
    app = make_app(PLAIN)
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    consumer, message = held(app)
    job.note(message, started=0.0)
    consumer.ack(message)
    truth = app.truth()
    assert (truth.ready, truth.in_flight, truth.accounts.done, truth.imbalance) == (1, 0, 0, 0)


def test_a_worker_that_was_silent_counts_no_death_of_its_own(make_app: Make) -> None:
    app = make_app(PLAIN, heartbeat_timeout=1000)
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    consumer, message = held(app)
    for _ in range(8):
        app.broker.client.zadd("dramatiq:__heartbeats__", {app.broker.broker_id: 0})
        app.broker.do_qsize("q")
    assert app.truth().dead == 0
    assert app.broker.client.hlen("littleq:dramatiq:q:deliveries") == 0
    consumer.ack(message)


def test_a_job_that_was_done_by_a_worker_taken_for_dead_is_done(make_app: Make) -> None:
    """Hazard 12: without this it is run again by the next one, and the next one, until it counts as poison."""
    slow, other = make_app(PLAIN, heartbeat_timeout=1000), make_app(PLAIN, heartbeat_timeout=1000)
    slow.actor(lambda: None, actor_name="a", queue_name="q").send()
    other.actor(lambda: None, actor_name="a", queue_name="q")
    consumer, message = held(slow)
    job.note(message, started=0.0, judged=True)
    other.everyone_else_is_dead()
    other.broker.do_qsize("q")
    held(other)  # it runs again meanwhile
    consumer.ack(message)
    truth = slow.truth()
    assert (truth.number_in_system, truth.accounts.done, truth.imbalance) == (0, 1, 0)


def test_heartbeats_are_the_servers_time(make_app: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock is wrong takes nobody for dead."""
    app = make_app(PLAIN)
    monkeypatch.setattr("dramatiq.brokers.redis.current_millis", lambda: int((time.time() + 3600) * 1000))
    app.broker.declare_queue("q")
    app.broker.do_qsize("q")
    heartbeat = app.broker.client.zscore("dramatiq:__heartbeats__", app.broker.broker_id)
    assert heartbeat / 1000 == pytest.approx(app.broker.client.time()[0], abs=5)


def test_two_jobs_with_one_message_id_take_two_places(make_app: Make) -> None:
    """The same message object sent twice: the concurrency bound counts jobs, not ids."""
    app = make_app(PLAIN)
    message: Message[Any] = app.actor(lambda: None, actor_name="a", queue_name="q").message()
    for _ in range(3):
        app.broker.enqueue(message)
    consumer = app.broker.consume("q", prefetch=2, timeout=20)
    assert next(consumer) is not None
    assert next(consumer) is not None
    assert next(consumer) is None


def test_a_script_that_timed_out_is_repeated_only_if_the_client_says_so(
    valkey_url: str, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may run it all the same: that is what the client's rule is about."""
    client = connect(valkey_url)  # repeats lost connections, not time-outs
    script = QuickScript(client, "return redis.call('INCR', KEYS[1])")
    assert script(keys=["n"]) == 1
    read = redis.connection.AbstractConnection.read_response

    def late(self: Any, *arguments: Any, **options: Any) -> Any:
        read(self, *arguments, **options)
        self.disconnect()
        raise redis.TimeoutError("too late")

    monkeypatch.setattr(redis.connection.AbstractConnection, "read_response", late)
    with pytest.raises(redis.TimeoutError):
        script(keys=["n"])
    monkeypatch.undo()
    assert redis_client.get("n") == b"2"
