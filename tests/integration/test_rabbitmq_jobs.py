"""Jobs on a real RabbitMQ server: order, delays, retries, dead letters, what is nobody's job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pika
from dramatiq import Message, Retry
from dramatiq.common import current_millis

import littleq
from littleq.backends.rabbitmq.browsing import MOST_A_CHANNEL
from littleq.backends.rabbitmq.ladder import climb
from littleq.config import SLAQueueConfig
from tests.brokers.rabbitmq import RabbitApp, RabbitServer
from tests.support import eventually

MakeApp = Callable[..., RabbitApp]


def test_jobs_run_in_the_order_in_which_they_were_sent(rabbit_app: MakeApp, queue: str) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, admission="off")), []
    work = app.actor(seen.append, actor_name="work", queue_name=queue)
    for number in range(30):
        work.send(number)
    assert app.truth(queue).ready == 30
    app.work(threads=1)
    eventually(lambda: len(seen) == 30)
    assert seen == list(range(30))
    eventually(lambda: app.idle(queue))


def test_many_messages_take_few_round_trips_and_all_arrive(rabbit_app: MakeApp, queue: str) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, admission="off")), []
    work = app.actor(seen.append, actor_name="work", queue_name=queue)
    sent = littleq.send_many([work.message(number) for number in range(1200)], broker=app.broker)
    assert {each.outcome for each in sent} == {"bypassed"}
    assert app.truth(queue).ready == 1200
    app.work(threads=4)
    eventually(lambda: len(seen) == 1200)
    assert sorted(seen) == list(range(1200))


def test_delayed_jobs_wait_on_the_server_and_come_when_they_are_due(
    rabbit: RabbitServer, rabbit_app: MakeApp, queue: str
) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, admission="off")), []
    work = app.actor(lambda due: seen.append(time.time() * 1000 - due), actor_name="work", queue_name=queue)
    app.work(threads=2)
    for delay in (1, 60, 333, 900):
        sent = work.send_with_options(args=(current_millis() + delay,), delay=delay)
        assert sent.queue_name == f"{queue}.DQ"
        assert sent.options["eta"] <= current_millis() + delay
    eventually(lambda: len(seen) == 4)
    assert (
        min(seen) >= -1
    )  # never early; and how late on a machine that does nothing else is in docs/rabbitmq.md
    assert max(seen) < 1500
    far = 20 * 86_400_000
    work.send_with_options(args=(0,), delay=far)
    work.send_with_options(args=(0,), delay=3_600_000)
    truth = app.truth(queue)
    assert (truth.delayed, truth.number_in_system) == (2, 0)
    with rabbit.channel() as channel:
        for delay in (far, 3_600_000):
            name = f"{queue}@due.{climb(delay)[0]:02}"
            assert channel.queue_declare(name, passive=True).method.message_count == 1
    schedule = app.backend.schedule
    assert schedule is not None
    assert schedule.due_times(queue, [60, 3 * 3600, 60 * 86400]) == [0, 1, 2]
    assert len(seen) == 4


def test_a_delay_that_is_longer_than_the_ladder_is_climbed_again(
    rabbit: RabbitServer, rabbit_app: MakeApp, queue: str
) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, admission="off")), []
    work = app.actor(seen.append, actor_name="work", queue_name=queue)
    app.broker.declare_queue(queue, ensure=True)
    # What comes out of the ladder after its 38 days, and has twenty to go.
    due = current_millis() + 20 * 86_400_000
    with rabbit.channel() as channel:
        properties = pika.BasicProperties(delivery_mode=2, headers={"littleq-due": due})
        channel.basic_publish("", queue, work.message(1).encode(), properties)
    app.work(threads=1)
    eventually(lambda: app.truth(queue).delayed == 1)
    assert seen == []


def test_a_retry_waits_on_the_server_and_is_the_same_job(rabbit_app: MakeApp, queue: str) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    seen: list[tuple[int, float]] = []

    def work(number: int) -> None:
        seen.append((number, time.monotonic()))
        if len(seen) < 3:
            raise Retry("once more", delay=200)

    app.actor(work, actor_name="work", queue_name=queue).send(1)
    app.work(threads=2)
    eventually(lambda: len(seen) == 3)
    eventually(lambda: app.idle(queue))
    times = [at for _, at in seen]
    assert times[1] - times[0] >= 0.2
    assert times[2] - times[1] >= 0.2
    assert app.truth(queue).dead == 0


def test_a_dead_job_is_kept_listed_replayed_and_purged(rabbit_app: MakeApp, queue: str) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off", max_retries=0))
    is_broken, done = threading.Event(), []
    is_broken.set()

    def work(number: int) -> None:
        if is_broken.is_set():
            raise ValueError(f"no {number}")
        done.append(number)

    actor = app.actor(work, actor_name="work", queue_name=queue)
    for number in range(20):
        actor.send(number)
    app.work(threads=1)
    eventually(lambda: app.truth(queue).dead == 20)
    store = app.backend.dead_letters
    letters = list(store.letters(queue))
    assert [letter.args[0] for letter in letters] == list(range(20))
    first = letters[0]
    assert (first.death["reason"], first.death["exception"]) == ("exhausted", "builtins.ValueError")
    assert first.queue == queue and first.options["littleq"]["ready_at"] > 0
    (group,) = store.groups(queue)
    assert group.letters == 20
    assert list(store.letters(queue, until=letters[10].died_at)) == letters[:10]
    assert store.count(queue) == 20 and store.count(queue, actor="work") is None
    found = store.get(queue, letters[7].letter_id)
    assert found == letters[7]

    is_broken.clear()
    assert store.replay(queue, letters[3].letter_id)
    assert not store.replay(queue, letters[3].letter_id)
    # While one goes through the letters it has not taken them away from the other.
    replayed = [letter.args[0] for letter in store.letters(queue) if store.replay(queue, letter.letter_id)][
        :5
    ]
    assert replayed == [0, 1, 2, 4, 5]
    eventually(lambda: len(done) == 20)
    assert sorted(done) == list(range(20))
    eventually(lambda: app.truth(queue).dead == 0)


def test_purging_takes_what_is_named_and_keeps_the_others_in_order(
    rabbit_app: MakeApp, rabbit: RabbitServer, queue: str
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off", max_retries=0))
    actor = app.actor(lambda number: 1 / 0, actor_name="work", queue_name=queue)
    for number in range(6):
        actor.send(number)
    app.work(threads=1)
    eventually(lambda: app.truth(queue).dead == 6)
    store = app.backend.dead_letters
    ids = list(store.letter_ids(queue))
    assert store.purge(queue, [ids[1], ids[4], "nobody's"]) == 2
    # Reading takes letters in hand: a reader that is killed gives them back, and how often does not matter.
    for _ in range(5):
        with rabbit.channel() as channel:
            assert channel.basic_get(f"{queue}.XQ")[2] is not None
    eventually(lambda: app.truth(queue).dead == 4)
    assert [letter.args[0] for letter in store.letters(queue)] == [0, 2, 3, 5]
    assert store.expire(queue, 3600) == 0
    assert store.expire(queue, 0) == 4
    assert app.truth(queue).dead == 0


def test_all_letters_are_read_however_many_a_channel_may_hold(
    rabbit: RabbitServer, rabbit_app: MakeApp, queue: str
) -> None:
    """A quorum queue puts 2,000 into one consumer's hands."""
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    app.actor(lambda: None, actor_name="work", queue_name=queue)
    app.broker.declare_queue(queue, ensure=True)
    place = f"{queue}.XQ"
    numbers = range(2 * MOST_A_CHANNEL + 50)
    connection = pika.BlockingConnection(app.broker.parameters)
    channel = connection.channel()  # without confirms: it is quick
    for number in numbers:
        body = Message(queue, "work", (number,), {}, {}).encode()
        channel.basic_publish("", place, body, pika.BasicProperties(delivery_mode=2, message_id=str(number)))
    connection.close()
    letters = app.backend.dead_letters
    eventually(lambda: letters.count(queue) == len(numbers), what="all letters")
    assert sorted(letter.args[0] for letter in letters.letters(queue)) == list(numbers)
    eventually(lambda: letters.count(queue) == len(numbers), what="the return of all of them")


