"""Moves delayed jobs on, from tier to tier, until they are due.

    q.delay.12h ─> … ─> q.delay.1s ─> q.delay.soon ─> q

A record says when it is due. Each topic but the last one keeps its records for the same time, so they leave in the
order in which they came, and only the first ones are ever looked at. `soon` holds what is due within a second, in any
order: these are sorted in memory, `HEADS` at most.

A record is sent on and confirmed, then settled, then committed: a mover that dies in between leaves a job twice, never
not at all. Every process that works on a queue has a mover of it; Kafka gives each tier to one of them.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from dramatiq.logging import get_logger

from littleq.backends.kafka.commits import Prefix
from littleq.backends.kafka.committing import COMMIT_SECONDS
from littleq.backends.kafka.forks import leak
from littleq.backends.kafka.membership import SETTINGS
from littleq.backends.kafka.names import TIERS, Tier, tier_for
from littleq.backends.kafka.outages import explain
from littleq.backends.kafka.sending import Headers, Outbox, Outgoing
from littleq.backends.kafka.station import LEAVE_SECONDS
from littleq.backends.kafka.topics import Topics
from littleq.backends.kafka.urls import Address
from littleq.backends.outage import Outage

#: The header that says when a record is due, in ms since the epoch.
DUE_HEADER: Final = "littleq-due"
#: First records of a tier in memory: enough for the pace of a server, little enough for memory.
HEADS: Final = 1000
#: Longest wait without a look at the server, in seconds.
LONGEST_SECONDS: Final = 0.5
#: Between two calls of the housekeeping, in seconds.
CLEAN_SECONDS: Final = 60.0
#: Records moved in one step.
BATCH: Final = 500


def due_header(due_ms: int) -> Headers:
    return [(DUE_HEADER, str(due_ms).encode())]


def outgoing(topics: Topics, queue: str, due_ms: int, value: bytes, key: bytes | None) -> Outgoing:
    """The record of a job that is due at that time: for a tier, or for the queue itself."""
    remaining = due_ms / 1000 - time.time()
    if remaining <= 0:
        return Outgoing(topics.names.topic(queue), value, key)
    return Outgoing(topics.names.delay(queue, tier_for(remaining)), value, key, due_header(due_ms))


def due_of(message: Any) -> int:
    """When a record is due, in ms since the epoch; what says nothing is due now."""
    for name, value in message.headers() or ():
        if name == DUE_HEADER and value is not None and value.isdigit():
            return int(value)
    return 0


def leaves_at(tier: Tier, stamp_ms: int, due_ms: int, now: float) -> float:
    """When a record leaves its tier, s since the epoch. `stamp_ms`: when it came; the clock of its sender may be wrong.

    >>> leaves_at(Tier("1m", 60.0), stamp_ms=1_000_000, due_ms=1_500_000, now=1000.0)
    1060.0
    >>> leaves_at(Tier("soon", 0.0), stamp_ms=1_000_000, due_ms=1_000_400, now=1000.0)
    1000.4
    """
    due = due_ms / 1000
    if tier.seconds == 0:
        return due
    return min(due, stamp_ms / 1000 + tier.seconds, now + tier.seconds)


#: A record that was read: when it leaves, its offset, when it is due, itself.
Head = tuple[float, int, int, Any]


class _Tier:
    """One partition of a tier."""

    __slots__ = ("committed", "heads", "paused", "prefix", "tier")

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.prefix: Prefix | None = None
        self.heads: list[Head] = []
        self.paused = False
        self.committed = -1


class Mover:
    """Moves the delayed jobs of one queue. Its thread is started by the first consumer of the queue.

    Args:
        housekeeping: called once a minute in the one process that has the last tier.
    """

    def __init__(
        self,
        address: Address,
        topics: Topics,
        outbox: Outbox,
        queue_name: str,
        housekeeping: Callable[[], object] = lambda: None,
    ) -> None:
        self.logger = get_logger(__name__, type(self))
        self.queue_name = queue_name
        self._address, self._topics, self._outbox = address, topics, outbox
        self._housekeeping = housekeeping
        self._consumer: Any = None
        self._tiers: dict[tuple[str, int], _Tier] = {}
        self._commit_at = 0.0
        self._clean_at = time.monotonic() + CLEAN_SECONDS
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # The queue's own consumer says aloud that the server is away.
        self._outage = Outage(self.logger, queue_name, partial(explain, queue_name=queue_name), aloud=False)

    def start(self) -> None:
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(
                target=self._run, name=f"littleq-kafka-delays-{self.queue_name}", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Leave the tiers to other processes."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(LEAVE_SECONDS)

    def forget(self) -> None:
        """In a fork: the parent goes on with what it has."""
        leak(self._consumer)
        for tier in self._tiers.values():
            for head in tier.heads:
                leak(head[3])

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._consumer is None:
                    self._join()
                self._turn()
            except (KafkaException, BufferError) as error:
                self._outage.goes_on(error, longest=LONGEST_SECONDS)
            except Exception:
                self.logger.exception(
                    "Queue %r: delayed jobs could not be moved on; trying again.", self.queue_name
                )
                self._stopping.wait(1.0)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _join(self) -> None:
        self._topics.ensure(self.queue_name)
        names = self._topics.names
        consumer = Consumer(
            self._address.consumer(
                **SETTINGS, **{"group.id": names.delay_group(self.queue_name)}, on_commit=self._on_commit
            )
        )
        consumer.subscribe(
            names.delays(self.queue_name),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        self._consumer = consumer

    def _turn(self) -> None:
        now = time.time()
        next_at = min((tier.heads[0][0] for tier in self._tiers.values() if tier.heads), default=now + 60)
        first = self._consumer.poll(max(0.0, min(next_at - now, LONGEST_SECONDS)))
        if first is not None:
            for message in (first, *self._consumer.consume(BATCH, 0)):
                self._receive(message)
        self._move_on()
        self._pause_or_resume()
        self._commit_if_due()
        if time.monotonic() >= self._clean_at:
            self._clean_at = time.monotonic() + CLEAN_SECONDS
            if any(tier.tier is TIERS[0] for tier in self._tiers.values()):
                self._housekeeping()

    def _receive(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.code() not in (KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED):
                raise KafkaException(error)
            return
        tier = self._tiers.get((message.topic(), message.partition()))
        if tier is None:
            return
        offset = message.offset()
        if tier.prefix is None:
            tier.prefix = Prefix(offset)
        if tier.prefix.read(offset):
            due = due_of(message)
            leaves = leaves_at(tier.tier, message.timestamp()[1], due, time.time())
            heapq.heappush(tier.heads, (leaves, offset, due, message))

    def _move_on(self) -> None:
        """Send on what leaves its tier now; what the server does not confirm stays."""
        leaving = list(self._due(time.time()))
        if not leaving:
            return
        try:
            self._outbox.send(
                outgoing(self._topics, self.queue_name, due, message.value() or b"", message.key())
                for _, (_, _, due, message) in leaving
            )
        except BaseException:
            for tier, head in leaving:
                heapq.heappush(tier.heads, head)
            raise
        self._outage.is_over()
        for tier, head in leaving:
            if tier.prefix is not None:
                tier.prefix.settle(head[1])

    def _due(self, now: float) -> Iterator[tuple[_Tier, Head]]:
        """Take what leaves now from memory."""
        taken = 0
        for tier in self._tiers.values():
            while tier.heads and tier.heads[0][0] <= now and taken < BATCH:
                taken += 1
                yield tier, heapq.heappop(tier.heads)

    def _pause_or_resume(self) -> None:
        for (topic, partition), tier in self._tiers.items():
            if tier.paused != (len(tier.heads) >= (HEADS // 2 if tier.paused else HEADS)):
                tier.paused = not tier.paused
                change = self._consumer.pause if tier.paused else self._consumer.resume
                change([TopicPartition(topic, partition)])

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._commit_at:
            self._commit_at = now + COMMIT_SECONDS
            self._commit(self._tiers, asynchronous=True)

    def _commit(self, places: Iterable[tuple[str, int]], *, asynchronous: bool) -> None:
        found = []
        for place in places:
            tier = self._tiers.get(place)
            if tier is not None and tier.prefix is not None and tier.prefix.position != tier.committed:
                tier.committed = tier.prefix.position
                found.append(TopicPartition(*place, tier.committed))
        if found:
            self._consumer.commit(offsets=found, asynchronous=asynchronous)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            tier = self._tiers.get((each.topic, each.partition))
            if tier is not None and (error is not None or each.error is not None):
                tier.committed = -1  # the next one says it again

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._tiers[each.topic, each.partition] = _Tier(self._topics.names.tier_of(each.topic))
        consumer.incremental_assign(partitions)
        consumer.resume(partitions)  # a pause outlives the assignment in which it was made

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        places = [(each.topic, each.partition) for each in partitions]
        try:
            found = [
                TopicPartition(*place, tier.prefix.position)
                for place in places
                if (tier := self._tiers.get(place)) is not None and tier.prefix is not None
            ]
            if found:
                consumer.commit(offsets=found, asynchronous=False)
        except KafkaException as error:
            self.logger.info("Queue %r: the last commit of a tier failed: %s", self.queue_name, error)
        self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._tiers.pop((each.topic, each.partition), None)


#: How many topics a queue has beside its own: for those who count them.
TOPICS_PER_QUEUE: Final = len(TIERS) + 2
