"""Acks go out in batches: together with the next fetch, at once when there is none, and never lost without a word."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.errors import ConnectionClosed
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from littleq import job
from littleq.backends import backend_for
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.desk import MOST_ACKS, Desk
from tests.support import ROOT, OurApp


@pytest.fixture
def broker(valkey_url: str, redis_client: Any) -> RedisBroker:
    return RedisBroker(client=Redis.from_url(valkey_url), middleware=[], watch=False)


def send(broker: RedisBroker, jobs: int) -> None:
    for number in range(jobs):
        broker.enqueue(Message("q", "actor", (number,), {}, {}))


def truth(broker: RedisBroker) -> Any:
    return backend_for(broker).inspector.truth(["q"])["q"]


def evalshas(broker: RedisBroker) -> int:
    return int(broker.client.info("commandstats")["cmdstat_evalsha"]["calls"])


def take(consumer: Any, jobs: int) -> list[Any]:
    taken: list[Any] = []
    while len(taken) < jobs:
        message = next(consumer)
        if message is not None:
            taken.append(message)
    return taken


def test_acks_travel_with_the_next_fetch(broker: RedisBroker) -> None:
    send(broker, 40)
    consumer: Any = broker.consume("q", prefetch=16, timeout=10)
    taken = take(consumer, 8)
    before = evalshas(broker)
    for message in taken:
        consumer.ack(message)
    assert truth(broker).accounts.done == 0
    take(consumer, 1)
    assert truth(broker).accounts.done == 8
    assert evalshas(broker) - before <= 4, "two looks from outside, one fetch, and perhaps a sign of life"


def test_an_idle_consumer_sends_an_ack_at_once(broker: RedisBroker) -> None:
    send(broker, 1)
    consumer: Any = broker.consume("q", prefetch=4, timeout=1)
    (message,) = take(consumer, 1)
    assert next(consumer) is None  # nothing left: it will wait now
    consumer.ack(message)
    assert truth(broker).accounts.done == 1


def test_acks_do_not_wait_while_the_consumer_sleeps_on_its_bell(broker: RedisBroker) -> None:
    """The worker thread that finishes sends them: the consumer is asleep for a second."""
    send(broker, 1)
    consumer: Any = broker.consume("q", prefetch=4, timeout=60_000)
    (message,) = take(consumer, 1)
    sleeping = threading.Thread(target=next, args=(consumer,), daemon=True)
    sleeping.start()
    while not broker.client.zcard("littleq:dramatiq:q:waiting"):
        assert sleeping.is_alive()
    consumer._desk.expect_fetch(certain=False)
    consumer.ack(message)
    assert truth(broker).accounts.done == 1
    broker.enqueue(Message("q", "actor", (), {}, {}))
    sleeping.join(5)


def test_no_more_than_so_many_acks_wait() -> None:
    desk = Desk()
    desk.expect_fetch(certain=True)
    must_send = [desk.write_down((str(number), "done")) for number in range(MOST_ACKS)]
    assert must_send == [False] * (MOST_ACKS - 1) + [True]


def test_acks_that_met_an_outage_go_with_the_next_fetch(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    send(broker, 3)
    consumer: Any = broker.consume("q", prefetch=4, timeout=1)
    taken = take(consumer, 2)
    consumer._desk.expect_fetch(certain=False)
    with monkeypatch.context() as outage:
        outage.setattr(broker, "fetch", _away)
        consumer.ack(taken[0])
    assert "1 acks wait for the server (ConnectionError)" in caplog.text
    assert truth(broker).accounts.done == 0
    take(consumer, 1)
    assert truth(broker).accounts.done == 1


def _away(*_: Any) -> Any:
    raise RedisConnectionError("away")


def test_a_consumer_that_takes_over_sends_what_the_last_one_could_not(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(broker, 2)
    consumer: Any = broker.consume("q", prefetch=2, timeout=1)
    (message,) = take(consumer, 1)
    consumer._desk.expect_fetch(certain=False)
    with monkeypatch.context() as outage:
        outage.setattr(broker, "fetch", _away)
        consumer.ack(message)
        consumer.close()
    another: Any = broker.consume("q", prefetch=2, timeout=1)
    take(another, 1)
    assert truth(broker).accounts.done == 1


def test_an_ack_said_twice_counts_once(broker: RedisBroker) -> None:
    send(broker, 1)
    consumer: Any = broker.consume("q", prefetch=2, timeout=1)
    (message,) = take(consumer, 1)
    acks = [(message.options["redis_message_id"], "done")]
    broker.fetch("q", 0, 0, acks)
    broker.fetch("q", 0, 0, acks)
    assert truth(broker).accounts.done == 1
    assert truth(broker).imbalance == 0


def test_a_job_lost_to_another_worker_and_done_all_the_same_is_done(
    broker: RedisBroker, valkey_url: str
) -> None:
    other = RedisBroker(client=Redis.from_url(valkey_url), middleware=[], watch=False)
    send(broker, 2)
    consumer: Any = broker.consume("q", prefetch=2, timeout=1)
    first, second = take(consumer, 2)
    other.bury(broker.broker_id)
    others: Any = other.consume("q", prefetch=1, timeout=1)
    (again,) = take(others, 1)  # one is held by the other now, one is ready
    assert again.message_id == first.message_id
    consumer.ack(first)
    consumer.ack(second)
    consumer._flush()
    others.ack(again)
    others._flush()
    assert (truth(broker).accounts.done, truth(broker).number_in_system, truth(broker).imbalance) == (2, 0, 0)


def test_close_sends_acks_and_gives_back_what_was_fetched(broker: RedisBroker) -> None:
    send(broker, 6)
    consumer: Any = broker.consume("q", prefetch=8, timeout=1)
    first, second = take(consumer, 2)
    consumer._desk.expect_fetch(certain=True)
    consumer.ack(first)
    consumer.close()
    assert truth(broker).accounts.done == 1
    assert truth(broker).in_flight == 1
    ids = broker.client.lrange("dramatiq:q", 0, -1)
    numbers = [Message.decode(data).args[0] for data in broker.client.hmget("dramatiq:q.msgs", ids)]
    assert numbers == [2, 3, 4, 5], "at the head, in order"
    consumer.requeue([second])
    assert truth(broker).in_flight == 0


def test_acks_leave_before_the_process_does(valkey_url: str, redis_client: Any) -> None:
    """One that ends without closing anything."""
    script = """
