"""confluent-kafka in a loop, without a task queue: what Kafka alone costs.

A send is produced and waited for, as a task queue must; a worker process polls, runs the job in the same thread, and
commits what it has done each tenth of a second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import marks
from littleq.backends.kafka.urls import address_of

COMMIT_SECONDS = 0.1
_TOPIC = "bare-bench"


class _Job:
    """A job of one kind."""

    def __init__(self, producer: Producer, name: str) -> None:
        self._producer, self._name = producer, name

    def produce(self, *arguments: int) -> None:
        self._producer.produce(_TOPIC, json.dumps([self._name, *arguments]).encode())

    def send(self, *arguments: int) -> None:
        """Returns when the server has it."""
        self.produce(*arguments)
        if self._producer.flush(30):
            raise TimeoutError("Kafka did not confirm a message within 30 s.")


class App:
    """As `dramatiq_app.App`, as far as it can be had."""

    def __init__(self, url: str) -> None:
        _make_topic(url)
        self._producer = Producer(address_of(url).producer(**{"linger.ms": 0, "acks": "all"}))
        self.nothing, self.stamped = _Job(self._producer, "nothing"), _Job(self._producer, "stamped")

    def bulk(self, jobs: int) -> None:
        for _ in range(jobs):
            self.nothing.produce()
        self._producer.flush(30)


def _make_topic(url: str) -> None:
    address = address_of(url)
    made = AdminClient(address.admin()).create_topics([NewTopic(_TOPIC, address.topics.partitions)])
    with suppress(KafkaException):  # another process was first
        made[_TOPIC].result(10)


def work(url: str) -> None:
    """Consume until killed."""
    _make_topic(url)
    mark = marks.from_environment()
    consumer: Any = Consumer(
        address_of(url).consumer(
            **{"group.id": _TOPIC, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        )
    )
    consumer.subscribe([_TOPIC])
    committed_at = time.monotonic()
    while True:
        for record in consumer.consume(100, 0.1):
            if record.error() is None:
                mark(*json.loads(record.value())[1:])
        if time.monotonic() - committed_at > COMMIT_SECONDS:
            consumer.commit(asynchronous=True)
            committed_at = time.monotonic()


if __name__ == "__main__":
    sys.exit(work(os.environ["LITTLEQ_BENCH_URL"]))
