"""A waiting worker gets a job at once, one worker is woken per job, no wake-up is lost; a due job is on time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from dramatiq import Message
from redis import Redis

from littleq.backends.redis.broker import RedisBroker


class Waiter(threading.Thread):
    """A consumer that waits in a thread, and keeps what it got. `timeout` is much longer than any of these tests."""

    def __init__(self, url: str, prefetch: int = 1, **options: Any) -> None:
        super().__init__(daemon=True)
        self.broker = RedisBroker(client=Redis.from_url(url), middleware=[], watch=False, **options)
        self.consumer: Any = self.broker.consume("q", prefetch=prefetch, timeout=60_000)
        self.got: list[Any] = []
        self.at: list[float] = []
        self.turns = 0
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            message = next(self.consumer)
            self.turns += 1
            if message is not None:
                self.at.append(time.time())
                self.got.append(message)


@pytest.fixture
def waiters(valkey_url: str, redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts consumers that wait for a minute: whatever comes in time came by a wake-up and not by looking."""
    monkeypatch.setattr("littleq.backends.redis.consumer.LONGEST_WAIT_SECONDS", 60.0)
    made: list[Waiter] = []

    def start(count: int, **options: Any) -> list[Waiter]:
        new = [Waiter(valkey_url, **options) for _ in range(count)]
        made.extend(new)
        for waiter in new:
            waiter.start()
        until(lambda: redis_client.zcard("littleq:dramatiq:q:waiting") == len(made))
        return new

    yield start
    for waiter in made:
        waiter.stopping = True
        for got in waiter.got:  # it may wait for room
            waiter.consumer.ack(got)

    def has_ended(waiter: Waiter) -> bool:
        redis_client.rpush(waiter.broker.wake_key("q"), 1)
        return not waiter.is_alive()

    for waiter in made:
        until(lambda waiter=waiter: has_ended(waiter))
        waiter.consumer.close()
        waiter.broker.close()


