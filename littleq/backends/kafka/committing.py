"""Commits what is settled, ten times a second, and says beside it what is held.

One commit is on its way at a time, and nobody waits for its answer, but for the last one of a partition.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from littleq.backends.kafka.shelf import Part, Shelf

#: Between two commits of a partition in seconds; and where only the mark beside it has changed.
COMMIT_SECONDS, MARK_SECONDS = 0.1, 1.0
#: A commit without an answer is forgotten after this, in seconds.
ANSWER_SECONDS: Final = 10.0


class _Said(NamedTuple):
    """What is being committed of a partition."""

    part: Part
    at: int
    mark: str
    handed: int  # records handed out since the last confirmed commit, when this one was sent


class Committer:
    """Owned by the thread that owns the consumer.

    Attributes:
        answered_at: when the server confirmed one last (monotonic, s).
        logger: hears of commits that failed.
    """

    def __init__(self, logger: Any, topic: str, queue_name: str, shelf: Shelf) -> None:
        self.logger = logger
        self.answered_at = 0.0
        self._topic, self._queue_name, self._shelf = topic, queue_name, shelf
        self._on_its_way: dict[int, _Said] = {}
        self._sent_at = self._due_at = 0.0

    @property
    def waits(self) -> bool:
        """Whether a commit is on its way."""
        return bool(self._on_its_way)

    def if_due(self, consumer: Any) -> None:
        """Send a commit if it is time, and there is something new to say."""
        now = time.monotonic()
        if now < self._due_at or (self._on_its_way and now - self._sent_at < ANSWER_SECONDS):
            return
        self._due_at = now + COMMIT_SECONDS
        found = self._new(self._shelf.parts.values(), now)
        if found:
            self._on_its_way, self._sent_at = found, now
            consumer.commit(offsets=self._offsets(found), asynchronous=True)

    def answered(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """librdkafka's callback for commits that nobody waits for."""
        found = self._on_its_way
        if {each.partition: each.offset for each in partitions} != {n: said.at for n, said in found.items()}:
            return  # the answer to another one
        self._on_its_way = {}
        if error is None:
            failed = {each.partition: each.error for each in partitions if each.error is not None}
            self._confirm(found, failed)
            error = next(iter(failed.values()), None)
        if error is not None:
            self.logger.info(
                "Queue %r: a commit failed (%s); the next one takes it along.", self._queue_name, error
            )

    def now(self, consumer: Any, parts: Iterable[Part]) -> None:
        """Commit and wait for the answer. What fails is committed by nobody, and its jobs come again."""
        self._on_its_way = {}
        found = self._new(parts, float("inf"))
        if not found:
            return
        try:
            answers = consumer.commit(offsets=self._offsets(found), asynchronous=False)
            self._confirm(found, {each.partition for each in answers or () if each.error is not None})
        except KafkaException as error:
            self.logger.warning(
                "Queue %r: the last commit failed, jobs that are done may come again: %s",
                *(self._queue_name, error),
            )

    def _new(self, parts: Iterable[Part], now: float) -> dict[int, _Said]:
        found = {}
        for part in parts:
            what = part.mark(self._shelf.held)
            if what is None:
                continue
            at, mark = what[0], what[1].encoded()
            moved = part.said is None or part.said[0] != at
            if (at, mark) != part.said and (moved or part.handed_since or now - part.said_at >= MARK_SECONDS):
                found[part.partition] = _Said(part, at, mark, part.handed_since)
        return found

    def _offsets(self, found: dict[int, _Said]) -> list[TopicPartition]:
        return [
            TopicPartition(self._topic, partition, said.at, metadata=said.mark)
            for partition, said in found.items()
        ]

    def _confirm(self, found: dict[int, _Said], failed: Collection[int]) -> None:
        now = self.answered_at = time.monotonic()
        for partition, said in found.items():
            if partition not in failed:
                said.part.said, said.part.said_at = (said.at, said.mark), now
                said.part.handed_since -= said.handed
