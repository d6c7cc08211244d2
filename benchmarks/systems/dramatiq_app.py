"""Dramatiq, in several modes: the jobs and the ways to send them.

plain      an app as Dramatiq's guide writes it
confirmed  the same on RabbitMQ, with `confirm_delivery=True`: a send returns when the server has it
stack      `littleq.setup()`: LittleQ's broker with every middleware on
stock      `littleq.install()` on Dramatiq's own RedisBroker: the same middlewares, for apps that keep their broker
"""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import dramatiq
from dramatiq.brokers.redis import RedisBroker

import littleq
from benchmarks import marks
from benchmarks.systems import LEDGER
from littleq.config import Config, SLAQueueConfig

#: A job that is held runs for so long, in a process where this is set.
HOLD = "LITTLEQ_BENCH_HOLD_SECONDS"


class App:
    """One mode's broker with its actors, on one queue."""

    def __init__(self, mode: str, url: str, queue: str = "bench") -> None:
        if mode == "confirmed":  # the others have a namespace; Dramatiq's RabbitmqBroker knows none
            queue += "-confirmed"
        self.broker = _broker(mode, url, queue)
        self.queue = queue
        self._mode = mode
        mark = marks.from_environment()
        hold_seconds = float(os.environ.get(HOLD, "0"))

        @dramatiq.actor(queue_name=queue, broker=self.broker)
        def nothing() -> None:
            mark()

        @dramatiq.actor(queue_name=queue, broker=self.broker)
        def stamped(given: int) -> None:
            mark(given)

        @dramatiq.actor(queue_name=queue, broker=self.broker)
        def held(given: int) -> None:
            mark(given)
            time.sleep(hold_seconds)

        self.nothing, self.stamped, self.held = nothing, stamped, held

    def bulk(self, jobs: int) -> None:
        """One `send_many`, its messages made on the way. Plain Dramatiq has none: its scripts go through a pipeline."""
        messages = [self.nothing.message() for _ in range(jobs)]
        if self._mode != "plain":
            littleq.send_many(messages, broker=self.broker)
            return
        client, dispatch = self.broker.client, self.broker.scripts["dispatch"]
        pipe = client.pipeline(transaction=False)
        for message in messages:
            redis_message_id = str(uuid4())
            data = message.copy(options={"redis_message_id": redis_message_id}).encode()
            args = ("enqueue", int(time.time() * 1000), self.queue, self.broker.broker_id, 60_000, 0, 0, 1)
            dispatch([self.broker.namespace], [*args, redis_message_id, data], client=pipe)
        pipe.execute()


def _broker(mode: str, url: str, name: str) -> Any:
    if mode in ("plain", "confirmed"):
        broker = _plain(url, confirmed=mode == "confirmed")
    else:
        # A limit that is judged at every send and never reached; concurrency set, as everything is switched on.
        queue = SLAQueueConfig(name, arrival_rate=1e7, sla_seconds=60, concurrency=1000)
        config = Config(
            url=url,
            ledger_url=os.environ.get(LEDGER),
            namespace=mode,
            queues={name: queue},
            exporter_enabled=False,
        )
        if mode == "stack":
            return littleq.setup(config)
        broker = RedisBroker(url=url, namespace=mode)
        littleq.install(broker, config)
    dramatiq.set_broker(broker)
    return broker


def _plain(url: str, *, confirmed: bool) -> Any:
    scheme = urlsplit(url).scheme
    if scheme == "amqp":
        from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415 - each brings a client of its own

        return RabbitmqBroker(url=url.partition("?")[0], confirm_delivery=confirmed)
    if scheme == "sqs":
        from dramatiq_sqs import SQSBroker  # noqa: PLC0415

        options = dict(parse_qsl(urlsplit(url).query))
        return SQSBroker(
            namespace="plain", endpoint_url=options["endpoint"], region_name=urlsplit(url).netloc
        )
    return RedisBroker(url=url, namespace="plain")