def test_what_cannot_be_read_or_has_no_actor_is_a_dead_letter(
    rabbit: RabbitServer, rabbit_app: MakeApp, queue: str
) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, admission="off")), []
    work = app.actor(seen.append, actor_name="work", queue_name=queue)
    app.broker.enqueue(Message(queue, "nobody", (1,), {}, {}))
    with rabbit.channel() as channel:
        channel.basic_publish("", queue, b"\xff no job")
    work.send(2)
    app.work(threads=1)
    eventually(lambda: seen == [2])
    eventually(lambda: app.truth(queue).dead == 2)
    reasons = {letter.actor: letter.death["reason"] for letter in app.backend.dead_letters.letters(queue)}
    assert reasons == {"nobody": "undeliverable", "?": "undeliverable"}
    eventually(lambda: app.idle(queue))


def test_a_fork_has_connections_of_its_own(rabbit_app: MakeApp, queue: str, in_fork: Any) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    work = app.actor(lambda number: None, actor_name="work", queue_name=queue)
    work.send(0)
    assert in_fork(lambda: [work.send(number).message_id for number in range(10)] and True)
    for number in range(10):
        work.send(number)
    assert app.truth(queue).ready == 21


def test_what_workers_hold_is_seen_by_the_management_api_only(rabbit_app: MakeApp, queue: str) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    go = threading.Event()
    app.actor(lambda: go.wait(30), actor_name="work", queue_name=queue).send()
    app.work(threads=1)
    eventually(lambda: app.truth(queue).in_flight == 1)
    assert app.backend.inspector.depths([queue]) == {queue: 1}
    assert "in_flight" in app.truth(queue).approximate
    assert queue in app.backend.inspector.queues()
    go.set()


