"""A RabbitMQ server that is killed, that runs out of memory, and that loses patience: no job is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dramatiq.errors import ConnectionClosed

from littleq.config import SLAQueueConfig
from tests.brokers.rabbitmq import RabbitApp, RabbitServer
from tests.support import eventually

MakeApp = Callable[..., RabbitApp]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One for all of this module: each test leaves it as it found it. It waits two seconds for an ack."""
    found = RabbitServer(tmp_path_factory.mktemp("own"), consumer_timeout="2000")
    try:
        yield found.start()
    finally:
        found.kill()


def test_a_server_that_is_killed_under_load_loses_nothing_that_it_confirmed(
    server: RabbitServer, rabbit_app: MakeApp, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off", min_backoff_seconds=0.1), url=server.url)
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
    server.kill()
    server.start()
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
    server: RabbitServer, rabbit_app: MakeApp, queue: str
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"), url=f"{server.url}&blocked_connection_timeout=1")
    seen: list[int] = []
    actor = app.actor(seen.append, actor_name="work", queue_name=queue)
    for number in range(50):
        actor.send(number)
    server.run("set_vm_memory_high_watermark", "0.00001")
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
        server.run("set_vm_memory_high_watermark", "0.6")
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
    server: RabbitServer, rabbit_app: MakeApp, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"), url=server.url)
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


def test_a_queue_that_is_deleted_is_made_again(server: RabbitServer, rabbit_app: MakeApp, queue: str) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, arrival_rate=100, sla_seconds=1), url=server.url), []
    actor = app.actor(seen.append, actor_name="work", queue_name=queue)
    app.work(threads=1)
    actor.send_with_options(args=(1,), delay=30)
    eventually(lambda: seen == [1])
    with server.channel() as channel:
        for name in (queue, f"{queue}@first.0", f"{queue}@due.00", f"{queue}@due.01"):
            channel.queue_delete(name)
        channel.exchange_delete(f"{queue}@due.00")
    actor.send(2)
    actor.send_with_options(args=(3,), delay=30)
    eventually(lambda: sorted(seen) == [1, 2, 3])
