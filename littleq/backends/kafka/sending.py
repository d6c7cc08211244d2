"""Sends records and waits until the server has confirmed them.

One producer per process, made at the first send: librdkafka's threads do not survive a fork. A thread of its own takes
the delivery reports, so that any number of threads wait for theirs at the same time and share batches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from littleq.backends.kafka.forks import leak
from littleq.backends.kafka.urls import Address
from littleq.background import survive_forks

#: A record that the server has not confirmed within this is given up, in milliseconds; librdkafka tries until then.
DELIVERY_MS: Final = 10_000
#: Beyond it: a report that never came, in seconds.
REPORT_SECONDS: Final = DELIVERY_MS / 1000 + 5.0
#: Settings of the producer. No linger: a sender waits for its record, and concurrent ones share batches all the same.
#: A partition is drawn for each record without a key: a burst must not end up with one worker.
SETTINGS: Final = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 0,
    "message.timeout.ms": DELIVERY_MS,
    "partitioner": "murmur2_random",
    "sticky.partitioning.linger.ms": 0,
    "socket.keepalive.enable": True,
}

Headers = Sequence[tuple[str, bytes]]


class Outgoing(NamedTuple):
    """A record to send; the key says which partition, None: any."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()


class _Reports:
    """The delivery reports of some records."""

    __slots__ = ("_done", "_left", "error", "places")

    def __init__(self, records: int) -> None:
        self._left = records
        self._done = threading.Lock()
        self._done.acquire()
        self.error: KafkaError | None = None
        self.places: list[tuple[int, int]] = []

    def report(self, error: KafkaError | None, message: Any) -> None:
        """Called by the thread that polls, one at a time."""
        if error is not None:
            self.error = error
        else:
            self.places.append((message.partition(), message.offset()))
        self._left -= 1
        if self._left == 0:
            self._done.release()

    def wait(self, seconds: float) -> bool:
        return self._done.acquire(timeout=seconds)


class Outbox:
    """The producer of this process."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._start_afresh()
        survive_forks(self)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def after_fork_in_child(self) -> None:
        leak(self._producer)
        self._start_afresh()

    def send(self, records: Iterable[Outgoing]) -> list[tuple[int, int]]:
        """Send records and wait for the server's word on all of them.

        Returns:
            Partition and offset of each, in the order in which they were confirmed.

        Raises:
            KafkaException: one was not confirmed; nobody knows of the others.
        """
        records = list(records)
        if not records:
            return []
        producer, reports = self._running(), _Reports(len(records))
        for record in records:
            self._produce(producer, record, reports)
        if not reports.wait(REPORT_SECONDS):
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, "the server confirmed nothing"))
        if reports.error is not None:
            self._replace_if_fatal(producer, reports.error)
            raise KafkaException(reports.error)
        return reports.places

    def close(self) -> None:
        """Everything that was sent is confirmed by now: `send` waits."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.flush(1.0)

    def _produce(self, producer: Producer, record: Outgoing, reports: _Reports) -> None:
        deadline = time.monotonic() + DELIVERY_MS / 1000
        while True:
            try:
                producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers) or None,
                    on_delivery=reports.report,
                )
                return
            except BufferError:  # the local queue is full
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            except KafkaException as error:
                self._replace_if_fatal(producer, error.args[0])
                raise

    def _running(self) -> Producer:
        producer = self._producer
        if producer is None:
            with self._lock:
                if self._producer is None:
                    self._producer = Producer(self._address.producer(**SETTINGS))
                    # A daemon: it waits in librdkafka, and the process may end any time.
                    threading.Thread(
                        target=self._take_reports,
                        args=(self._producer,),
                        name="littleq-kafka-sent",
                        daemon=True,
                    ).start()
                producer = self._producer
        return producer

    def _take_reports(self, producer: Producer) -> None:
        while producer is self._producer or len(producer):
            producer.poll(0.5)

    def _replace_if_fatal(self, producer: Producer, error: KafkaError) -> None:
        """An idempotent producer that lost the thread never sends again: the next send makes another one."""
        if error.fatal() or error.code() == KafkaError._FATAL:
            with self._lock:
                if self._producer is producer:
                    self._producer = None
