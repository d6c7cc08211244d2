"""The bound of a queue on a real RabbitMQ server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from dramatiq import Retry, group

import littleq
from littleq.config import SLAQueueConfig
from littleq.middleware.overloaded import Overloaded
from tests.brokers.rabbitmq import RabbitApp, RabbitServer
from tests.support import eventually

MakeApp = Callable[..., RabbitApp]


def test_many_senders_fill_a_contract_to_the_job(rabbit_app: MakeApp, queue: str) -> None:
    contract = SLAQueueConfig(queue, arrival_rate=40, sla_seconds=1)
    apps = [rabbit_app(contract) for _ in range(4)]
    actors = [app.actor(lambda: None, actor_name="work", queue_name=queue) for app in apps]
    taken, start = [], threading.Barrier(4)

    def send(actor: object) -> None:
        start.wait()
        for _ in range(30):
            try:
                actor.send()  # type: ignore[attr-defined]
                taken.append(1)
            except Overloaded as error:
                assert error.limit == 40

    senders = [threading.Thread(target=send, args=[actor]) for actor in actors]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert len(taken) == 40
    assert apps[0].truth(queue).ready == 40


def test_what_follows_from_a_job_is_never_refused(rabbit_app: MakeApp, queue: str) -> None:
    app = rabbit_app(SLAQueueConfig(queue, arrival_rate=5, sla_seconds=1))
    seen, go = [], threading.Event()

    def work(what: str) -> None:
        seen.append(what)
        if seen.count(what) == 1:
            go.wait(20)
            raise Retry("later", delay=50)

    actor = app.actor(work, actor_name="work", queue_name=queue)
    app.work(threads=2)
    for number in range(2):
        actor.send(f"early {number}")
    eventually(lambda: len(seen) == 2)
    refused = 0
    for number in range(40):
        try:
            actor.send(f"late {number}")
        except Overloaded:
            refused += 1
    assert refused > 0
    go.set()  # the queue is full, and now come the retries
    eventually(lambda: seen.count("early 0") == seen.count("early 1") == 2)
    eventually(lambda: app.idle(queue))
    assert app.truth(queue).dead == 0


def test_a_group_comes_in_as_a_whole_or_not_at_all(rabbit_app: MakeApp, queue: str) -> None:
    app = rabbit_app(SLAQueueConfig(queue, arrival_rate=10, sla_seconds=1))
    work = app.actor(lambda: None, actor_name="work", queue_name=queue)
    group([work.message() for _ in range(6)], broker=app.broker).run()
    with pytest.raises(Overloaded):
        group([work.message() for _ in range(6)], broker=app.broker).run()
    assert app.truth(queue).ready == 6
    group([work.message() for _ in range(4)], broker=app.broker).run()
    assert app.truth(queue).ready == 10


def test_lower_shares_capacity_and_overflow_are_held_too(rabbit_app: MakeApp, queue: str) -> None:
    app = rabbit_app(
        SLAQueueConfig(queue, arrival_rate=10, sla_seconds=1),
        SLAQueueConfig(f"{queue}c", admission="capacity", jobs_per_worker=3),
        SLAQueueConfig(f"{queue}d", arrival_rate=0.02, sla_seconds=100, on_overload="defer"),
    )
    work = app.actor(lambda: None, actor_name="work", queue_name=queue)
    sent = littleq.send_many(
        [work.message_with_options(criticality="sheddable") for _ in range(8)], broker=app.broker
    )
    assert [each.outcome for each in sent] == ["admitted"] * 5 + ["shed"] * 3
    with pytest.raises(Overloaded):
        work.send_with_options(criticality="sheddable")
    work.send_with_options(delay=60_000)
    assert (app.truth(queue).ready, app.truth(queue).delayed) == (5, 1)

    capacity = app.actor(lambda: None, actor_name="capacity", queue_name=f"{queue}c")
    for _ in range(3):
        capacity.send()
    with pytest.raises(Overloaded):
        capacity.send()

    deferring = app.actor(lambda: None, actor_name="deferring", queue_name=f"{queue}d")
    for _ in range(3):
        deferring.send()
    truth = app.truth(f"{queue}d")
    assert (truth.ready, truth.delayed) == (2, 1)


def test_another_contract_takes_effect_and_what_the_old_one_let_in_is_done(
    rabbit_app: MakeApp, rabbit: RabbitServer, queue: str
) -> None:
    seen: list[int] = []
    old = rabbit_app(SLAQueueConfig(queue, arrival_rate=3, sla_seconds=1))
    first = old.actor(seen.append, actor_name="work", queue_name=queue)
    old.work(threads=1)
    first.send(0)
    eventually(lambda: seen == [0])
    new = rabbit_app(SLAQueueConfig(queue, arrival_rate=6, sla_seconds=1))
    second = new.actor(seen.append, actor_name="work", queue_name=queue)
    old.workers[0].stop()
    for number in range(1, 4):
        first.send(number)
    with pytest.raises(Overloaded):
        first.send(9)
    for number in range(4, 7):
        second.send(number)
    with pytest.raises(Overloaded):
        second.send(9)
    new.work(threads=1)
    eventually(lambda: sorted(seen) == list(range(7)))
    with rabbit.channel() as channel:
        for slot in (0, 1):
            assert channel.queue_declare(f"{queue}@first.{slot}", passive=True).method.message_count == 0


def test_a_worker_that_runs_notices_a_new_contract(
    rabbit_app: MakeApp, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("littleq.backends.rabbitmq.consumer.LOOK_SECONDS", 0.2)
    monkeypatch.setattr("littleq.backends.rabbitmq.topology.LOOK_SECONDS", 0.2)
    seen: list[int] = []
    old = rabbit_app(SLAQueueConfig(queue, arrival_rate=3, sla_seconds=1))
    old.actor(seen.append, actor_name="work", queue_name=queue)
    old.work(threads=1)
    new = rabbit_app(SLAQueueConfig(queue, arrival_rate=6, sla_seconds=1))
    new.actor(seen.append, actor_name="work", queue_name=queue).send(1)
    eventually(lambda: seen == [1])


def test_what_a_busy_worker_cannot_run_goes_to_another(rabbit_app: MakeApp, queue: str) -> None:
    """Two places push to one worker, which may hold one job: the other's comes back, and does not wait with it."""
    contract = SLAQueueConfig(queue, arrival_rate=100, sla_seconds=1, concurrency=1)
    busy, free = rabbit_app(contract), rabbit_app(contract)
    go, ran = threading.Event(), []

    def work(what: str) -> None:
        ran.append(what)
        if what == "long":
            go.wait(30)

    actor = busy.actor(work, actor_name="work", queue_name=queue)
    free.actor(work, actor_name="work", queue_name=queue)
    busy.work(threads=4)
    actor.send("long")
    eventually(lambda: ran == ["long"])
    busy.broker.let_in(queue, actor.message("from the other place").encode())
    actor.send("from the same place")
    time.sleep(0.3)
    assert ran == ["long"]  # never more than one
    free.work(threads=4)
    eventually(lambda: len(ran) == 3)
    go.set()


def test_the_oldest_first_send_of_a_contract_has_an_age(rabbit_app: MakeApp, queue: str) -> None:
    app = rabbit_app(SLAQueueConfig(queue, arrival_rate=100, sla_seconds=1))
    app.actor(lambda: None, actor_name="work", queue_name=queue).send()
    eventually(lambda: (app.truth(queue).oldest_age or 0) >= 1)
