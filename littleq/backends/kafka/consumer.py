"""How a worker takes jobs from a queue on Kafka and tells how they ended: the face of a `Station` to Dramatiq."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis
from dramatiq.errors import DecodeError
from dramatiq.logging import get_logger

from littleq import job
from littleq.backends.forms import ready_form
from littleq.backends.handling import verdict
from littleq.backends.kafka.outages import in_dramatiqs_words
from littleq.backends.kafka.shelf import Record

if TYPE_CHECKING:
    from littleq.backends.kafka.broker import KafkaBroker


class KafkaMessage(MessageProxy):
    """A job, and the record that it came in."""

    def __init__(self, message: Message[Any], record: Record) -> None:
        super().__init__(message)
        self.record = record


def is_gone(message: object) -> bool:
    """Whether this worker holds the job no more: its partition went to another process, where it runs again."""
    return isinstance(message, KafkaMessage) and not message.record.part.alive


class KafkaConsumer(Consumer):
    """Made by `KafkaBroker.consume`. Acks are taken after it has been closed, too."""

    takes_acks_when_closed = False  # its thread polls, and a member of the group that does not is dead

    def __init__(self, broker: KafkaBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self.logger = get_logger(__name__, type(self))
        self.broker = broker
        self.queue_name = queue_name
        self.prefetch = prefetch
        self.timeout = timeout
        self._station = broker.station(queue_name)
        self._station.open()

    @property
    def outstanding_message_count(self) -> int:
        return self._station.held

    @property
    def answered_at(self) -> float:
        """When the server answered last (monotonic, s)."""
        return self._station.answered_at

    @property
    def away_since(self) -> float | None:
        """Since when the queue cannot be consumed (monotonic, s); None: it can."""
        return self._station.outage.since

    # What becomes of a job. Called by the threads that run them.

    def ack(self, message: MessageProxy) -> None:
        record = _record(message)
        if verdict(message) == "interrupted":
            self.logger.warning(
                "Message %r was interrupted before its verdict: it goes back.", message.message_id
            )
            self._station.give_back([record])
        else:
            self._station.settle(record)

    def nack(self, message: MessageProxy) -> None:
        record = _record(message)
        if not is_gone(message):
            with in_dramatiqs_words():  # Dramatiq tries again
                self.broker.dead_letter(self.queue_name, message, record)
        self._station.settle(record)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._station.give_back([_record(message) for message in messages])

    def fetch_no_more(self) -> None:
        """Hand out nothing from this instant. Takes no lock: a signal handler calls it."""
        self.prefetch = 0

    def hand_back(self) -> None:
        """Leave the group: what is held here goes to other workers at once. This process ends next."""
        self._station.leave(in_time=1.5)

    def close(self) -> None:
        """Leave the group, now or when what runs here has ended: until then its partitions stay here."""
        self.prefetch = 0
        self._station.close()

    # Fetching. Called by the consumer thread.

    def __next__(self) -> MessageProxy | None:
        deadline = time.monotonic() + self.timeout / 1000
        while True:
            record = self._station.take(max(0.0, deadline - time.monotonic()), self._has_room)
            if record is None:
                return None
            try:
                message = self._message(record)
            except KafkaException as error:
                self._station.give_back([record])
                self._station.outage.goes_on(error, longest=max(self.timeout, 100) / 1000)
                return None
            if message is None:
                self._station.settle(record)
                continue
            if record.redelivered:
                job.note(message, redelivered="perhaps")
            return message

    def _has_room(self) -> bool:
        return self._station.held < self.prefetch

    def _message(self, record: Record) -> KafkaMessage | None:
        """The job of a record; None: it is somewhere else now, in the dead letters or delayed."""
        try:
            message: Message[Any] = Message.decode(record.raw)
        except DecodeError as error:
            self.logger.error(
                "Queue %r: record %s cannot be decoded: it is dead-lettered (%s).",
                *(self.queue_name, record.name, error.error),
            )
            self.broker.dead_letter_undecodable(self.queue_name, record, str(error.error))
            return None
        if message.queue_name != self.queue_name:
            message = message.copy(queue_name=self.queue_name)
        eta = message.options.get("eta")
        if not isinstance(eta, (int, float)):
            return KafkaMessage(message, record)
        message = ready_form(message, self.queue_name)
        if eta > current_millis():  # a due time of the app's own
            self.broker.delay(self.queue_name, message, record.key and record.key[1], int(eta))
            return None
        return KafkaMessage(message, record)


def _record(message: MessageProxy) -> Record:
    record = getattr(message, "record", None)
    if not isinstance(record, Record):
        raise RuntimeError(f"message {message.message_id!r} did not come from Kafka")
    return record