import sys
from dramatiq import Message
from littleq.backends.redis.broker import RedisBroker
broker = RedisBroker(url=sys.argv[1], middleware=[], watch=False)
broker.enqueue(Message("q", "actor", (), {}, {}))
consumer = broker.consume("q", prefetch=4, timeout=1)
message = next(consumer)
consumer._desk.expect_fetch(certain=True)
consumer.ack(message)
print(len(consumer._desk._acks))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, valkey_url], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "1\n"
    assert truth(RedisBroker(url=valkey_url)).accounts.done == 1


def test_jobs_that_a_closed_consumer_could_not_give_back_come_again(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(broker, 4)
    consumer: Any = broker.consume("q", prefetch=8, timeout=1)
    take(consumer, 1)
    with monkeypatch.context() as outage:
        outage.setattr(broker, "give_back", _away)
        consumer.close()
    another: Any = broker.consume("q", prefetch=8, timeout=1)
    assert [message.args for message in take(another, 3)] == [(1,), (2,), (3,)]


def test_a_job_with_a_due_time_of_its_own_that_meets_an_outage_comes_again(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue(Message("q", "actor", (), {}, {"eta": int(time.time() * 1000) + 60_000}))
    consumer: Any = broker.consume("q", prefetch=4, timeout=1)
    with monkeypatch.context() as outage:
        outage.setattr(broker, "enqueue_many", _away)
        assert next(consumer) is None
    assert (truth(broker).in_flight, truth(broker).delayed) == (1, 0)
    assert next(consumer) is None
    assert (truth(broker).in_flight, truth(broker).delayed, truth(broker).imbalance) == (0, 1, 0)


def test_a_nack_that_meets_an_outage_is_dramatiqs_to_try_again(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(broker, 1)
    consumer: Any = broker.consume("q", prefetch=2, timeout=1)
    (message,) = take(consumer, 1)
    with monkeypatch.context() as outage:
        outage.setattr(broker, "dead_letter", _away)
        with pytest.raises(ConnectionClosed):
            consumer.nack(message)
    consumer.nack(message)
    assert truth(broker).dead == 1


def test_a_job_that_was_interrupted_before_its_verdict_goes_back(broker: RedisBroker) -> None:
    send(broker, 1)
    consumer: Any = broker.consume("q", prefetch=2, timeout=1)
    (message,) = take(consumer, 1)
    job.note(message, started=1.0)
    consumer.ack(message)
    assert (truth(broker).ready, truth(broker).accounts.done) == (1, 0)


def test_a_job_that_cannot_be_decoded_is_dead_lettered_as_it_is(broker: RedisBroker) -> None:
    broker.client.hset("dramatiq:q.msgs", "junk", b"\x00not json")
    broker.client.rpush("dramatiq:q", "junk")
    send(broker, 1)
    consumer: Any = broker.consume("q", prefetch=4, timeout=1)
    (message,) = take(consumer, 1)
    assert message.args == (0,)
    assert broker.client.hget("dramatiq:q.XQ.msgs", "junk") == b"\x00not json"


def test_under_load_a_few_jobs_share_a_round_trip(our_app: Any) -> None:
    app: OurApp = our_app()
    actor = app.actor(lambda: None, actor_name="work", queue_name="q")
    for _ in range(400):
        actor.send()
    before = app.calls("lpop")
    app.work(threads=8)
    app.until(app.idle)
    assert app.calls("lpop") - before < 300
    assert (app.truth().accounts.done, app.truth().imbalance) == (400, 0)
