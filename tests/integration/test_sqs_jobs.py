"""Jobs on SQS (moto's server): sent, delayed, retried, in batches, and beside dramatiq-sqs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from dramatiq import Message, Middleware, Worker
from dramatiq.errors import Retry

from littleq import job
from littleq.backends.sqs import SQSError
from littleq.backends.sqs.delays import Delays
from littleq.backends.sqs.outages import PartlySent
from littleq.backends.sqs.wire import MessageTooLarge
from littleq.batches import send_many
from littleq.config import SLAQueueConfig
from tests.brokers.sqs import MotoServer, SQSApp
from tests.support import eventually

Make = Callable[..., SQSApp]
OPEN = SLAQueueConfig("q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.05)


def test_jobs_are_done_with_fewer_requests_than_jobs(sqs_app: Make) -> None:
    app = sqs_app(OPEN)
    done: list[int] = []
    actor = app.actor(done.append, actor_name="a", queue_name="q")
    app.broker.enqueue_many([_sending(actor.message(number)) for number in range(40)])
    asked = Counter(app.requests)
    assert asked["SendMessageBatch"] == 4
    app.work(threads=8)
    eventually(lambda: len(done) == 40)
    eventually(app.idle)
    asked = Counter(app.requests)
    assert sorted(done) == list(range(40))
    assert asked["DeleteMessageBatch"] + asked["ReceiveMessage"] < 40
    assert app.backend.inspector.queues() == {"q"}


def _sending(message: Message[Any]) -> Any:
    from littleq.backends.base import Sending

    return Sending(message)


def test_delays_are_neither_early_nor_a_second_late(sqs_app: Make) -> None:
    """Below a second, with a fraction, and in hops: one second stands for the fifteen minutes of SQS."""
    app = sqs_app(OPEN, delays=Delays(longest=1, hold=1.1))
    late: dict[int, float] = {}

    def note(ms: int, due: float) -> None:
        late[ms] = time.time() - due

    actor = app.actor(note, actor_name="a", queue_name="q")
    app.work()
    for ms in (300, 1300, 3400):
        sent = actor.send_with_options(args=(ms, time.time() + ms / 1000), delay=ms)
        assert sent.options["eta"] / 1000 == pytest.approx(time.time() + ms / 1000, abs=1)
    eventually(lambda: len(late) == 3)
    # moto looks at what has become due once a second; AWS does not say.
    assert all(-0.01 <= found < 2.0 for found in late.values()), late
    assert app.requests.count("SendMessage") > 3, "no hop"
    eventually(app.idle)


def test_a_retry_far_beyond_what_sqs_can_delay_is_not_lost(sqs_app: Make) -> None:
    """dramatiq-sqs raises inside the retry, Dramatiq acks the job: gone."""
    app = sqs_app(OPEN)

    def fail() -> None:
        raise Retry("later", delay=7 * 86_400_000)

    app.actor(fail, actor_name="a", queue_name="q").send()
    app.work()
    eventually(lambda: app.truth().delayed == 1 and app.truth().number_in_system == 0)
    assert app.truth().dead == 0


def test_a_delayed_retry_is_the_next_attempt(sqs_app: Make) -> None:
    app = sqs_app(OPEN)
    ran: list[float] = []

    def fail_once() -> None:
        ran.append(time.time())
        if len(ran) == 1:
            raise Retry("later", delay=1200)

    app.actor(fail_once, actor_name="a", queue_name="q").send()
    app.work()
    eventually(lambda: len(ran) == 2)
    assert ran[1] - ran[0] >= 1.1
    eventually(app.idle)
    assert len(ran) == 2


def test_of_a_batch_it_is_told_what_is_in_and_what_is_not(sqs_app: Make) -> None:
    """One entry is refused for good, one for the moment."""
    app = sqs_app(OPEN)
    actor = app.actor(lambda number: None, actor_name="a", queue_name="q")
    messages = [actor.message(number) for number in range(12)]
    events = app.broker.clients.quick.meta.events
    asked: list[int] = []

    def spoil(params: dict[str, Any], **_: Any) -> None:
        asked.append(len(params["Entries"]))
        if len(asked) == 1:
            params["Entries"][3]["DelaySeconds"] = 901
            params["Entries"].pop(5)

    def throttle(parsed: dict[str, Any], **_: Any) -> None:
        if len(asked) == 1:
            parsed["Failed"].append({"Id": "5", "SenderFault": False, "Code": "ThrottlingException"})

    events.register("before-parameter-build.sqs.SendMessageBatch", spoil)
    events.register("after-call.sqs.SendMessageBatch", throttle)
    with pytest.raises(
        PartlySent, match="1 of 12 messages are not sent, SQS says InvalidParameterValue"
    ) as caught:
        app.broker.enqueue_many([_sending(message) for message in messages])
    assert [message.args for message in caught.value.unsent] == [(3,)]
    assert len(caught.value.sent) == 11
    assert asked == [10, 1, 2], "the throttled one goes once more, by itself"
    assert app.truth().ready == 11


def test_a_message_that_is_too_large_stops_its_batch(sqs_app: Make) -> None:
    app = sqs_app(OPEN)
    actor = app.actor(lambda text: None, actor_name="a", queue_name="q")
    large = actor.message("x" * 1_000_000)
    with pytest.raises(MessageTooLarge, match=r"bytes as SQS stores it: queue 'q' takes up to 1,048,576"):
        app.broker.enqueue_many([_sending(actor.message("small")), _sending(large)])
    assert app.truth().ready == 0
    sent = send_many([actor.message("y" * 300_000) for _ in range(4)], broker=app.broker)  # 1.6 MB in all
    assert [each.outcome for each in sent] == ["bypassed"] * 4
    assert app.truth().ready == 4


def test_an_idle_queue_costs_one_request_in_the_time_of_a_poll(sqs_app: Make) -> None:
    app = sqs_app(OPEN)
    app.actor(lambda: None, actor_name="a", queue_name="q")
    app.work()
    eventually(lambda: "ReceiveMessage" in app.requests)
    app.requests.clear()
    time.sleep(2.2)
    assert 1 <= app.requests.count("ReceiveMessage") <= 3
    assert set(app.requests) == {"ReceiveMessage"}, "beside the polls nothing is asked"
    (consumer,) = app.workers[0].consumers.values()
    assert time.monotonic() - consumer.consumer.answered_at < 2  # type: ignore[union-attr]


def test_a_full_window_asks_for_nothing(sqs_app: Make) -> None:
    app = sqs_app(OPEN, visibility=60)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(4):
        actor.send()
    consumer: Any = app.broker.consume("q", prefetch=2, timeout=100)
    taken = [eventually(lambda: next(consumer), what="a job") for _ in range(2)]
    app.requests.clear()
    assert next(consumer) is None
    time.sleep(0.5)
    assert "ReceiveMessage" not in app.requests
    consumer.ack(taken[0])
    assert eventually(lambda: next(consumer), what="the next one")


def test_a_queue_that_is_missing_is_told_where_none_may_be_made(
    sqs_app: Make, moto_server: MotoServer
) -> None:
    app = sqs_app(OPEN, url=moto_server.url(create="no"))
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    with pytest.raises(SQSError, match="Queue 'q' does not exist at SQS: create it, or leave create=no out"):
        actor.send()
    assert app.truth().ready == 0
    assert list(app.backend.dead_letters.letters("q")) == []


def test_a_queue_is_made_with_what_littleq_needs(sqs_app: Make) -> None:
    app = sqs_app(SLAQueueConfig("q", admission="off", dead_retention_seconds=86_400))
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    place = app.broker.place("q")
    found = app.broker.addresses.attributes(place.url)
    assert found["MessageRetentionPeriod"] == str(14 * 86_400)
    assert app.broker.addresses.attributes(place.dead)["MessageRetentionPeriod"] == "86400"
    assert '"maxReceiveCount": 100' in found["RedrivePolicy"]
    assert found["RedrivePolicy"].count(place.dead.rsplit("/", 1)[-1]) == 1


def test_dramatiq_sqs_reads_and_writes_the_same_queues(sqs_app: Make, moto_server: MotoServer) -> None:
    """So that an app can change over, and back."""
    import dramatiq
    from dramatiq_sqs import SQSBroker as Theirs

    app = sqs_app(OPEN)
    theirs = Theirs(
        namespace=app.broker.namespace,
        dead_letter=True,
        visibility_timeout=60,
        endpoint_url=moto_server.endpoint,
        region_name="eu-west-1",
    )
    ours_ran: list[str] = []
    theirs_ran: list[str] = []
    ready_at: list[Any] = []

    class Look(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            ready_at.append(job.read(message.options).get("ready_at"))

    app.broker.add_middleware(Look())
    ours = app.actor(ours_ran.append, actor_name="a", queue_name="q")
    their_actor = dramatiq.actor(theirs_ran.append, actor_name="a", queue_name="q", broker=theirs)
    began = time.time()
    their_actor.send("from them")
    app.work()
    eventually(lambda: ours_ran == ["from them"])
    assert began - 1 <= ready_at[0] <= time.time() + 1, "of a producer without a stamp: SQS's SentTimestamp"
    eventually(app.idle)
    app.workers.pop().stop()

    ours.send("from us")
    ours.send_with_options(args=("from us, delayed",), delay=1100)
    worker = Worker(theirs, worker_timeout=1000, worker_threads=2)
    worker.start()
    eventually(lambda: sorted(theirs_ran) == ["from us", "from us, delayed"])
    worker.stop()
