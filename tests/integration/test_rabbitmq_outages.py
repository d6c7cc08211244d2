"""A RabbitMQ server that is killed, that runs out of memory, and that loses patience: no job is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from dramatiq.errors import ConnectionClosed

from littleq.config import SLAQueueConfig
from tests.brokers.rabbitmq import RabbitApp, RabbitServer
from tests.support import eventually

MakeApp = Callable[..., RabbitApp]


@pytest.fixture
def url(rabbit: RabbitServer) -> str:
    """The session's server, which these tests harm, and leave as they found it. By another name: it does forget queues
    that are too young when it is killed."""
    return f"{rabbit.url}&heartbeat=15"


def test_a_server_that_is_killed_under_load_loses_nothing_that_it_confirmed(
    rabbit: RabbitServer, url: str, rabbit_app: MakeApp, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off", min_backoff_seconds=0.1), url=url)
    ran: Counter[int] = Counter()
    done: set[int] = set()

    def work(number: int) -> None:
        ran[number] += 1
        time.sleep(0.005)
        if number % 10 == 0 and ran[number] == 1:
            raise ValueError("once more")
        if number % 25 == 24:
            raise KeyError("never")
        done.add(number)

    actor = app.actor(work, actor_name="work", queue_name=queue, retry_routes={"KeyError": "dead"})
    confirmed, stop = [], threading.Event()

    def send() -> None:
        for number in range(100_000):
            if stop.is_set():
                return
            try:
                actor.send(number)
            except ConnectionClosed:
                time.sleep(0.1)
            else:
                confirmed.append(number)

    actor.send_with_options(args=(1_000_001,), delay=1000)
    sender = threading.Thread(target=send)
    app.work(threads=4)
    sender.start()
    eventually(lambda: len(done) > 100)
    rabbit.kill()
    rabbit.start()
    before = len(confirmed)
    eventually(lambda: len(confirmed) > before + 100, 60)
    stop.set()
    sender.join()
    wanted = {1_000_001, *confirmed}
    dead = {number for number in wanted if number % 25 == 24}
    eventually(lambda: wanted - dead <= done, 60)
    eventually(lambda: app.idle(queue))
    letters = {letter.args[0] for letter in app.backend.dead_letters.letters(queue)}
    assert dead <= letters
    # This worker recognises what it had in hand: few run twice, whose acks or retries were on the wire.
    twice = sum(ran[number] > (2 if number % 10 == 0 else 1) for number in wanted)
    assert twice <= 16
    assert "the server is back after" in caplog.text


def test_a_server_without_memory_takes_no_jobs_in_and_workers_go_on(
    rabbit: RabbitServer, url: str, rabbit_app: MakeApp, queue: str
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"), url=f"{url}&blocked_connection_timeout=1")
    seen: list[int] = []
    actor = app.actor(seen.append, actor_name="work", queue_name=queue)
    for number in range(50):
        actor.send(number)
    rabbit.run("set_vm_memory_high_watermark", "0.00001")
    try:
        began = time.monotonic()
        with pytest.raises(ConnectionClosed, match="short of memory or disk") as raised:
            actor.send(50)
        assert time.monotonic() - began < 10
        assert app.backend.is_transient(raised.value)
        app.work(threads=2)  # what is in is done and acked meanwhile
        eventually(lambda: len(seen) == 50)
        eventually(lambda: app.broker.count(queue) == 0)
    finally:
        rabbit.run("set_vm_memory_high_watermark", "0.6")
    eventually(lambda: _sends(actor, 51))
    eventually(lambda: 51 in seen)
    # A job that was refused may be in all the same: nobody knows what a server does that does not answer.
    eventually(lambda: app.idle(queue))
    assert Counter(number for number in seen if number < 50) == Counter(range(50))


def _sends(actor: Any, number: int) -> bool:
    try:
        actor.send(number)
    except ConnectionClosed:
        return False
    return True


def test_a_job_that_outlasts_the_servers_patience_runs_once(
    rabbit: RabbitServer, url: str, rabbit_app: MakeApp, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    rabbit.run("eval", "application:set_env(rabbit, consumer_timeout, 2000).")
    try:
        _outlasts(rabbit_app(SLAQueueConfig(queue, admission="off"), url=url), queue, caplog)
    finally:
        rabbit.run("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")


def _outlasts(app: RabbitApp, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    seen, go = [], threading.Event()

    def work(number: int) -> None:
        seen.append(number)
        if number == 1:
            go.wait(30)

    actor = app.actor(work, actor_name="work", queue_name=queue)
    actor.send(1)
    app.work(threads=2)
    eventually(lambda: seen == [1])
    eventually(lambda: "consumer_timeout" in caplog.text)
    actor.send(2)
    eventually(lambda: 2 in seen)
    go.set()
    eventually(lambda: app.idle(queue))
    time.sleep(0.5)
    assert sorted(seen) == [1, 2]


def test_a_queue_that_is_deleted_is_made_again(
    rabbit: RabbitServer, url: str, rabbit_app: MakeApp, queue: str
) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, arrival_rate=100, sla_seconds=1), url=url), []
    actor = app.actor(seen.append, actor_name="work", queue_name=queue)
    app.work(threads=1)
    actor.send_with_options(args=(1,), delay=30)
    eventually(lambda: seen == [1])
    with rabbit.channel() as channel:
        for name in (queue, f"{queue}@first.0", f"{queue}@due.00", f"{queue}@due.01"):
            channel.queue_delete(name)
        channel.exchange_delete(f"{queue}@due.00")
    actor.send(2)
    actor.send_with_options(args=(3,), delay=30)
    eventually(lambda: sorted(seen) == [1, 2, 3])
