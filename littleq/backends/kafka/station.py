"""The one Kafka consumer that a process has of a queue, and the only place where it is touched.

    poll ─> shelf ─ take ─> a worker thread ─ settle ─> shelf ─> commit (ten times a second)
      │       ▲                 │
      │       └── give_back ────┘
      └ what the group says: see `membership`

Whoever has a turn owns it: Dramatiq's consumer thread; after that one has closed its consumer, and as long as jobs
still run, a keeper of our own, for a process that does not poll loses its partitions, and their jobs run twice.
Polling never stops: what there is no room for is paused. Worker threads only leave word (`settle`, `give_back`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from dramatiq.logging import get_logger

from littleq.backends.kafka.committing import COMMIT_SECONDS, MARK_SECONDS, Committer
from littleq.backends.kafka.forks import leak
from littleq.backends.kafka.membership import SETTINGS, Membership, Recall
from littleq.backends.kafka.outages import explain, kafka_error
from littleq.backends.kafka.shelf import WINDOW, Record, Shelf
from littleq.backends.kafka.topics import Topics
from littleq.backends.kafka.urls import Address
from littleq.backends.outage import Outage

#: Longest time without a look at the server while jobs wait for room; while some wait for another one of their key.
FULL_SECONDS, BEHIND_SECONDS = 0.1, 0.01
#: Records taken from librdkafka at a time.
BATCH: Final = 100
#: Server time for a question whether it is back, in seconds.
PROBE_SECONDS: Final = 0.5
#: How long leaving the group may take, in seconds.
LEAVE_SECONDS: Final = 5.0


class Station:
    """See the module.

    Args:
        recall: see `Membership`.
    """

    def __init__(self, address: Address, topics: Topics, queue_name: str, recall: Recall) -> None:
        self.logger = get_logger(__name__, type(self))
        self.queue_name = queue_name
        self._heard_at = 0.0
        self.shelf = Shelf()
        self._address, self._topics = address, topics
        self._topic = topics.names.topic(queue_name)
        self._consumer: Any = None
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._ended: deque[tuple[Record, bool]] = deque()  # and whether it is settled
        self._paused: set[int] = set()
        self._down: KafkaError | None = None
        self._committer = Committer(self.logger, self._topic, queue_name, self.shelf)
        self._membership = Membership(
            *(self.logger, queue_name, self.shelf, self._committer),
            recall=recall,
            hear=self._take_word,
            event=self._event,
        )
        self._keeper: threading.Thread | None = None
        self._leaving = False
        self.outage = Outage(self.logger, queue_name, partial(explain, queue_name=queue_name))

    # Any thread.

    def settle(self, record: Record) -> None:
        """A job is done with."""
        self._ended.append((record, True))
        self._event.set()

    def give_back(self, records: Sequence[Record]) -> None:
        """Jobs that did not begin, or whose end nobody knows: they are handed out again, here or elsewhere."""
        # The last one first: each goes to the head.
        self._ended.extend((record, False) for record in reversed(records))
        self._event.set()

    @property
    def answered_at(self) -> float:
        """When the server answered last (monotonic, s)."""
        return max(self._heard_at, self._committer.answered_at)

    @property
    def held(self) -> int:
        """Jobs that are handed out and have not ended."""
        return len(self.shelf.held) - len(self._ended)

    # The owner.

    def take(self, seconds: float, room: Callable[[], bool]) -> Record | None:
        """The next job, if one comes within `seconds` and there is `room`."""
        deadline = time.monotonic() + seconds
        while True:
            remaining = deadline - time.monotonic()
            if self._leaving:
                time.sleep(max(0.0, min(remaining, FULL_SECONDS)))
                return None
            with self._lock:
                self._take_word()
                record = self.shelf.next() if room() else None
                if record is not None:
                    return record
                self._turn(max(0.0, remaining))
            if remaining <= 0:
                return None

    def open(self) -> None:
        """Somebody takes jobs (again)."""
        self._leaving = self._membership.in_a_hurry = False
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.join(LEAVE_SECONDS)

    def close(self) -> None:
        """Nobody takes jobs any more: leave the group, at once or when what runs has ended."""
        with self._lock:
            self._take_word()
            runs = bool(self.shelf.held)
            if runs and self._keeper is None and self._consumer is not None:
                keeper = threading.Thread(target=self._keep, name="littleq-kafka-keeper", daemon=True)
                self._keeper = keeper
                keeper.start()
        if not runs:
            self.leave()

    def leave(self, *, in_time: float = LEAVE_SECONDS) -> None:
        """Commit what is settled and leave the group now: everything else goes to other processes, or comes again."""
        self._leaving = self._membership.in_a_hurry = True  # first: whoever has a turn gives it up
        self._event.set()
        if not self._lock.acquire(timeout=in_time):
            return
        try:
            consumer, self._consumer = self._consumer, None
            if consumer is None:
                return
            self._take_word()
            if self.outage.since is None:
                self._committer.now(consumer, list(self.shelf.parts.values()))
            for part in list(self.shelf.parts.values()):
                self.shelf.drop(part)
            self._paused.clear()
            # On a thread: without a server it takes its time.
            thread = threading.Thread(target=consumer.close, name="littleq-kafka-close", daemon=True)
            thread.start()
            thread.join(in_time)
        finally:
            self._lock.release()

    def forget(self) -> None:
        """In a fork: the parent goes on with what it has."""
        leak(self._consumer)

    def _keep(self) -> None:
        while self._keeper is threading.current_thread() and not self._leaving:
            with self._lock:
                self._take_word()
                if not self.shelf.held:
                    break
                self._turn(FULL_SECONDS)
        else:
            return
        self._keeper = None
        self.leave()

    def _turn(self, seconds: float) -> None:
        """Look at the server once, and wait for `seconds` at most until there is something."""
        try:
            if self._consumer is None:
                self._join()
            if self._down is not None:
                self._probe()
            self._committer.if_due(self._consumer)
            if self.shelf.waiting:  # jobs wait for the end of others, rather than threads for jobs
                limit = BEHIND_SECONDS if self.shelf.behind and not self.shelf.is_full else FULL_SECONDS
                self._event.clear()
                if not self._ended:
                    self._event.wait(min(seconds, limit))
                self._poll(0.0)
            else:
                busy = self.shelf.held or self._committer.waits
                self._poll(min(seconds, COMMIT_SECONDS) if busy else min(seconds, MARK_SECONDS))
        except KafkaException as error:
            self.outage.goes_on(error, longest=min(max(seconds, 0.05), 0.5))

    def _join(self) -> None:
        self._topics.ensure(self.queue_name)
        settings = self._address.consumer(
            **SETTINGS,
            **{"group.id": self._topics.names.group(self.queue_name)},
            error_cb=self._on_error,
            on_commit=self._committer.answered,
        )
        consumer = Consumer(settings)
        consumer.subscribe(
            [self._topic],
            on_assign=self._membership.on_assign,
            on_revoke=self._membership.on_revoke,
            on_lost=self._membership.on_lost,
        )
        self._consumer = consumer

    def _poll(self, seconds: float) -> None:
        consumer = self._consumer
        first = consumer.poll(seconds)
        if first is None:
            return
        # `consume` waits until it has all it was asked for: with no time it takes what is there.
        more = () if self.shelf.is_full else consumer.consume(BATCH, 0)
        for message in (first, *more):
            error = message.error()
            if error is None:
                self._receive(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                self._stumble(error)
        self._pause_or_resume()

    def _receive(self, message: Any) -> None:
        part = self.shelf.parts.get(message.partition())
        if part is None:  # revoked in this very call
            return
        self._heard_at = time.monotonic()
        if self.outage.since is not None:
            self.outage.is_over()
        raw = message.value()
        stamp = max(0, message.timestamp()[1])
        self.shelf.receive(Record(part, message.offset(), b"" if raw is None else raw, message.key(), stamp))

    def _pause_or_resume(self) -> None:
        shelf = self.shelf
        self._paused &= set(shelf.parts)
        wanted = set(self._paused)
        if shelf.is_brimful:
            wanted = set(shelf.parts)
        elif not shelf.is_full:
            wanted = set()
        for partition, part in shelf.parts.items():
            if part.prefix is not None and part.prefix.window >= WINDOW:
                wanted.add(partition)
        if wanted != self._paused:
            consumer = self._consumer
            if more := wanted - self._paused:
                consumer.pause([TopicPartition(self._topic, each) for each in more])
            if fewer := (self._paused - wanted) & set(shelf.parts):
                consumer.resume([TopicPartition(self._topic, each) for each in fewer])
            self._paused = wanted

    def _take_word(self) -> None:
        """Note what the worker threads left word of."""
        ended, shelf = self._ended, self.shelf
        while ended:
            record, settled = ended[0]
            if record in shelf.held:
                shelf.ended(record, settled=settled)
            ended.popleft()
        if self._paused and self._consumer is not None:
            self._pause_or_resume()

    # Outages.

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION) or error.fatal():
            self._down = error

    def _stumble(self, error: KafkaError) -> None:
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:  # `_on_lost` follows
            self.logger.warning("Queue %r: %s", self.queue_name, error.str())
        else:
            self._down = error

    def _probe(self) -> None:
        """librdkafka connects again by itself, and does not say so."""
        error = self._down
        try:
            found = self._consumer.list_topics(self._topic, timeout=PROBE_SECONDS).topics[self._topic]
            if found.error is not None:
                raise KafkaException(found.error)
        except KafkaException as again:
            inner = kafka_error(again)
            self.outage.goes_on(KafkaException(error) if inner is None else again, longest=0.5)
            return
        self._down = None
        self._heard_at = time.monotonic()
        self.outage.is_over()