def until(check: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def producer(valkey_url: str) -> RedisBroker:
    return RedisBroker(client=Redis.from_url(valkey_url), middleware=[], watch=False)


def message(number: int = 0) -> Message[None]:
    return Message("q", "actor", (number,), {}, {})


def test_one_waiting_worker_is_woken_for_each_job(waiters: Any, producer: RedisBroker) -> None:
    idle = waiters(4)
    before = producer.client.info("commandstats")["cmdstat_lpop"]["calls"]
    producer.enqueue(message())
    until(lambda: sum(len(waiter.got) for waiter in idle) == 1)
    assert sorted(waiter.turns for waiter in idle) == [0, 0, 0, 2]  # woken, and then the job
    assert producer.client.info("commandstats")["cmdstat_lpop"]["calls"] - before == 1, "one fetch"


def test_as_many_workers_are_woken_as_there_are_jobs(waiters: Any, producer: RedisBroker) -> None:
    idle = waiters(4)
    for number in range(3):
        producer.enqueue(message(number))
    until(lambda: sum(len(waiter.got) for waiter in idle) == 3)
    assert sorted(len(waiter.got) for waiter in idle) == [0, 1, 1, 1]


def test_no_wake_up_is_lost_when_jobs_come_while_workers_go_to_sleep(
    waiters: Any, producer: RedisBroker
) -> None:
    idle = waiters(3, prefetch=100)
    for number in range(500):
        producer.enqueue(message(number))
        for waiter in idle:
            for done in waiter.got[:]:
                waiter.consumer.ack(done)
                waiter.got.remove(done)
    until(lambda: producer.client.hlen("dramatiq:q.msgs") - sum(len(waiter.got) for waiter in idle) == 0)
    assert producer.client.llen("dramatiq:q") == 0


def test_a_token_waits_for_a_worker_that_does_not_block_yet(valkey_url: str, redis_client: Any) -> None:
    """Between the fetch that found nothing and the wait there is time for a job to come."""
    waiter = Waiter(valkey_url)
    wait, _, _ = waiter.broker.fetch("q", 1, 60.0, [])
    assert wait == 60.0
    waiter.broker.enqueue(message())
    assert waiter.consumer._bell.wait(5.0)


def test_a_wait_that_ends_leaves_the_bell_in_place(valkey_url: str, redis_client: Any) -> None:
    waiter = Waiter(valkey_url)
    assert not waiter.consumer._bell.wait(0.0)
    waiter.broker.fetch("q", 1, 60.0, [])
    waiter.broker.enqueue(message())
    assert waiter.consumer._bell.wait(5.0)
    assert redis_client.info("commandstats")["cmdstat_blpop"]["calls"] >= 1


def test_the_job_of_a_worker_that_was_woken_and_killed_wakes_another(
    waiters: Any, producer: RedisBroker, valkey_url: str
) -> None:
    (idle,) = waiters(1)
    killed = RedisBroker(client=Redis.from_url(valkey_url), middleware=[], watch=False)
    killed.fetch("q", 1, 120.0, [])  # it would sleep longest, so it is woken first
    producer.enqueue(message())
    assert producer.client.llen(killed.wake_key("q")) == 1
    producer.bury(killed.broker_id)
    until(lambda: len(idle.got) == 1)


def test_a_worker_that_leaves_passes_its_wake_up_on(
    waiters: Any, producer: RedisBroker, valkey_url: str
) -> None:
    (idle,) = waiters(1)
    leaving = Waiter(valkey_url)
    leaving.broker.fetch("q", 1, 120.0, [])
    producer.enqueue(message())
    leaving.consumer.close()
    until(lambda: len(idle.got) == 1)


@pytest.mark.parametrize("workers", [1, 8])
def test_a_delayed_job_wakes_a_worker_when_it_is_due(
    waiters: Any, producer: RedisBroker, workers: int
) -> None:
    idle = waiters(workers)
    due = {}
    for number, delay in enumerate((150, 300, 80)):
        due[number] = time.time() + delay / 1000
        producer.enqueue(message(number), delay=delay)
    until(lambda: sum(len(waiter.got) for waiter in idle) == 3 or workers == 1)
    if workers == 1:  # its prefetch is one: the others wait until it has room
        until(lambda: len(idle[0].got) == 1)
        assert idle[0].got[0].args == (2,)
    for waiter in idle:
        for got, at in zip(waiter.got, waiter.at, strict=True):
            assert at >= due[got.args[0]] - 0.002, "never before its time"


def test_few_of_many_idle_workers_wake_for_a_due_time(waiters: Any, producer: RedisBroker) -> None:
    idle = waiters(10)
    producer.enqueue(message(), delay=200)
    until(lambda: sum(len(waiter.got) for waiter in idle) == 1)
    time.sleep(0.05)  # those that stand in for the first wake within it
    assert sum(waiter.turns for waiter in idle) <= 6


def test_a_job_that_is_due_sooner_is_not_slept_through(waiters: Any, producer: RedisBroker) -> None:
    (idle,) = waiters(1, prefetch=4)
    for number, delay in enumerate((30_000, 2_000, 100)):
        producer.enqueue(message(number), delay=delay)
    until(lambda: [got.args for got in idle.got] == [(2,)], seconds=1.5)


def test_jobs_of_a_plain_producer_are_seen_within_a_second(valkey_url: str, redis_client: Any) -> None:
    from dramatiq.brokers.redis import RedisBroker as PlainBroker

    waiter = Waiter(valkey_url)
    waiter.start()
    until(lambda: redis_client.zcard("littleq:dramatiq:q:waiting") == 1)
    PlainBroker(client=redis_client, middleware=[]).enqueue(message())
    sent = time.monotonic()
    until(lambda: len(waiter.got) == 1)
    assert time.monotonic() - sent < 2.5  # a bound far above the second that it waits at most
    waiter.stopping = True


def test_pause_is_effective_at_once_and_resume_wakes(waiters: Any, producer: RedisBroker) -> None:
    (idle,) = waiters(1)
    assert producer.pause("q")
    for number in range(3):
        producer.enqueue(message(number))
    until(lambda: producer.client.zcard("littleq:dramatiq:q:waiting") == 1)
    assert idle.got == []
    assert producer.resume("q")
    until(lambda: len(idle.got) == 1)


def test_the_fleet_holds_no_more_than_its_bound_and_a_freed_place_wakes_somebody(
    waiters: Any, producer: RedisBroker
) -> None:
    idle = waiters(3, prefetch=4)
    for waiter in idle:
        waiter.broker.global_concurrency = {"q": 2}
    for number in range(5):
        producer.enqueue(message(number))

    def held() -> list[tuple[Waiter, Any]]:
        return [(waiter, got) for waiter in idle for got in waiter.got]

    for left in (5, 4, 3):
        until(lambda: len(held()) == 2)
        assert producer.client.llen("dramatiq:q") == left - 2
        waiter, got = held()[0]
        waiter.got.remove(got)
        waiter.consumer.ack(got)


def test_a_killed_holder_frees_its_share_of_the_fleet(
    waiters: Any, producer: RedisBroker, valkey_url: str
) -> None:
    killed = RedisBroker(client=Redis.from_url(valkey_url), middleware=[], watch=False)
    killed.global_concurrency = {"q": 1}
    producer.enqueue(message(1))
    assert len(killed.fetch("q", 1, 0, [])[1]) == 1
    (idle,) = waiters(1)
    idle.broker.global_concurrency = {"q": 1}
    producer.enqueue(message(2))
    producer.bury(killed.broker_id)
    until(lambda: [got.args for got in idle.got] == [(1,)])