def test_without_the_management_api_all_else_works(
    rabbit: RabbitServer, rabbit_app: MakeApp, queue: str
) -> None:
    url = f"amqp://guest:guest@127.0.0.1:{rabbit.port}/?management=http://127.0.0.1:1"
    app, seen = rabbit_app(SLAQueueConfig(queue, admission="off"), url=url), []
    work = app.actor(seen.append, actor_name="work", queue_name=queue)
    work.send(1)
    truth = app.truth(queue)
    assert (truth.ready, truth.in_flight, truth.oldest_age) == (1, 0, None)
    assert app.backend.inspector.queues() == {queue}
    began = time.monotonic()
    for _ in range(20):
        app.truth(queue)
    assert time.monotonic() - began < 10  # a failure is remembered
    app.work(threads=1)
    eventually(lambda: seen == [1])


def test_the_backend_knows_its_server(rabbit: RabbitServer, rabbit_app: MakeApp) -> None:
    app = rabbit_app()
    ping = app.backend.ping
    assert ping is not None
    ping()
    assert app.backend.serves(rabbit.url)
    assert not app.backend.serves("amqp://127.0.0.1:1")
    assert not app.backend.serves("redis://127.0.0.1")


def test_a_namespace_goes_before_every_name(rabbit: RabbitServer, rabbit_app: MakeApp, queue: str) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, admission="off"), namespace="shop"), []
    app.actor(seen.append, actor_name="work", queue_name=queue).send(1)
    with rabbit.channel() as channel:
        assert channel.queue_declare(f"shop.{queue}", passive=True).method.message_count == 1
    app.work(threads=1)
    eventually(lambda: seen == [1])
