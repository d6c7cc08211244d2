"""What a consumer group's coming and going means for the jobs of a process.

assigned   read what the owner before us said beside its commits
revoked    recall what nobody began, wait a moment for what runs, commit
lost       recall, commit nothing: somebody else has the partition already
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition

from littleq.backends.kafka.commits import Mark, decoded
from littleq.backends.kafka.committing import Committer
from littleq.backends.kafka.shelf import Part, Record, Shelf

#: How long the jobs of a revoked partition are waited for, in seconds. The rest of the group goes on meanwhile.
REVOKE_SECONDS: Final = 3.0
#: Server time for the marks of partitions, in seconds.
MARKS_SECONDS: Final = 5.0
#: How often a revoked partition is looked at, in seconds.
LOOK_SECONDS: Final = 0.1

#: Settings of a group's members.
SETTINGS: Final = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    # What servers allow at the least: a thread of librdkafka's gives the signs of life, whatever Python does.
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 2000,
    "partition.assignment.strategy": "cooperative-sticky",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 500,
    "queued.min.messages": 1000,
    "fetch.queue.backoff.ms": 10,  # its second would be ours whenever a thousand records were read
    "queued.max.messages.kbytes": 16_384,
    "socket.keepalive.enable": True,
}

Recall = Callable[[Callable[[Record], bool]], Iterable[Record]]


class Membership:
    """The callbacks of one subscription, called by the thread that polls or closes.

    Args:
        logger: of the station.
        recall: takes the jobs of records for which a function says so from threads that have not begun them.
        hear: notes what worker threads left word of.
        event: set when they do.
    """

    def __init__(
        self,
        logger: Any,
        queue_name: str,
        shelf: Shelf,
        committer: Committer,
        *,
        recall: Recall,
        hear: Callable[[], None],
        event: threading.Event,
    ) -> None:
        self.logger = logger
        self.in_a_hurry = False  # whether the process ends: nobody is waited for
        self._queue_name, self._shelf, self._committer = queue_name, shelf, committer
        self._recall, self._hear, self._event = recall, hear, event

    def on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        known = self._committed(consumer, partitions)
        now = time.monotonic()
        for each in partitions:
            committed, mark = known.get(each.partition, (None, None))
            if committed is not None:
                each.offset = committed
            part = Part(each.partition, committed, mark)
            part.said_at = now
            self._shelf.parts[each.partition] = part
        consumer.incremental_assign(partitions)
        consumer.resume(partitions)  # a pause outlives the assignment in which it was made
        self.logger.debug(
            "Queue %r: partitions %s.", self._queue_name, [each.partition for each in partitions]
        )

    def on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        parts = self._recalled(partitions)
        deadline = time.monotonic() + REVOKE_SECONDS
        while not self.in_a_hurry and self._running(parts) and (left := deadline - time.monotonic()) > 0:
            self._event.wait(min(left, LOOK_SECONDS))
            self._event.clear()
            self._hear()
        self._committer.now(consumer, parts)
        self._drop(parts, "went to another process")

    def on_lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._drop(self._recalled(partitions), "were lost")

    def _committed(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[int, tuple[int | None, Mark | None]]:
        asked = [TopicPartition(each.topic, each.partition) for each in partitions]
        try:
            answers = consumer.committed(asked, timeout=MARKS_SECONDS)
        except KafkaException as error:
            self.logger.warning(
                "Queue %r: marks of partitions could not be read, jobs that are done may come again: %s",
                *(self._queue_name, error),
            )
            return {}
        return {
            each.partition: (each.offset, decoded(each.metadata))
            for each in answers
            if each.error is None and each.offset >= 0
        }

    def _running(self, parts: list[Part]) -> int:
        return sum(record.part in parts for record in self._shelf.held)

    def _recalled(self, partitions: list[TopicPartition]) -> list[Part]:
        """The parts, with nothing of them in Dramatiq's hands but what runs."""
        self._hear()
        parts = [
            self._shelf.parts[each.partition] for each in partitions if each.partition in self._shelf.parts
        ]
        self._shelf.give_back(self._recall(lambda record: record.part in parts))
        return parts

    def _drop(self, parts: list[Part], what: str) -> None:
        running = self._running(parts)
        for part in parts:
            self._shelf.drop(part)
        if running:
            self.logger.warning(
                "Queue %r: partitions %s %s while %d jobs run here: they will run again there.",
                *(self._queue_name, [part.partition for part in parts], what, running),
            )
