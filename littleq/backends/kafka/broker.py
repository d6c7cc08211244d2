"""LittleQ's KafkaBroker.

    send ─> q ─ station ─> a worker thread ─> settled, committed
            ▲                 │  └ nack ─> q.XQ ─ replay ─> q
            └─ mover ─ tiers <┘ retry

What changes its place is sent and confirmed first, and settled where it was after that: a process that dies in between
leaves a job twice, never not at all. docs/kafka.md says what that means.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis, dq_name, q_name

from littleq import job, passage
from littleq.backends.base import Receipt, Sending
from littleq.backends.forms import encoded, ready_form, with_options
from littleq.backends.kafka.consumer import KafkaConsumer, KafkaMessage, is_gone
from littleq.backends.kafka.dead_letters import KafkaDeadLetters
from littleq.backends.kafka.delays import Mover, outgoing
from littleq.backends.kafka.hooks import WorkerHooks
from littleq.backends.kafka.lags import Lags
from littleq.backends.kafka.letters import REASON_HEADER, letter_record
from littleq.backends.kafka.names import DEFAULT_NAMESPACE, Names
from littleq.backends.kafka.operating import Operated
from littleq.backends.kafka.outages import in_dramatiqs_words, kafka_error
from littleq.backends.kafka.sending import Outbox, Outgoing
from littleq.backends.kafka.station import Station
from littleq.backends.kafka.topics import Topics
from littleq.backends.kafka.urls import Address, address_of
from littleq.background import at_process_exit, not_at_process_exit, survive_forks
from littleq.errors import BackendError

if TYPE_CHECKING:
    from dramatiq import Middleware

    from littleq.backends.kafka.shelf import Record


class KafkaBroker(Operated):
    """A Dramatiq broker on Apache Kafka 2.4 or later, or a server that speaks its protocol.

    Args:
        url: `kafka://HOST:9092,HOST2:9092?security.protocol=SASL_SSL&…`; what stands after the question mark are
            settings of librdkafka, and `littleq.partitions`, `littleq.replication`, `littleq.min_insync` and
            `littleq.retention` (s), by which topics are made.
        namespace: goes before the names of topics, where it is not Dramatiq's own, and of groups.
        middleware: as for any Dramatiq broker.

    Raises:
        ConfigurationError: the URL is none of Kafka's, or has a setting that cannot be.
    """

    def __init__(
        self,
        *,
        url: str,
        namespace: str = DEFAULT_NAMESPACE,
        middleware: list[Middleware] | None = None,
    ) -> None:
        super().__init__(middleware=middleware)
        self.address: Address = address_of(url)
        self.namespace = namespace
        self.topics = Topics(self.address, Names(namespace))
        self.outbox = Outbox(self.address)
        self.lags = Lags(self.address, self.topics)
        self.dead_letters = KafkaDeadLetters(self)
        self.hooks = WorkerHooks()
        self._start_afresh()
        self.add_middleware(self.hooks)
        survive_forks(self)

    def _start_afresh(self) -> None:
        self._stations: dict[str, Station] = {}
        self._movers: dict[str, Mover] = {}
        self._at_exit: Callable[[], object] | None = None

    def after_fork_in_child(self) -> None:
        for station in self._stations.values():
            station.forget()
        for mover in self._movers.values():
            mover.forget()
        self._start_afresh()

    # Sending.

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue. Its topics are made when it is first used; delayed jobs have none that Dramatiq knows."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Send a message; when this returns, the server has it.

        Args:
            message: to send.
            delay: ms until it is due; of any length.

        Raises:
            ConnectionClosed: the server has not confirmed it in time, which does not mean that it does not have it.
        """
        errand = passage.current.get()
        held = errand.held if errand.errand == "retry" else None
        return self.enqueue_many([Sending(message, delay, held=held)])[0].message

    def enqueue_many(self, sendings: Sequence[Sending], *, whole: bool = False) -> list[Receipt]:
        """Send messages together and wait for all of them.

        Args:
            sendings: what to send. Their bounds are not looked at: the gate has judged them.
            whole: means nothing here: Kafka refuses none for want of room.

        Returns:
            What became of each: `gone` where this worker does not hold the job any more whose retry it is.

        Raises:
            ConnectionClosed: the server has not confirmed all of them in time; nobody knows which.
        """
        receipts, records = [], []
        for sending in sendings:
            if is_gone(sending.held) or is_gone(sending.message):
                # It was not settled, so it runs again where its partition went: a retry would be a second job.
                receipts.append(Receipt(sending.message, "gone"))
                continue
            message, delay = _named(sending), sending.delay
            self.emit_before("enqueue", message, delay)
            came_with = sending.message.record.key if isinstance(sending.message, KafkaMessage) else None
            key = self._key(message) or (came_with and came_with[1])
            records.append(self._outgoing(message, sending.message.queue_name, key))
            receipts.append(Receipt(message, "in"))
        with in_dramatiqs_words():
            for queue in {q_name(receipt.message.queue_name) for receipt in receipts}:
                self.topics.ensure(queue)
            self._send(records)
        for sending, receipt in zip(sendings, receipts, strict=True):
            if receipt.outcome == "in":
                self.emit_after("enqueue", receipt.message, sending.delay)
        return receipts

    def delay(self, queue_name: str, message: Message[Any], key: bytes | None, due_ms: int) -> None:
        """Keep a message until it is due.

        Raises:
            KafkaException: the server has not confirmed it.
        """
        self._send([outgoing(self.topics, queue_name, due_ms, encoded(message), key)])

    def _outgoing(self, message: Message[Any], queue_name: str, key: bytes | None) -> Outgoing:
        if not job.is_known(message.options):  # no middleware stamps it
            job.write(message.options, ready_at=message.options.get("eta", current_millis()) / 1000)
        eta = message.options.get("eta")
        if eta is None:
            return Outgoing(self.topics.names.topic(queue_name), encoded(message), key)
        return outgoing(self.topics, queue_name, int(eta), encoded(ready_form(message, queue_name)), key)

    def _key(self, message: Message[Any]) -> bytes | None:
        key = message.options.get("partition_key")
        if key is None:
            actor = self.actors.get(message.actor_name)
            key = None if actor is None else actor.options.get("partition_key")
        return None if key is None else key if isinstance(key, bytes) else str(key).encode()

    def _send(self, records: list[Outgoing]) -> None:
        try:
            self.outbox.send(records)
        except KafkaException as error:
            found = kafka_error(error)
            if found is not None and found.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                self.topics.forget()  # somebody deleted one: the next attempt makes it again
            if found is not None and found.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                sizes = [len(record.value or b"") for record in records]
                raise BackendError(
                    f"a message of {max(sizes)} bytes is larger than the Kafka server or message.max.bytes "
                    "lets in: send a reference to the data instead, or raise both limits."
                ) from None
            raise

    # Consuming.

    @property
    def consumer_class(self) -> type[KafkaConsumer]:
        return KafkaConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of a queue; the first one starts the mover of its delayed jobs."""
        mover = self._movers.get(queue_name)
        if mover is None:
            mover = self._movers.setdefault(
                queue_name,
                Mover(
                    self.address,
                    self.topics,
                    self.outbox,
                    queue_name,
                    housekeeping=partial(self.expire_dead_letters, queue_name),
                ),
            )
        mover.start()
        return self.consumer_class(self, queue_name, prefetch, timeout)

    def station(self, queue_name: str) -> Station:
        """What this process holds of a queue."""
        station = self._stations.get(queue_name)
        if station is None:
            made = Station(self.address, self.topics, queue_name, self.hooks.recall)
            station = self._stations.setdefault(queue_name, made)
            self._close_at_exit()
        return station

    def _close_at_exit(self) -> None:
        if self._at_exit is None:
            me = weakref.ref(self)  # a broker that nobody closed may go

            def close() -> None:
                broker = me()
                if broker is not None:
                    broker.close()

            self._at_exit = close
            at_process_exit(close)

    def dead_letter(self, queue_name: str, message: MessageProxy, record: Record) -> None:
        """Put a job into the dead letters, with what its options say about its death.

        Raises:
            KafkaException: the server has not confirmed it.
        """
        death = job.read(message.options).get("dead", {})
        reason = str(death.get("reason", "refused"))
        dead = self.topics.names.dead(queue_name)
        origin = self.topics.names.topic(queue_name)
        try:
            self._send([letter_record(dead, origin, record, bytes(message.encode()), reason)])
        except (
            BackendError,
            TypeError,
            ValueError,
        ) as error:  # too large by its traceback, or an encoder's own
            self.logger.warning(
                "Message %r is dead-lettered as it was sent: %s", message.message_id, type(error).__name__
            )
            self._send([letter_record(dead, origin, record, record.raw, reason)])

    def dead_letter_undecodable(self, queue_name: str, record: Record, why: str) -> None:
        """Put a record that nobody can read into the dead letters, as it is.

        Raises:
            KafkaException: the server has not confirmed it.
        """
        names = self.topics.names
        letter = letter_record(
            names.dead(queue_name), names.topic(queue_name), record, record.raw, "undeliverable"
        )
        why_header = (f"{REASON_HEADER}-error", why.encode(errors="replace")[:1000])
        self._send([letter._replace(headers=[*letter.headers, why_header])])

    # Operating.

    def close(self) -> None:
        """Leave all groups: what is not settled goes to other processes."""
        if self._at_exit is not None:
            not_at_process_exit(self._at_exit)
            self._at_exit = None
        for mover in list(self._movers.values()):
            mover.stop()
        for station in list(self._stations.values()):
            station.leave()
        self.lags.close()
        self.outbox.close()


def _named(sending: Sending) -> Message[Any]:
    """The message as Dramatiq's hooks see it."""
    if sending.delay is None:
        return with_options(sending.message)
    delayed = with_options(sending.message, eta=current_millis() + sending.delay)
    return delayed.copy(queue_name=dq_name(delayed.queue_name))
