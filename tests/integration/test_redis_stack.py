"""The stack on Dramatiq's own RedisBroker and a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from littleq import job
from littleq.backends.redis.urls import redis_client as connect
from littleq.config import SLAQueueConfig
from littleq.middleware import ExponentialRetries, Overloaded
from tests.support import eventually

Make = Callable[..., Any]
FAST = SLAQueueConfig("q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.05, max_retries=2)


def test_conservation_holds_at_every_instant(make_app: Make) -> None:
    """Sends, delays, retries, deaths, replays and purges, while another client looks."""
    app = make_app(FAST)
    done: list[int] = []

    def work(number: int) -> None:
        if number % 7 == 0:
            raise RuntimeError(number)
        done.append(number)

    actor = app.actor(work, actor_name="work", queue_name="q")
    looks: list[int | None] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            looks.append(app.truth().imbalance)

    watcher = threading.Thread(target=look)
    watcher.start()
    app.work(threads=4)
    for number in range(100):
        actor.send(number)
        if number % 5 == 0:
            actor.send_with_options(args=(number,), delay=number)
    eventually(app.idle, what="an empty queue")
    stop.set()
    watcher.join()
    assert set(looks) == {0}
    assert len(looks) > 10
    truth = app.truth()
    assert truth.accounts.admitted == 120
    assert truth.accounts.done == len(done) == 102
    assert truth.dead == 18  # 15 of range(100), 3 of the delayed ones


def test_the_truth_table_sees_what_llen_does_not(make_app: Make) -> None:
    """Hazard 7: prefetched jobs are in no list."""
    app = make_app(SLAQueueConfig("q", admission="off"))
    go = threading.Event()
    actor = app.actor(lambda: go.wait(20), actor_name="a", queue_name="q")
    for _ in range(10):
        actor.send()
    actor.send_with_options(delay=60_000)
    app.work(threads=2)
    truth = eventually(lambda: app.truth() if app.truth().in_flight == 4 else None, what="a full prefetch")
    assert (truth.ready, truth.in_flight, truth.delayed, truth.orphaned) == (6, 4, 1, 0)
    assert truth.number_in_system == 10
    assert truth.oldest_age is not None
    assert truth.oldest_age >= 0
    go.set()


def test_a_dead_workers_jobs_are_orphaned_then_recovered(make_app: Make) -> None:
    """Hazard 9, as far as the stock broker goes: recovery needs a heartbeat timeout and maintenance."""
    app = make_app(SLAQueueConfig("q", admission="off"), maintenance_chance=0, heartbeat_timeout=1000)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(3):
        actor.send()
    fetched = app.broker.consume("q", prefetch=3)
    assert next(fetched) is not None
    app.broker.client.zadd(
        "dramatiq:__heartbeats__", {app.broker.broker_id: 0}
    )  # its last sign of life was long ago
    truth = app.truth()
    assert (truth.ready, truth.in_flight, truth.orphaned, truth.imbalance) == (0, 0, 3, 0)
    other = make_app(SLAQueueConfig("q", admission="off"), heartbeat_timeout=1000)
    other.actor(lambda: None, actor_name="a", queue_name="q")
    other.work()
    eventually(other.idle, what="recovery")
    assert other.truth().accounts.done == 3


def test_a_retry_replaces_the_held_job_in_one_step(make_app: Make) -> None:
    """A worker that dies right after its retry was enqueued leaves one job. Stock: two, the retry and the original."""
    app = make_app(FAST)
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    consumer = app.broker.consume("q", prefetch=1)
    message = next(consumer)
    retries = next(m for m in app.broker.middleware if isinstance(m, ExponentialRetries))
    retries.after_process_message(app.broker, message, exception=RuntimeError())
    truth = app.truth()  # here the process dies: its ack never comes
    assert (truth.in_flight, truth.delayed, truth.imbalance) == (0, 1, 0)
    consumer.ack(message)  # and if it lives, its ack changes nothing
    assert app.truth() == truth


def test_a_retry_of_a_job_that_somebody_else_has_now_does_nothing(make_app: Make) -> None:
    """Taken for dead (hazard 12), its job was given to another worker: that copy stands."""
    app = make_app(FAST)
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    message = next(app.broker.consume("q", prefetch=1))
    app.broker.do_requeue("q", message.options["redis_message_id"])
    retries = next(m for m in app.broker.middleware if isinstance(m, ExponentialRetries))
    retries.after_process_message(app.broker, message, exception=RuntimeError())
    truth = app.truth()
    assert (truth.ready, truth.delayed, truth.imbalance) == (1, 0, 0)


def test_a_due_job_moves_in_one_step(make_app: Make) -> None:
    """#431: promotion is enqueue, then ack; a crash in between doubles the job on the stock broker."""
    app = make_app(FAST)
    app.actor(lambda: None, actor_name="a", queue_name="q").send_with_options(delay=1)
    held = next(app.broker.consume("q.DQ", prefetch=1))
    promoted = held.copy(queue_name="q")
    del promoted.options["eta"]
    app.broker.enqueue(promoted)
    truth = app.truth()  # here the process dies
    assert (truth.ready, truth.delayed, truth.imbalance) == (1, 0, 0)


