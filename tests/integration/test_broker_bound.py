"""The bound is the bound: judged in the step that enqueues, however many producers there are."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import Any

import dramatiq
import pytest

import littleq
from littleq.backends import backend_for
from littleq.backends.redis.broker import RedisBroker
from littleq.config import SLAQueueConfig
from tests.support import ROOT, OurApp

PRODUCERS, SENDS, LIMIT = 8, 5000, 1000


#: Sends when it is told to, and prints how many were admitted and how many were shed.
PRODUCER = """
import sys
import dramatiq, littleq
from littleq.backends.redis.broker import RedisBroker
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger

url, how, sends, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
broker = RedisBroker(url=url)
queue = SLAQueueConfig("q", arrival_rate=limit, sla_seconds=1)
littleq.install(broker, Config(url=url, queues={"q": queue}, exporter_enabled=False), ledger=MemoryLedger())
message = lambda: dramatiq.Message("q", "actor", (), {}, {})
print("ready", flush=True)
sys.stdin.readline()
admitted = shed = 0
if how == "send_many":
    for _ in range(sends // 500):
        outcomes = [sent.outcome for sent in littleq.send_many([message() for _ in range(500)], broker=broker)]
        admitted += outcomes.count("admitted")
        shed += outcomes.count("shed")
else:
    for _ in range(sends):
        try:
            broker.enqueue(message())
            admitted += 1
        except littleq.Overloaded as refused:
            assert refused.depth >= refused.limit == limit, refused
            shed += 1
print(admitted, shed)
"""


def message() -> dramatiq.Message[None]:
    return dramatiq.Message("q", "actor", (), {}, {})


@pytest.mark.parametrize("how", ["send", "send_many"])
def test_eight_processes_that_send_five_thousand_each_get_a_thousand_in(
    valkey_url: str, redis_client: Any, how: str
) -> None:
    command = [sys.executable, "-c", PRODUCER, valkey_url, how, str(SENDS), str(LIMIT)]
    producers = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(PRODUCERS)
    ]
    for producer in producers:
        assert producer.stdout is not None
        assert producer.stdout.readline() == "ready\n"
    deepest, done = 0, threading.Event()

    def look() -> None:
        nonlocal deepest
        while not done.wait(0.001):
            deepest = max(deepest, redis_client.hlen("dramatiq:q.msgs"))

    looking = threading.Thread(target=look)
    looking.start()
    for producer in producers:
        assert producer.stdin is not None
        producer.stdin.write("go\n")
        producer.stdin.flush()
    counts = [[int(count) for count in producer.communicate()[0].split()] for producer in producers]
    done.set()
    looking.join()
    assert sum(admitted for admitted, _ in counts) == LIMIT
    assert sum(shed for _, shed in counts) == PRODUCERS * SENDS - LIMIT
    assert deepest == LIMIT
    truth = backend_for(RedisBroker(url=valkey_url)).inspector.truth(["q"])["q"]
    assert truth.accounts is not None
    assert (truth.ready, truth.accounts.admitted, truth.imbalance) == (LIMIT, LIMIT, 0)


def limited(jobs: int, **settings: Any) -> SLAQueueConfig:
    return SLAQueueConfig("q", arrival_rate=jobs, sla_seconds=1, **settings)


def test_a_limit_that_changes_while_producers_run_holds_from_the_next_send(our_app: Any) -> None:
    small, large = our_app(limited(2)), our_app(limited(4))
    for app in (small, large):
        app.broker.declare_queue("q")
    for _ in range(2):
        small.broker.enqueue(message())
    with pytest.raises(littleq.Overloaded):
        small.broker.enqueue(message())
    for _ in range(2):
        large.broker.enqueue(message())
    with pytest.raises(littleq.Overloaded) as refused:
        large.broker.enqueue(message())
    assert (refused.value.depth, refused.value.limit) == (4, 4)


def test_retries_due_jobs_and_recovered_ones_are_never_refused(our_app: Any) -> None:
    app = our_app(limited(1, min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=1))
    ran: list[int] = []

    def work(number: int) -> None:
        ran.append(number)
        if ran.count(number) == 1:
            raise RuntimeError(number)

    actor = app.actor(work, queue_name="q")
    actor.send_with_options(args=(1,), delay=50)
    actor.send(2)  # the queue is full now
    app.work()
    app.until(lambda: sorted(ran) == [1, 1, 2, 2])
    app.until(app.idle)
    assert app.truth().imbalance == 0


def test_each_criticality_is_refused_at_its_share(our_app: Any) -> None:
    app = our_app(limited(4, criticality_shares={"sheddable": 0.5}))
    actor = app.actor(lambda: None, actor_name="work", queue_name="q")
    for _ in range(2):
        actor.send_with_options(criticality="sheddable")
    with pytest.raises(littleq.Overloaded):
        actor.send_with_options(criticality="sheddable")
    for _ in range(2):
        actor.send_with_options(criticality="critical")
    with pytest.raises(littleq.Overloaded):
        actor.send_with_options(criticality="critical")


def test_what_finds_no_room_is_deferred_in_the_same_round_trip(our_app: Any) -> None:
    app = our_app(limited(1, on_overload="defer"))
    actor = app.actor(lambda: None, actor_name="work", queue_name="q")
    actor.send()
    with app.round_trips() as asked:
        sent = actor.send()
    assert len(asked) == 1
    truth = app.truth()
    assert (truth.ready, truth.delayed, truth.imbalance) == (1, 1, 0)
    assert sent.queue_name == "q"
    app.work()
    app.until(app.idle)


def test_deferred_jobs_line_up_and_do_not_come_back_all_at_once(our_app: Any) -> None:
    app = our_app(limited(1, on_overload="defer"))
    actor = app.actor(lambda: None, actor_name="work", queue_name="q")
    littleq.send_many([actor.message() for _ in range(4)], broker=app.broker)
    dues = [due for _, due in app.client.zrange("littleq:dramatiq:q:schedule", 0, -1, withscores=True)]
    assert len(dues) == 3
    assert all(later - sooner >= 1000 for sooner, later in pairwise(dues)), dues


def test_what_finds_no_room_is_diverted_until_that_queue_is_full_too(our_app: Any) -> None:
    app = our_app(
        limited(1, on_overload="divert", divert_to="other"),
        SLAQueueConfig("other", arrival_rate=2, sla_seconds=1),
    )
    actor = app.actor(lambda: None, actor_name="work", queue_name="q")
    outcomes = [
        found.outcome for found in littleq.send_many([actor.message() for _ in range(4)], broker=app.broker)
    ]
    assert outcomes == ["admitted", "diverted", "diverted", "shed"]
    with pytest.raises(littleq.Overloaded) as refused:
        actor.send()
    assert refused.value.queue == "q"
    assert app.truth("other").ready == 2


def test_a_group_is_let_in_whole_or_not_at_all_in_one_round_trip(our_app: Any) -> None:
    app = our_app(limited(3))
    actor = app.actor(lambda *_: None, actor_name="work", queue_name="q")
    with app.round_trips() as asked:
        dramatiq.group([actor.message() for _ in range(2)], broker=app.broker).run()
    assert len(asked) == 1
    with pytest.raises(littleq.Overloaded) as refused:
        dramatiq.group([actor.message() for _ in range(2)], broker=app.broker).run()
    assert refused.value.jobs == 2
    assert app.truth().ready == 2
    dramatiq.group([actor.message() | actor.message()], broker=app.broker).run(delay=1)
    app.work()
    app.until(lambda: app.truth().accounts.done == 4)


def test_a_group_that_is_deferred_or_diverted_stays_together(our_app: Any) -> None:
    app = our_app(
        limited(1, on_overload="divert", divert_to="other"), SLAQueueConfig("other", admission="off")
    )
    actor = app.actor(lambda: None, actor_name="work", queue_name="q")
    dramatiq.group([actor.message() for _ in range(3)], broker=app.broker).run()
    assert (app.truth().ready, app.truth("other").ready) == (0, 3)


def test_a_batch_is_one_round_trip_and_tells_of_each_message(our_app: Any) -> None:
    app: OurApp = our_app(limited(3))
    actor = app.actor(lambda number: None, actor_name="work", queue_name="q")
    with app.round_trips() as asked:
        sent = littleq.send_many([actor.message(number) for number in range(5)], broker=app.broker)
    assert len(asked) == 1
    assert [found.outcome for found in sent] == ["admitted"] * 3 + ["shed"] * 2
    assert isinstance(sent[4].error, littleq.Overloaded)
    assert sent[4].error.retry_after > 0
    later = littleq.send_many([actor.message(9)], delay=60_000, broker=our_app(limited(9)).broker)
    assert later[0].message.options["eta"] > time.time() * 1000 + 50_000
    assert app.truth().delayed == 1


def test_a_batch_without_the_stack_is_refused_in_one_sentence(valkey_url: str) -> None:
    with pytest.raises(littleq.ConfigurationError, match=r"littleq\.install\(broker\) first"):
        littleq.send_many([message()], broker=RedisBroker(url=valkey_url))
