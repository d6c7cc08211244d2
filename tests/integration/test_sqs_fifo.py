"""FIFO queues of SQS (moto's server): order in each group, delays beside it, dead letters."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable

import pytest
from dramatiq.errors import Retry

from littleq.backends.sqs import SQSError
from littleq.config import SLAQueueConfig
from tests.brokers.sqs import SQSApp
from tests.support import eventually

Make = Callable[..., SQSApp]
NAME = "orders.fifo"
QUEUE = SLAQueueConfig(
    NAME, admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=1
)


def test_each_group_runs_one_by_one_in_order(sqs_app: Make) -> None:
    ran: defaultdict[str, list[int]] = defaultdict(list)
    running: defaultdict[str, int] = defaultdict(int)
    together: set[str] = set()
    lock = threading.Lock()

    def work(group: str, number: int) -> None:
        with lock:
            running[group] += 1
            if running[group] > 1:
                together.add(group)
            ran[group].append(number)
        time.sleep(0.01)
        with lock:
            running[group] -= 1

    apps = [sqs_app(QUEUE) for _ in range(2)]
    actors = [app.actor(work, actor_name="a", queue_name=NAME) for app in apps]
    for number in range(6):
        for group in ("red", "green"):
            actors[0].send_with_options(args=(group, number), message_group_id=group)
    for app in apps:
        app.work(threads=4)
    eventually(lambda: sum(map(len, ran.values())) == 12)
    assert dict(ran) == {"red": list(range(6)), "green": list(range(6))}
    assert not together
    eventually(lambda: apps[0].idle(NAME))


def test_a_delayed_job_and_a_retry_go_behind_and_nothing_runs_twice(sqs_app: Make) -> None:
    ran: list[str] = []

    def work(name: str) -> None:
        ran.append(name)
        if ran == ["fails"]:
            raise Retry("later", delay=700)

    app = sqs_app(QUEUE)
    actor = app.actor(work, actor_name="a", queue_name=NAME, message_group_id="one")
    actor.send_with_options(args=("late",), delay=1500)
    actor.send("fails")
    actor.send("second")
    assert app.truth(NAME).delayed == 1
    app.work()
    eventually(lambda: len(ran) == 4)
    assert ran[:2] == ["fails", "second"]
    assert sorted(ran[2:]) == ["fails", "late"]
    eventually(lambda: app.idle(NAME))
    assert len(ran) == 4


def test_a_dead_letter_of_a_fifo_queue_comes_back_and_an_id_of_the_apps_drops_a_copy(sqs_app: Make) -> None:
    ran: list[str] = []

    def work(name: str) -> None:
        ran.append(name)
        if len(ran) == 1:
            raise ValueError

    app = sqs_app(QUEUE)
    actor = app.actor(work, actor_name="a", queue_name=NAME, max_retries=0)
    for _ in range(2):
        actor.send_with_options(args=("x",), message_deduplication_id="order-7")
    app.work()
    eventually(lambda: app.truth(NAME).dead == 1 and app.idle(NAME))
    (letter,) = app.backend.dead_letters.letters(NAME)
    assert app.backend.dead_letters.replay(NAME, letter.letter_id)
    eventually(lambda: len(ran) == 2)
    eventually(lambda: app.idle(NAME))
    assert ran == ["x", "x"]
    assert app.truth(NAME).dead == 0
    assert app.backend.inspector.queues() == {NAME}


def test_what_is_given_back_takes_those_behind_it_along(sqs_app: Make) -> None:
    app = sqs_app(QUEUE, visibility=60)
    actor = app.actor(lambda number: None, actor_name="a", queue_name=NAME)
    for number in range(3):
        actor.send(number)
    consumer = app.broker.consume(NAME, prefetch=4, timeout=300)
    first = eventually(lambda: next(consumer), what="the first job")
    assert next(consumer) is None, "of one group one runs at a time"
    consumer.requeue([first])
    order = []
    for _ in range(3):
        found = eventually(lambda: next(consumer), what="a job")
        order.append(found.args[0])
        consumer.ack(found)
    assert order == [0, 1, 2]


def test_a_group_that_sqs_does_not_take_is_refused(sqs_app: Make) -> None:
    app = sqs_app(QUEUE)
    actor = app.actor(lambda: None, actor_name="a", queue_name=NAME)
    with pytest.raises(SQSError, match="Option message_group_id is 'a b': it must be 1 to 128 visible ASCII"):
        actor.send_with_options(message_group_id="a b")
