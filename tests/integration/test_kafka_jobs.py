"""Jobs on Kafka, from their send to their end; against tansu."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from dramatiq import Message

from littleq import job, passage
from littleq.backends.base import Sending
from littleq.backends.kafka.sending import Outgoing
from littleq.config import SLAQueueConfig
from littleq.ledger import fields
from littleq.middleware import SLATimer
from tests.brokers.kafka import KafkaApp, kafka_app, kafka_server, kafka_url
from tests.support import eventually

__all__ = ["kafka_app", "kafka_server", "kafka_url"]
Make = Callable[..., KafkaApp]
FAST = SLAQueueConfig("q", admission="off", max_retries=1, min_backoff_seconds=0.02, max_backoff_seconds=0.1)


@pytest.fixture(scope="module")
def shared(kafka_url: str) -> Iterator[KafkaApp]:
    """One app whose worker runs for all tests that need nothing special: joining a group takes seconds."""
    app = KafkaApp(kafka_url, FAST, namespace="shared")
    app.done = []  # type: ignore[attr-defined]
    app.notes = []  # type: ignore[attr-defined]
    app.actor(app.done.append, actor_name="note", queue_name="q")  # type: ignore[attr-defined]

    def fail(why: str) -> None:
        app.notes.append(why)  # type: ignore[attr-defined]
        raise ValueError(why)

    app.actor(fail, actor_name="fail", queue_name="q")
    app.work(threads=4)
    yield app
    app.close()


def letters(app: KafkaApp) -> list[Any]:
    return list(app.backend.dead_letters.letters("q"))


def test_jobs_run_once_and_the_queue_is_empty_then(shared: Any) -> None:
    note = shared.broker.get_actor("note")
    for number in range(30):
        note.send(number)
    receipts = shared.broker.enqueue_many([Sending(note.message(number)) for number in range(30, 60)])
    assert [receipt.outcome for receipt in receipts] == ["in"] * 30
    eventually(lambda: len(shared.done) >= 60, what="all jobs")
    eventually(shared.idle, what="an empty queue")
    assert sorted(shared.done) == list(range(60))
    shared.done.clear()


def test_a_job_that_fails_is_retried_and_dies_with_its_reason(shared: Any) -> None:
    shared.broker.get_actor("fail").send("no luck")
    (letter,) = eventually(lambda: letters(shared), what="a dead letter")
    assert shared.notes == ["no luck"] * 2, "an attempt and a retry"
    assert (letter.actor, letter.args, letter.death["reason"]) == ("fail", ("no luck",), "exhausted")
    assert abs(letter.died_at - time.time()) < 60
    assert [group.letters for group in shared.backend.dead_letters.groups("q")] == [1]
    store = shared.backend.dead_letters
    assert store.get("q", letter.letter_id).message_id == letter.message_id
    assert store.get("q", "0-0-0") is None

    shared.notes.clear()
    assert store.replay("q", letter.letter_id)
    assert not store.replay("q", letter.letter_id), "it is not there any more"
    (again,) = eventually(lambda: letters(shared), what="its second death")
    assert shared.notes == ["no luck"] * 2, "a full set of attempts"
    assert again.letter_id != letter.letter_id
    assert store.whereabouts("q", [again]) == {again.letter_id: "dead"}
    assert store.purge("q", [again.letter_id, "0-0-0"]) == 1
    assert letters(shared) == [] and shared.truth().dead == store.count("q") == 0
    gone = {again.letter_id: "gone"}
    eventually(lambda: store.whereabouts("q", [again]) == gone, what="the commit that says so")
    shared.notes.clear()


def test_what_nobody_can_read_or_run_is_kept(shared: Any) -> None:
    topic = shared.broker.topics.names.topic("q")
    shared.broker.outbox.send([Outgoing(topic, b"\xff no JSON", b"key")])
    shared.broker.enqueue(Message("q", "nobody", (), {}, {}))
    found = eventually(lambda: len(letters(shared)) == 2 and letters(shared), what="two dead letters")
    assert {letter.death["reason"] for letter in found} == {"undeliverable"}
    assert {letter.actor for letter in found} == {"?", "nobody"}
    (unreadable,) = [letter.letter_id for letter in found if letter.actor == "?"]
    stored = shared.backend.dead_letters._index("q").get(unreadable)
    assert stored.value() == b"\xff no JSON"
    assert dict(stored.headers())["littleq-reason"] == b"undeliverable"
    assert dict(stored.headers())["littleq-origin"].startswith(topic.encode())
    assert shared.backend.dead_letters.expire("q", 3600) == 0
    assert shared.backend.dead_letters.expire("q", -3600) == 2, "both are older than an hour from now"
    eventually(shared.idle, what="an empty queue")


def test_delayed_jobs_run_when_they_are_due(shared: Any) -> None:
    """Through a tier and without; one with a due time of the app's own too."""
    note = shared.broker.get_actor("note")
    started = time.time()
    waits = [1.4, 0.2, 0.6]
    for wait in waits:
        note.send_with_options(args=(wait,), delay=round(wait * 1000))
    own = note.message_with_options(args=(0.4,), eta=round((started + 0.4) * 1000))
    shared.broker.enqueue(own)
    assert shared.truth().delayed >= 2
    ran: dict[float, float] = {}

    def watch() -> bool:
        for wait in shared.done[len(ran) :]:
            ran[wait] = time.time() - started
        return len(ran) == 4

    eventually(watch, what="all delayed jobs")
    assert list(ran) == sorted(ran)
    for wait, after in ran.items():
        assert wait - 0.005 <= after < wait + 1.5
    eventually(shared.idle, what="an empty queue")
    shared.done.clear()