def test_an_enqueue_that_a_client_repeats_counts_once(make_app: Make) -> None:
    """The answer got lost on the wire; the client library sends the same command again."""
    app = make_app(FAST)
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    (stored,) = app.broker.client.hgetall("dramatiq:q.msgs").items()
    app.broker.do_enqueue("q", stored[0].decode(), stored[1])
    truth = app.truth()
    assert (truth.ready, truth.accounts.admitted) == (1, 1)
    assert app.broker.client.llen("dramatiq:q") == 1


def test_flushing_is_accounted_for(make_app: Make) -> None:
    app = make_app(FAST)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(5):
        actor.send()
    actor.send_with_options(delay=60_000)
    app.broker.flush_all()
    truth = app.truth()
    assert (truth.accounts.admitted, truth.accounts.purged, truth.imbalance) == (6, 6, 0)


def test_a_plain_dramatiq_process_shares_the_queue(make_app: Make, valkey_url: str) -> None:
    """A migration: its jobs run here, ours run there; only what it takes is missing in the accounts."""
    app = make_app(FAST)
    done: list[str] = []
    ours = app.actor(done.append, actor_name="a", queue_name="q")
    plain = RedisBroker(client=connect(valkey_url))
    plain.declare_queue("q")
    plain.enqueue(ours.message("theirs"))
    assert app.truth().imbalance == -1
    assert app.backend.inspector.strangers("q") == 1
    ours.send("ours")
    worker = app.work()
    eventually(app.idle)
    assert sorted(done) == ["ours", "theirs"]
    truth = app.truth()
    assert (truth.accounts.admitted, truth.accounts.done, truth.imbalance) == (1, 1, 0)
    worker.stop()  # or it takes the next one, too
    ours.send("to them")
    consumer = plain.consume("q")
    message = next(consumer)
    assert message.args == ("to them",)
    consumer.ack(message)
    assert app.truth().imbalance == 1


def test_one_producer_never_passes_the_limit(make_app: Make) -> None:
    """The depth is sampled, but a process knows what it let in itself."""
    app = make_app(SLAQueueConfig("q", arrival_rate=50, sla_seconds=1))
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    shed = 0
    for _ in range(300):
        try:
            actor.send()
        except Overloaded:
            shed += 1
    assert (app.truth().ready, shed) == (50, 250)


def test_what_others_sent_is_seen_with_the_next_sample(make_app: Make) -> None:
    first, second = (make_app(SLAQueueConfig("q", arrival_rate=50, sla_seconds=1)) for _ in range(2))
    ours = first.actor(lambda: None, actor_name="a", queue_name="q")
    theirs = second.actor(lambda: None, actor_name="a", queue_name="q")
    ours.send()
    for _ in range(49):
        theirs.send()
    first.broker.littleq_gate.admission.depth.sample()
    with pytest.raises(Overloaded):
        ours.send()
    first.broker.flush("q")
    first.broker.littleq_gate.admission.depth.sample()
    ours.send()


def test_the_truth_of_many_queues_is_one_round_trip(make_app: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(SLAQueueConfig("q", admission="off"))
    for name in ("q", "other", "third"):
        app.actor(lambda: None, actor_name=name, queue_name=name).send()
    app.truth()  # the script is loaded
    sent: list[int] = []
    send = redis.connection.AbstractConnection.send_packed_command

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        sent.append(1)
        send(self, *arguments, **options)

    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counted)
    truths = app.backend.inspector.truth(["q", "other", "third", "never heard of"])
    assert [truths[name].ready for name in ("q", "other", "third", "never heard of")] == [1, 1, 1, 0]
    assert len(sent) == 1


def test_the_oldest_job_is_found_at_the_tail(make_app: Make) -> None:
    """Hazard 8: shutdown, recovery and promotion push what is old to the tail."""
    app = make_app(SLAQueueConfig("q", admission="off"))
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(60):
        actor.send()
    client = app.broker.client
    head = client.lindex("dramatiq:q", 0)
    stored = Message.decode(client.hget("dramatiq:q.msgs", head))
    job.write(stored.options, ready_at=time.time() - 100)
    client.hset("dramatiq:q.msgs", head, stored.encode())
    client.rpush("dramatiq:q", client.lpop("dramatiq:q"))
    truth = app.truth()
    assert truth.oldest_age == pytest.approx(100, abs=5)
    assert truth.approximate == {"oldest_age"}


def test_a_delayed_message_that_is_sent_once_more_is_a_send(make_app: Make) -> None:
    """Not a job that is due: nobody holds it, and in its place nothing would be put."""
    app = make_app(SLAQueueConfig("q", admission="off"))
    done: list[int] = []
    message = app.actor(done.append, actor_name="a", queue_name="q").send_with_options(args=(1,), delay=20)
    app.broker.enqueue(message)
    assert app.truth().accounts.admitted == 2
    app.work()
    eventually(app.idle, what="an empty queue")
    assert done == [1, 1]
    assert app.truth().imbalance == 0
