"""SQS (moto's server) when things go wrong: killed, stopped, cut off, unreadable, longer than planned."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from dramatiq import Middleware
from dramatiq.errors import ConnectionClosed

from littleq import job, passage
from littleq.backends.sqs import SQSError
from littleq.backends.trouble import BrokerUnavailable
from littleq.config import SLAQueueConfig
from tests.brokers.sqs import CREDENTIALS, MotoServer, SQSApp
from tests.support import eventually

Make = Callable[..., SQSApp]
OPEN = SLAQueueConfig("q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.05)


def test_a_job_longer_than_the_visibility_runs_once(sqs_app: Make) -> None:
    app = sqs_app(OPEN, visibility=2)
    ran: list[int] = []

    def work() -> None:
        ran.append(1)
        time.sleep(3.5)

    app.actor(work, actor_name="a", queue_name="q").send()
    app.work()
    other = sqs_app(OPEN, visibility=2)
    other.actor(work, actor_name="a", queue_name="q")
    other.work()
    eventually(lambda: len(ran) == 1)
    eventually(app.idle, 15)
    assert len(ran) == 1
    assert "ChangeMessageVisibilityBatch" in app.requests


WORKER = """
import os, time
import dramatiq, littleq
from littleq.backends.sqs import SQSBroker
from littleq.config import Config
from littleq.ledger.memory import MemoryLedger

broker = SQSBroker(url=os.environ["SQS_URL"], namespace=os.environ["SQS_NAMESPACE"], visibility=3)
littleq.install(broker, Config(exporter_enabled=False), ledger=MemoryLedger())
dramatiq.set_broker(broker)

@dramatiq.actor(actor_name="a", queue_name="q")
def hang(number):
    with open(os.environ["SQS_FILE"], "a") as file:
        file.write(f"{number}\\n")
    time.sleep(600)