def test_jobs_of_a_key_run_in_their_order_one_at_a_time(kafka_app: Make) -> None:
    app = kafka_app(FAST)
    ran: list[tuple[str, int]] = []
    busy: set[str] = set()

    def work(key: str, number: int) -> None:
        assert key not in busy, "two at a time"
        busy.add(key)
        time.sleep(0.002 if number % 3 else 0.01)
        ran.append((key, number))
        busy.discard(key)

    actor = app.actor(work, actor_name="work", queue_name="q", max_retries=0)
    messages = [
        actor.message_with_options(args=(key, number), partition_key=key)
        for number in range(12)
        for key in "abcde"
    ]
    app.broker.enqueue_many([Sending(message) for message in messages])
    app.work(threads=8)
    eventually(lambda: len(ran) + app.truth().dead >= 60, what="all jobs")
    for key in "abcde":
        assert [number for name, number in ran if name == key] == list(range(12))


def test_a_closed_consumer_keeps_its_partitions_while_jobs_run(kafka_app: Make) -> None:
    """A drain closes it before the jobs end; without its partitions they would run again elsewhere meanwhile."""
    app = kafka_app(FAST)
    actor = app.actor(lambda number: None, actor_name="a", queue_name="q")
    for number in range(3):
        actor.send_with_options(args=(number,), partition_key="k")
    consumer = app.broker.consume("q", prefetch=2, timeout=200)
    message = eventually(lambda: next(consumer), what="a job")
    assert next(consumer) is None, "the next one of its key waits"
    consumer.fetch_no_more()
    consumer.close()
    station = app.broker.station("q")
    assert message.record.part.alive and station._keeper is not None
    consumer.ack(message)
    eventually(lambda: station._consumer is None, what="the end of its keeper")
    assert not message.record.part.alive
    assert app.truth().number_in_system == 2, "the ack was committed, and the others are there"


def test_what_goes_back_comes_again_and_what_is_lost_is_not_retried(kafka_app: Make) -> None:
    app = kafka_app(FAST)
    actor = app.actor(lambda number: None, actor_name="a", queue_name="q")
    for number in range(3):
        actor.send_with_options(args=(number,), partition_key="k")
    consumer = app.broker.consume("q", prefetch=2, timeout=200)
    message = eventually(lambda: next(consumer), what="a job")
    consumer.requeue([message])
    again = eventually(lambda: next(consumer), what="the same job")
    assert again.args == message.args == [0] or again.args == (0,)
    consumer.hand_back()
    with passage.rescheduling(again):
        app.broker.enqueue(again, delay=10)
    consumer.nack(again)
    assert (app.truth().delayed, app.truth().dead) == (0, 0), (
        "it runs again anyway: a retry would be a second job"
    )
    assert app.truth().number_in_system == 3


def test_jobs_that_may_have_been_handed_out_before_are_said_to_be(shared: Any) -> None:
    seen = []
    timer = next(each for each in shared.broker.middleware if isinstance(each, SLATimer))
    before = timer.before_process_message

    def look(broker: Any, message: Any) -> None:
        seen.append(job.noted(message, "redelivered"))
        before(broker, message)

    timer.before_process_message = look
    try:
        shared.broker.get_actor("note").send(1)
        eventually(lambda: seen, what="a job")
    finally:
        timer.before_process_message = before
    assert seen == ["perhaps"], "this young partition has no thousand jobs behind it"
    shared.done.clear()


def test_letters_that_have_expired_count_as_purged(kafka_app: Make) -> None:
    app = kafka_app(replace(FAST, max_retries=0, dead_retention_seconds=0.05))
    job_of = app.actor(lambda: None, actor_name="a", queue_name="q").message()
    consumer = app.broker.consume("q", prefetch=1, timeout=200)
    app.broker.enqueue(job_of)
    consumer.nack(eventually(lambda: next(consumer), what="a job"))
    eventually(lambda: app.truth().dead == 1)
    assert eventually(lambda: app.broker.expire_dead_letters("q")) == 1
    recorder = app.broker.littleq_gate.admission.recorder
    assert recorder.flush()
    assert recorder._ledger.snapshot(["q"]).queue("q").totals[fields.PURGED] == 1
    assert app.truth().dead == 0
    consumer.close()
