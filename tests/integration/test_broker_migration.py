"""A fleet that migrates: plain Dramatiq, the stock extension and our broker on one queue, in both directions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dramatiq import Message, Worker
from dramatiq.brokers.redis import RedisBroker as PlainBroker
from redis import Redis

import littleq
from littleq.backends import backend_for
from littleq.config import SLAQueueConfig
from tests.support import App, OurApp, eventually

QUEUE = SLAQueueConfig(
    "q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=1
)


class PlainApp:
    """What an app looks like before LittleQ."""

    def __init__(self, url: str) -> None:
        import dramatiq

        self.broker = PlainBroker(
            client=Redis.from_url(url), heartbeat_timeout=2000, maintenance_chance=1_000_000
        )
        self.ran: list[Any] = []
        self.workers: list[Worker] = []

        def work(what: Any) -> None:
            self.ran.append(what)
            if what == "bad":
                raise RuntimeError(what)

        self.actor: Any = dramatiq.actor(
            work,
            broker=self.broker,
            actor_name="work",
            queue_name="q",
            max_retries=1,
            min_backoff=20,
            max_backoff=40,
        )

    def work(self) -> Worker:
        worker = Worker(self.broker, worker_timeout=20, worker_threads=2)
        worker.start()
        self.workers.append(worker)
        return worker


@pytest.fixture
def plain(valkey_url: str, redis_client: Any) -> Iterator[PlainApp]:
    app = PlainApp(valkey_url)
    yield app
    for worker in app.workers:
        worker.stop()


@pytest.fixture
def ours(our_app: Callable[..., OurApp]) -> OurApp:
    return with_work(our_app(QUEUE))


@pytest.fixture
def stock(make_app: Callable[..., App]) -> App:
    return with_work(make_app(QUEUE))


def with_work(app: Any) -> Any:
    app.ran = []

    def work(what: Any) -> None:
        app.ran.append(what)
        if what == "bad":
            raise RuntimeError(what)

    app.work_actor = app.actor(work, actor_name="work", queue_name="q")
    return app


def test_our_worker_runs_what_a_plain_producer_sends(plain: PlainApp, ours: OurApp) -> None:
    plain.actor.send("now")
    plain.actor.send_with_options(args=("later",), delay=100)
    plain.actor.send("bad")
    ours.work()
    ours.until(lambda: sorted(ours.ran) == ["bad", "bad", "later", "now"])
    ours.until(ours.idle)
    truth = ours.truth()
    assert truth.dead == 1
    assert truth.imbalance == 0, "a stranger joins the accounts when it is scheduled by us, or not at all"


def test_a_delayed_job_of_a_plain_producer_is_adopted_and_on_time(plain: PlainApp, ours: OurApp) -> None:
    due = time.time() + 0.4
    plain.actor.send_with_options(args=("later",), delay=400)
    assert ours.broker.adopt_delayed("q") == 1
    assert (ours.truth().delayed, ours.truth().accounts.admitted) == (1, 1)
    assert ours.broker.cancel("q", "nobody") == 0
    ours.work()
    ours.until(lambda: ours.ran == ["later"])
    assert time.time() >= due - 0.002
    ours.until(ours.idle)
    assert ours.truth().imbalance == 0


def test_an_adopted_job_can_be_cancelled(plain: PlainApp, ours: OurApp) -> None:
    sent = plain.actor.send_with_options(args=("later",), delay=60_000)
    ours.broker.adopt_delayed("q")
    assert ours.broker.cancel("q", sent.message_id) == 1
    assert (ours.truth().delayed, ours.truth().imbalance) == (0, 0)


def test_an_undecodable_delayed_job_is_dead_lettered_as_it_is(plain: PlainApp, ours: OurApp) -> None:
    ours.client.hset("dramatiq:q.DQ.msgs", "junk", b"\x00")
    ours.client.rpush("dramatiq:q.DQ", "junk")
    assert ours.broker.adopt_delayed("q") == 1
    assert ours.client.hget("dramatiq:q.XQ.msgs", "junk") == b"\x00"
    assert ours.truth().delayed == 0


def test_a_plain_worker_runs_what_our_producer_sends(plain: PlainApp, ours: OurApp) -> None:
    ours.work_actor.send("now")
    littleq.send_many([ours.work_actor.message(number) for number in range(3)], broker=ours.broker)
    plain.work()
    eventually(lambda: sorted(map(str, plain.ran)) == ["0", "1", "2", "now"])


def test_what_our_producer_delays_waits_for_a_worker_of_ours(plain: PlainApp, ours: OurApp) -> None:
    """Documented: workers first, producers second."""
    ours.work_actor.send_with_options(args=("later",), delay=10)
    plain.work()
    ours.work_actor.send("now")
    eventually(lambda: plain.ran == ["now"])
    assert ours.client.zcard("littleq:dramatiq:q:schedule") == 1
    ours.work()
    ours.until(lambda: plain.ran + ours.ran == ["now", "later"])


def test_both_kinds_of_workers_share_a_queue(plain: PlainApp, ours: OurApp) -> None:
    plain.work()
    ours.work()
    for number in range(100):
        plain.actor.send(number)
        ours.work_actor.send(100 + number)
    ours.until(lambda: len(plain.ran) + len(ours.ran) >= 200)
    assert sorted(plain.ran + ours.ran) == list(range(200))
    ours.until(lambda: ours.client.hlen("dramatiq:q.msgs") == 0)


def test_our_watchers_bring_back_what_a_dead_plain_worker_held(plain: PlainApp, ours: OurApp) -> None:
    plain.actor.send(1)
    plain.actor.send_with_options(args=(2,), delay=50)
    plain.broker.do_fetch("q", 1)
    plain.broker.do_fetch("q.DQ", 1)
    assert ours.client.llen("dramatiq:q") == 0
    ours.broker.fetch("q", 1, 0, [])  # a queue of ours from now on
    ours.everyone_else_is_dead()
    assert ours.client.llen("dramatiq:q") == 1
    ours.work()
    ours.until(lambda: sorted(ours.ran) == [1, 2])


def test_plain_maintenance_brings_back_what_our_dead_worker_held(plain: PlainApp, ours: OurApp) -> None:
    """A fleet that went back to plain Dramatiq: nothing of ours is left to notice."""
    ours.work_actor.send(1)
    assert len(ours.broker.fetch("q", 1, 0, [])[1]) == 1
    ours.client.zadd("dramatiq:__heartbeats__", {ours.broker.broker_id: 1})
    plain.broker.do_qsize("q")
    assert ours.client.llen("dramatiq:q") == 1
    plain.work()
    eventually(lambda: plain.ran == [1])


def test_a_dead_letter_of_either_is_replayed_by_the_other(plain: PlainApp, ours: OurApp) -> None:
    worker = plain.work()
    plain.actor.send("bad")
    eventually(lambda: ours.truth().dead == 1)
    worker.stop()
    store = backend_for(ours.broker).dead_letters
    (letter,) = store.letters("q")
    assert store.replay("q", letter.letter_id)
    ours.work()
    ours.until(lambda: ours.ran == ["bad", "bad"])
    ours.until(lambda: ours.truth().dead == 1)
    assert ours.truth().imbalance == 0


def test_the_stock_extension_and_our_broker_share_a_queue_and_its_accounts(stock: App, ours: OurApp) -> None:
    stock.work()
    ours.work()
    for number in range(50):
        stock.work_actor.send(number)
        ours.work_actor.send(50 + number)
    stock.work_actor.send_with_options(args=(100,), delay=50)
    ours.work_actor.send_with_options(args=(101,), delay=50)
    stock.work_actor.send("bad")
    ours.work_actor.send("bad")
    ours.until(lambda: len(set(map(str, stock.ran + ours.ran))) == 103)
    ours.until(ours.idle)
    truth = ours.truth()
    assert (truth.accounts.admitted, truth.accounts.done, truth.dead) == (104, 102, 2)
    assert truth.imbalance == 0


def test_workers_of_the_stock_extension_run_what_our_producers_delay(stock: App, ours: OurApp) -> None:
    ours.work_actor.send_with_options(args=("later",), delay=50)
    stock.work()
    eventually(lambda: stock.ran == ["later"])
    ours.until(ours.idle)
    assert ours.truth().imbalance == 0


def test_a_due_time_that_an_app_wrote_itself_is_kept_on_the_server(ours: OurApp) -> None:
    """Plain Dramatiq holds such a job in the memory of whichever worker fetched it."""
    due = int(time.time() * 1000) + 300
    ours.broker.enqueue(Message("q", "work", ("eta",), {}, {"eta": due}))
    ours.work()
    ours.until(lambda: ours.ran == ["eta"])
    assert time.time() * 1000 >= due - 2
    ours.until(ours.idle)
    assert ours.truth().imbalance == 0