"""


def test_the_jobs_of_a_killed_worker_are_back_in_seconds(
    sqs_app: Make, moto_server: MotoServer, dramatiq_processes: Any, tmp_path: Path
) -> None:
    app = sqs_app(OPEN, visibility=3)
    done: Counter[int] = Counter()
    noted: list[Any] = []

    class Look(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            noted.append(job.noted(message, "redelivered"))

    app.broker.add_middleware(Look())
    actor = app.actor(lambda number: done.update([number]), actor_name="a", queue_name="q")
    for number in range(4):
        actor.send(number)
    (tmp_path / "hanging.py").write_text(WORKER)
    seen = tmp_path / "seen"
    process = dramatiq_processes(
        "hanging",
        *("--processes", "1", "--threads", "2"),
        SQS_URL=moto_server.url(),
        SQS_NAMESPACE=app.broker.namespace,
        SQS_FILE=str(seen),
    )
    eventually(lambda: seen.exists() and len(seen.read_text().split()) == 2, 30, "two running jobs")
    eventually(lambda: app.truth().in_flight == 4, 10, "the prefetch")
    os.killpg(process.pid, 9)
    killed = time.monotonic()
    app.work()
    eventually(lambda: len(done) == 4)
    assert time.monotonic() - killed < 3 + 5, "visibility, moto's second, and a margin"
    assert set(done.values()) == {1}
    assert noted == [True] * 4
    eventually(app.idle)


def test_a_worker_that_stops_gives_back_at_once(sqs_app: Make) -> None:
    """What it prefetched, and what its last poll brings when it is closed already."""
    app = sqs_app(OPEN, visibility=60)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(3):
        actor.send()
    first = app.broker.consume("q", prefetch=4, timeout=500)
    taken = eventually(lambda: next(first), what="a job")
    eventually(lambda: first.outstanding_message_count == 3)  # type: ignore[attr-defined]
    first.requeue([taken])
    first.close()
    assert next(first) is None
    eventually(lambda: app.truth().ready == 3, 3, "that all three are ready")

    app.broker.flush("q")
    idle = app.broker.consume("q", prefetch=4, timeout=500)
    eventually(lambda: idle.pollers[0].asked_at, what="a poll")  # type: ignore[attr-defined]
    idle.close()
    actor.send()  # to the poll that is under way, in all likelihood
    second = app.broker.consume("q", prefetch=4, timeout=500)
    assert eventually(lambda: next(second), 10, "the job that came too late")
    second.close()
    app.broker.close_up()  # as at the end of the process
    assert not any(poller.thread.is_alive() for poller in (*idle.pollers, *second.pollers))  # type: ignore[attr-defined]


def test_all_that_is_held_is_handed_back_when_the_process_is_cut_short(sqs_app: Make) -> None:
    app = sqs_app(OPEN, visibility=60)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(3):
        actor.send()
    consumer: Any = app.broker.consume("q", prefetch=4, timeout=500)
    done, _ = (eventually(lambda: next(consumer), what="a job") for _ in range(2))
    consumer.ack(done)
    eventually(lambda: consumer.outstanding_message_count == 2)
    consumer.fetch_no_more()
    assert next(consumer) is None
    consumer.hand_back()
    eventually(lambda: app.truth().ready == 2, 3, "that both are ready")


def test_what_nobody_can_read_is_dead_lettered_as_it_is(sqs_app: Make) -> None:
    app = sqs_app(OPEN)
    app.actor(lambda: None, actor_name="a", queue_name="q")
    place = app.broker.place("q")
    app.broker.clients.quick.send_message(QueueUrl=place.url, MessageBody="no base64 of a message!")
    app.work()
    eventually(lambda: app.truth().dead == 1 and app.idle())
    answer = app.broker.clients.quick.receive_message(QueueUrl=place.dead, MessageAttributeNames=["All"])
    (letter,) = answer["Messages"]
    assert letter["Body"] == "no base64 of a message!"
    assert letter["MessageAttributes"]["littleq-reason"]["StringValue"] == "undecodable"


def _failing(app: SQSApp, operation: str, times: int) -> list[int]:
    """Let SQS be away for so many requests of a kind; the list grows with each."""
    failed: list[int] = []

    def fail(**_: Any) -> None:
        if len(failed) < times:
            failed.append(1)
            raise EndpointConnectionError(endpoint_url="http://away")

    app.broker.clients.quick.meta.events.register(f"before-call.sqs.{operation}", fail)
    return failed


def test_acks_that_meet_an_outage_are_sent_later(sqs_app: Make) -> None:
    app = sqs_app(OPEN, visibility=2)
    ran: list[int] = []
    actor = app.actor(ran.append, actor_name="a", queue_name="q")
    failed = _failing(app, "DeleteMessageBatch", 4)
    actor.send(1)
    app.work()
    eventually(app.idle)
    assert ran == [1], "it was kept hidden meanwhile"
    assert len(failed) == 4


def test_a_nack_that_meets_an_outage_leaves_one_letter(sqs_app: Make) -> None:
    app = sqs_app(OPEN)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    actor.send()
    consumer: Any = app.broker.consume("q", prefetch=1, timeout=500)
    message = eventually(lambda: next(consumer), what="the job")
    message.fail()
    _failing(app, "SendMessage", 1)
    with pytest.raises(ConnectionClosed, match="Queue 'q': the server is away"):
        consumer.nack(message)
    consumer.nack(message)
    consumer.nack(message)  # as after an interrupt
    truth = app.truth()
    assert (truth.dead, truth.number_in_system) == (1, 0)


def test_a_retry_that_is_sent_twice_is_there_once(sqs_app: Make) -> None:
    """An interrupt comes between the send and its return, and the middleware sends again."""
    app = sqs_app(OPEN)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    actor.send()
    consumer: Any = app.broker.consume("q", prefetch=1, timeout=500)
    message = eventually(lambda: next(consumer), what="the job")
    for _ in range(2):
        with passage.rescheduling(message):
            app.broker.enqueue(message, delay=60_000)
    job.note(message, rescheduled=True)
    consumer.ack(message)
    eventually(lambda: app.truth().number_in_system == 0)
    assert app.truth().delayed == 1


def test_a_server_that_is_away_is_waited_for_and_no_credential_is_told(
    sqs_app: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = MotoServer(tmp_path)
    app = sqs_app(OPEN, url=server.url())
    done: list[int] = []
    actor = app.actor(lambda: done.append(1), actor_name="a", queue_name="q")
    app.work()
    (thread,) = app.workers[0].consumers.values()
    eventually(lambda: getattr(thread.consumer, "away_since", None))
    with pytest.raises(SQSError, match="Queue 'q': the server is away") as caught:
        actor.send()
    assert app.backend.is_transient(caught.value)
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"sqs://.* is away"):
        app.backend.ping()  # type: ignore[misc]
    assert time.monotonic() - began < 2
    server.start()
    try:
        actor.send()
        eventually(lambda: done)
        app.backend.ping()  # type: ignore[misc]
        eventually(lambda: "the server is back" in caplog.text)
        app.workers[0].stop()
    finally:
        server.stop()
    assert caplog.text.count("trying again with growing pauses") == 1
    for secret in CREDENTIALS.values():
        assert secret not in caplog.text


def test_a_forked_child_has_clients_and_jobs_of_its_own(sqs_app: Make, in_fork: Any) -> None:
    app = sqs_app(OPEN)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    actor.send()
    consumer: Any = app.broker.consume("q", prefetch=1, timeout=500)
    assert eventually(lambda: next(consumer))

    def child() -> Any:
        actor.send()
        return app.broker.desks(), app.truth().ready

    assert in_fork(child) == ([], 1)
