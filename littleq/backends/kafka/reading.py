"""Reads topics from outside: no group, nothing committed, nothing taken from anybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from littleq.backends.kafka.forks import leak
from littleq.backends.kafka.urls import Address
from littleq.background import survive_forks

#: A server that gives no record for so long, where there must be some, is away, in seconds.
PATIENCE_SECONDS: Final = 5.0
BATCH: Final = 500
#: Names no group that is ever joined: librdkafka wants one.
_GROUP: Final = "littleq-reader"

Place = tuple[str, int]


class Reader:
    """One consumer for all that a process looks at, made at the first look; one look at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._start_afresh()
        survive_forks(self)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._consumer: Any = None

    def after_fork_in_child(self) -> None:
        leak(self._consumer)
        self._start_afresh()

    def heads(self, places: Mapping[Place, int], seconds: float = PATIENCE_SECONDS) -> dict[Place, Any]:
        """The first record at or after an offset, of each place that gives one in time."""
        found: dict[Place, Any] = {}
        ended: set[Place] = set()
        if not places:
            return found
        with self._lock:
            consumer = self._assigned(places)
            deadline = time.monotonic() + seconds
            while len(found.keys() | ended) < len(places) and (remaining := deadline - time.monotonic()) > 0:
                message = consumer.poll(remaining)
                if message is None:
                    continue
                place = message.topic(), message.partition()
                if not _is_record(message):
                    ended.add(place)
                elif place not in found:
                    found[place] = message
                    consumer.pause([TopicPartition(*place)])
            if found:  # a partition stays paused beyond its assignment
                consumer.resume([TopicPartition(*place) for place in found])
            consumer.unassign()
        return found

    def records(self, topic: str, partition: int, start: int, end: int) -> Iterator[Any]:
        """The records from `start` up to `end`, without it. Other looks wait until this one is over.

        Raises:
            KafkaException: the server gives nothing more.
        """
        if start >= end:
            return
        with self._lock:
            consumer = self._assigned({(topic, partition): start})
            try:
                yield from self._until(consumer, end)
            finally:
                consumer.unassign()

    @staticmethod
    def _until(consumer: Any, end: int) -> Iterator[Any]:
        heard = time.monotonic()
        while True:
            first = consumer.poll(0.5)
            if first is None:
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise KafkaException(
                        KafkaError(KafkaError._TIMED_OUT, "the server gives no more records")
                    )
                continue
            heard = time.monotonic()
            for message in (first, *consumer.consume(BATCH, 0)):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return  # what was there at the end is compacted away
                if not _is_record(message):
                    continue
                if message.offset() >= end:
                    return
                yield message
                if message.offset() + 1 >= end:
                    return

    def close(self) -> None:
        with self._lock:
            consumer, self._consumer = self._consumer, None
            if consumer is not None:
                consumer.close()

    def _assigned(self, places: Mapping[Place, int]) -> Any:
        if self._consumer is None:
            settings = {
                "group.id": _GROUP,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": 10,
                "queued.min.messages": 2000,
            }
            self._consumer = Consumer(self._address.consumer(**settings))
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in places.items()])
        return self._consumer


def _is_record(message: Any) -> bool:
    """Whether it is one, rather than the end of a partition.

    Raises:
        KafkaException: it is an error.
    """
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return error is None
