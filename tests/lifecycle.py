"""One compact life of a queue on LittleQ's RedisBroker: every script runs, every account moves."""

from __future__ import annotations

import time
from typing import Any

import pytest
from dramatiq import Message, Worker

import littleq
from littleq import job
from littleq.config import Config, SLAQueueConfig
from littleq.middleware import ExponentialRetries
from tests.support import OurApp, eventually

#: Three jobs fit; a failed attempt is repeated at once.
SMALL = SLAQueueConfig("q", arrival_rate=3, sla_seconds=1, min_backoff_seconds=0.01, max_backoff_seconds=0.02)


class AppAt(OurApp):
    """An app of one process at any server."""

    def __init__(self, url: str, *queues: SLAQueueConfig, **broker_options: Any) -> None:
        super().__init__(
            url,
            Config(queues={queue.name: queue for queue in queues}, exporter_enabled=False),
            **broker_options,
        )

    def work(self, threads: int = 4, **options: Any) -> Worker:
        """With longer pauses than the other tests' workers have: these count what a worker asks."""
        worker = Worker(self.broker, **{"worker_timeout": 200, "worker_threads": threads, **options})
        worker.start()
        self.workers.append(worker)
        return worker


def live_through(app: OurApp) -> None:
    """Enqueue, refuse, fetch, ack, nack, retry, delay, promote, cancel, pause, recover, flush. `app` has `SMALL`."""
    actor = app.actor(lambda: None, actor_name="a", queue_name="q", max_retries=1)
    sent = [actor.send() for _ in range(3)]
    with pytest.raises(littleq.Overloaded):
        actor.send()
    consumer = app.broker.consume("q", prefetch=3, timeout=100)
    done, failing, lost = (next(consumer) for _ in range(3))
    assert [message.message_id for message in (done, failing, lost)] == [m.message_id for m in sent]
    consumer.ack(done)
    next(consumer)  # the ack goes out with this fetch

    _retry(app, failing)
    consumer.ack(failing)
    dying = eventually(lambda: next(consumer), 5, "the retry")
    dying.fail()
    consumer.nack(dying)
    _expect(app, in_flight=1, dead=1, done=1)

    app.broker.bury(app.broker.broker_id)  # as its watcher would
    _expect(app, ready=1, dead=1, done=1)
    app.broker.pause("q")
    late = actor.send_with_options(delay=60_000)
    assert next(consumer) is None
    app.broker.resume("q")
    assert app.broker.cancel("q", late.message_id) == 1
    again = eventually(lambda: next(consumer), 5, "the recovered job")
    assert again.message_id == lost.message_id
    actor.send_with_options(delay=50)
    assert app.truth().delayed == 1
    due = eventually(lambda: next(consumer), 5, "the due job")
    consumer.requeue([due, again])
    _expect(app, ready=2, dead=1, done=1, purged=1)
    adopted = _of_plain_dramatiq(app, actor)
    assert eventually(lambda: app.broker.adopt_delayed("q"), 5, "the adoption") == adopted
    app.broker.flush("q")
    consumer.close()
    _expect(app, done=1, purged=5)


def _of_plain_dramatiq(app: OurApp, actor: Any) -> int:
    """A job that a plain Dramatiq process has delayed."""
    message: Message[Any] = actor.message()
    message = message.copy(
        queue_name="q.DQ", options={"redis_message_id": "plain", "eta": time.time() * 1000 + 60_000}
    )
    app.client.hset("dramatiq:q.DQ.msgs", "plain", message.encode())
    return int(app.client.rpush("dramatiq:q.DQ", "plain"))


def _retry(app: OurApp, message: Any) -> None:
    job.note(message, started=0.0, judged=True)
    retries = next(m for m in app.broker.middleware if isinstance(m, ExponentialRetries))
    retries.after_process_message(app.broker, message, exception=RuntimeError())


def _expect(app: OurApp, **numbers: int) -> None:
    truth = app.truth()
    assert truth.accounts is not None
    found = {
        "ready": truth.ready,
        "in_flight": truth.in_flight,
        "delayed": truth.delayed,
        "dead": truth.dead,
        "done": truth.accounts.done,
        "purged": truth.accounts.purged,
    }
    assert {name: number for name, number in found.items() if number} == numbers
    assert truth.imbalance == 0
