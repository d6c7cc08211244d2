"""What an outage must not do: make workers take each other for dead, or keep a full server from being emptied."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from littleq import passage
from littleq.backends import backend_for
from littleq.config import SLAQueueConfig
from tests.lifecycle import AppAt
from tests.servers import SOURCES, MakeServer, make_own_server, need
from tests.support import eventually

__all__ = ["make_own_server"]

PLAIN = SLAQueueConfig("q", admission="off")


def held(app: AppAt) -> str:
    message = next(app.broker.consume("q", prefetch=1, timeout=100))
    assert message is not None
    return str(message.message_id)


def two_at_work(make_own_server: MakeServer) -> tuple[AppAt, AppAt]:
    """Two workers that hold a job each, and give signs of life every 0.1 s."""
    server = make_own_server()
    apps = [AppAt(server.url, PLAIN, heartbeat_timeout=1000) for _ in range(2)]
    for app in apps:
        app.actor(lambda: None, actor_name="a", queue_name="q").send()
        held(app)
        app.broker.watch.stop()  # from here on the test beats
        app.broker.beat()
    return apps[0], apps[1]


def test_after_an_outage_of_all_nobody_takes_anybody_for_dead(make_own_server: MakeServer) -> None:
    """Longer than the heartbeat timeout: whoever is back first finds all others silent; their jobs would run twice."""
    one, other = two_at_work(make_own_server)
    time.sleep(1.2)
    assert one.broker.beat() == (0, 0)
    other.broker.beat()
    for _ in range(15):  # and long after
        time.sleep(0.1)
        assert one.broker.beat() == other.broker.beat() == (0, 0)
    assert one.truth().in_flight == 2
    one.close()
    other.close()


def test_who_stays_silent_after_an_outage_is_dead(make_own_server: MakeServer) -> None:
    one, other = two_at_work(make_own_server)
    time.sleep(1.2)
    began = time.monotonic()
    while one.broker.beat() == (0, 0):
        assert time.monotonic() - began < 2
        time.sleep(0.1)
    assert time.monotonic() - began > 0.8
    assert (one.truth().in_flight, one.truth().ready) == (1, 1)
    one.close()
    other.close()


@pytest.mark.parametrize("kind", SOURCES)
def test_a_full_server_can_be_emptied(make_own_server: MakeServer, kind: str) -> None:
    """Refused, the fetches that would make room could never run: the backlog that filled the server would stay."""
    server = make_own_server(need(kind))
    app = AppAt(server.url, PLAIN, heartbeat_timeout=1000)
    done: list[int] = []
    actor = app.actor(done.append, actor_name="a", queue_name="q")
    for number in range(10):
        actor.send(number)
    server.client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        actor.send(10)
    app.broker.beat()
    app.work()
    eventually(app.idle, 5, "an empty queue")
    assert sorted(done) == list(range(10))
    app.close()


KEYS = (
    *("dramatiq:q", "dramatiq:q.msgs", "dramatiq:q.DQ.msgs", "dramatiq:q.XQ", "dramatiq:q.XQ.msgs"),
    *("littleq:dramatiq:q:schedule", "littleq:dramatiq:q:schedule:ids"),
)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_the_wrong_type_stops_a_script_before_a_job_is_on_neither_side(
    make_own_server: MakeServer, key: str
) -> None:
    """Whatever is tried meanwhile: once the key is back, each job is in exactly one place, and the accounts hold."""
    app = AppAt(make_own_server().url, PLAIN, heartbeat_timeout=1000)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(6):
        actor.send()
    consumer = app.broker.consume("q", prefetch=10, timeout=100)
    jobs = [next(consumer) for _ in range(5)]
    dead, rejected, retried, delayed, given_back = jobs
    dead.fail()
    consumer.nack(dead)
    actor.send_with_options(delay=60_000)
    actor.send_with_options(delay=1)
    time.sleep(0.01)
    client, backend = app.broker.client, backend_for(app.broker)
    client.rename(key, "aside")
    client.set(key, "oops")

    def retry(message: Any, delay: int) -> None:
        with passage.rescheduling(message):
            app.broker.enqueue(message, delay=delay)

    attempts: list[Callable[[], object]] = [
        actor.send,
        lambda: actor.send_with_options(delay=60_000),
        lambda: app.broker.dead_letter("q", rejected),
        lambda: retry(retried, 0),
        lambda: retry(delayed, 60_000),
        lambda: app.broker.give_back("q", "these", [given_back.options["redis_message_id"]]),
        lambda: app.broker.fetch("q", 1, 0, []),
        lambda: backend.dead_letters.replay("q", dead.options["redis_message_id"]),
        lambda: app.broker.bury(app.broker.broker_id),
    ]
    refused = 0
    for attempt in attempts:
        try:
            attempt()
        except redis.ResponseError as error:
            assert str(error).startswith("WRONGTYPE")
            refused += 1
    assert refused > 0
    client.delete(key)
    client.rename("aside", key)
    app.broker.fetch("q", 0, 0, [])
    ready = client.lrange("dramatiq:q", 0, -1)
    held = client.smembers(f"dramatiq:__acks__.{app.broker.broker_id}.q")
    assert len(ready) == len(set(ready))
    assert not set(ready) & held
    assert {*ready, *held} == set(client.hkeys("dramatiq:q.msgs"))
    assert set(client.hkeys("dramatiq:q.DQ.msgs")) <= set(client.zrange("littleq:dramatiq:q:schedule", 0, -1))
    assert set(client.hkeys("dramatiq:q.XQ.msgs")) == set(client.zrange("dramatiq:q.XQ", 0, -1))
    assert app.truth().imbalance == 0
    app.close()
