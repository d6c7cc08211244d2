"""LittleQ's own SQSBroker: dramatiq-sqs's queues and messages, another way to handle them.

    send ─ SendMessage(Batch) ─> queue ─ receive ─> held by a worker ─ delete ─> gone
             ▲    delayed: at most 900 s, then   │    │  │  │
             │    another hop                    │    │  │  └ nack: to `…_dlq`, confirmed, then deleted
             ├───────────────────────────────────┘    │  └ its process died: visible again after `visibility` seconds
             └────────────── retry: sent, confirmed, then deleted

Why not dramatiq-sqs underneath. Names of queues and bodies of messages are its own, so that an app can change over and
back, with both kinds of process on a queue meanwhile. But each step between had to be another: it raises for delays
above 900 s (inside a retry: the job is lost), deletes one message a request through boto3 resources, which threads must
not share, renews no visibility, asks for no receive counts, and holds consumer and broker together in one class each.
What would be left of it is a `get_or_create`; a dependency for that is one that can break.

A move is two steps, the copy first: whoever is killed between them leaves a job twice, never not at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dramatiq
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import QueueJoinTimeout

from littleq import job, passage
from littleq.backends.base import Receipt, Sending
from littleq.backends.sqs import outages
from littleq.backends.sqs.clients import Clients
from littleq.backends.sqs.consumer import SQSConsumer
from littleq.backends.sqs.delays import Delays
from littleq.backends.sqs.desk import Desk, Held
from littleq.backends.sqs.dispatch import GROUP, Dispatch, labels
from littleq.backends.sqs.heart import Heart
from littleq.backends.sqs.names import is_fifo
from littleq.backends.sqs.outbox import Outbox
from littleq.backends.sqs.queues import COUNTS, Place, Queues
from littleq.backends.sqs.settler import Settler
from littleq.backends.sqs.urls import LONGEST_RETENTION, settings_of
from littleq.backends.sqs.wire import LARGEST_BYTES, Parcel, fitting
from littleq.background import at_process_exit, not_at_process_exit, survive_forks
from littleq.config.models import DEFAULT_HEARTBEAT_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from dramatiq import Middleware

    from littleq.config import Config

#: `Config.namespace` where nobody has set it.
DEFAULT_NAMESPACE = "dramatiq"
DEFAULT_VISIBILITY_SECONDS = round(DEFAULT_HEARTBEAT_TIMEOUT_SECONDS)


class SQSBroker(dramatiq.Broker):
    """A Dramatiq broker on Amazon SQS, or a server like it; credentials come from boto3's chain, never from the URL.

    Args:
        url: `sqs://REGION?option=value`; see `littleq.backends.sqs.urls.Settings`.
        middleware: as for any Dramatiq broker.
        namespace: prefix of the names of queues, with a `_` behind it. "dramatiq" and "": none, as dramatiq-sqs has it
            by default; one that is called so stands in the URL, whose namespace goes before.
        visibility: seconds for which what a worker holds is hidden from others, in 2..43200; renewed as long as it
            lives, so it is the time after which the jobs of a dead process are back. The URL's goes before.
        delays: for tests.

    Raises:
        ConfigurationError: the URL is wrong.
    """

    def __init__(
        self,
        *,
        url: str = "sqs://",
        middleware: list[Middleware] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        visibility: int = DEFAULT_VISIBILITY_SECONDS,
        delays: Delays | None = None,
    ) -> None:
        super().__init__(middleware=middleware)
        self.actor_options |= {GROUP}
        self.url = url
        self.settings = settings_of(url)
        self.namespace = self.settings.namespace or namespace
        self.prefix = self.settings.namespace or ("" if namespace == DEFAULT_NAMESPACE else namespace)
        self.visibility = self.settings.visibility or max(2, visibility)
        self.delays = delays or Delays()
        self.clients = Clients(self.settings)
        self.queues: dict[str, None] = {}
        self.addresses = Queues(self.clients, namespace=self.prefix, visibility=self.visibility)
        self.outbox = Outbox(self.clients)
        self._dispatch = Dispatch(self)
        self._start_afresh()
        survive_forks(self)

    def _start_afresh(self) -> None:
        """In each process: a forked child holds nothing of its parent's."""
        self._desks: dict[str, Desk] = {}
        self._settlers: dict[str, Settler] = {}
        self._consumers: list[SQSConsumer] = []
        self.heart = Heart(self)

    after_fork_in_child = _start_afresh

    # Queues.

    def declare_queue(self, queue_name: str) -> None:
        """Nothing is asked of SQS yet: apps declare queues at import."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def place(self, queue_name: str) -> Place:
        """Where a queue is at SQS; see `Queues.place`."""
        return self.addresses.place(queue_name)

    # Sending.

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """As Dramatiq's; returns when SQS has confirmed it.

        Raises:
            SQSError: SQS refuses, is away, or the message is too large; its `__cause__` tells which.
            ConfigurationError: no region is known, or SQS allows no queue of that name.
        """
        errand = passage.current.get()
        held = errand.held if errand.errand == "retry" else None
        if isinstance(held, MessageProxy) and job.noted(held, "moved"):
            return message  # an interrupt came between the send and its return: the retry is there
        found = self.enqueue_many([Sending(message, delay, held=held)])[0]
        if isinstance(held, MessageProxy):
            job.note(held, moved=True)
        return found.message

    def enqueue_many(self, sendings: Sequence[Sending], *, whole: bool = False) -> list[Receipt]:
        """Send messages, ten with each request.

        Args:
            sendings: what to send. If one is too large none is sent.
            whole: of no effect: SQS has no way to take all or none. What is refused is told by `PartlySent`.

        Returns:
            What became of each, in their order.

        Raises:
            MessageTooLarge: nothing was sent.
            PartlySent: some are in, some are not: it says which.
            SQSError: nothing was sent.
        """
        return self._dispatch.send(sendings)

    def send_ready(self, queue_name: str, message: Message[Any]) -> None:
        """Send a job that is ready and was let in before, past the hooks: it is due, or replayed.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: it is not there.
        """
        place = self.place(queue_name)
        group, dedup = labels(message)
        self.outbox.send(place.url, Parcel(fitting(message, place.largest), group=group, dedup=dedup))

    def dead_letter(self, queue_name: str, message: MessageProxy) -> None:
        """Send a held job to the dead letters, with what its options say about its death.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: it is not there.
        """
        try:
            body = fitting(message._message, LARGEST_BYTES)
        except Exception:  # an encoder's own errors, or it is too large for words: what is stored is kept
            body = message.held.body
        self._bury(queue_name, Parcel(body))

    def dead_letter_undecodable(self, queue_name: str, held: Held) -> None:
        """Send what nobody can read to the dead letters, as it is."""
        parcel = Parcel(held.body, reason="undecodable")
        self._bury(queue_name, parcel if parcel.size <= LARGEST_BYTES else Parcel(held.body))

    def _bury(self, queue_name: str, parcel: Parcel) -> None:
        """Of a FIFO queue each letter is a group of its own: one that is looked at must not hide the others."""
        name = uuid4().hex
        alone = replace(parcel, group=name, dedup=name)
        self.outbox.send(self.place(queue_name).dead, alone if is_fifo(queue_name) else parcel)

    # Consuming.

    @property
    def consumer_class(self) -> type[SQSConsumer]:
        return SQSConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of a queue. Asks nothing of SQS by itself: its thread does, and waits where SQS is away."""
        self.heart.start()
        consumer = self.consumer_class(self, queue_name, prefetch, timeout)
        self._consumers = [each for each in self._consumers if each.is_alive] + [consumer]
        at_process_exit(self.close_up)
        return consumer

    def desk(self, queue_name: str) -> Desk:
        """What this process holds of a queue."""
        found = self._desks.get(queue_name)
        return found or self._desks.setdefault(queue_name, Desk(in_order=is_fifo(queue_name)))

    def desks(self) -> list[tuple[str, Desk]]:
        """All of them, by queue."""
        return list(self._desks.items())

    def settler(self, queue_name: str) -> Settler:
        """What deletes the jobs of a queue that are done."""
        found = self._settlers.get(queue_name)
        return found or self._settlers.setdefault(
            queue_name, Settler(self, queue_name, self.desk(queue_name))
        )

    def close_up(self) -> None:
        """Let go of everything: consumers close, acks go out, and the last polls are waited for, so that what they
        bring goes back. Called when the process ends; takes up to `wait` seconds."""
        for consumer in self._consumers:
            consumer.close()
        deadline = time.monotonic() + self.settings.wait + 2
        for poller in [poller for consumer in self._consumers for poller in consumer.pollers]:
            poller.thread.join(max(0.0, deadline - time.monotonic()))
        for settler in self._settlers.values():
            settler.flush()
        self.heart.stop()

    def close(self) -> None:
        self.heart.stop()
        if not any(consumer.is_alive for consumer in self._consumers):
            not_at_process_exit(self.close_up)
        super().close()

    # Asking.

    def configure(self, config: Config) -> None:
        """Look at what the configuration says about queues. Called by `littleq.install`."""
        for queue in config.queues.values():
            if queue.max_deliveries >= self.settings.max_receives:
                self.logger.warning(
                    "Queue %r: max_deliveries is %d, but SQS itself dead-letters a job that was handed out %d times: "
                    "raise max_receives in the URL.",
                    *(queue.name, queue.max_deliveries, self.settings.max_receives),
                )
            kept = queue.dead_retention_seconds
            if kept is not None:
                self.addresses.dead_retention[queue.name] = kept
                if kept > LONGEST_RETENTION:
                    self.logger.warning(
                        "Queue %r: SQS keeps a dead letter for 14 days, no longer.", queue.name
                    )

    def ping(self) -> None:
        """Ask SQS for a sign of life. That these credentials may not ask is one.

        Raises:
            SQSError: it gives none, within two seconds, or does not know these credentials.
        """
        try:
            with outages.in_plain_words("*"):
                self.clients.hasty.list_queues(MaxResults=1)
        except outages.SQSError as error:
            if outages.code_of(error.__cause__ or error) not in outages.NO_RIGHT:
                raise

    # For tests, as Dramatiq has them.

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue has no job, by SQS's approximate counts.

        Raises:
            QueueJoinTimeout: it has some after `timeout` ms.
        """
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        while any(self.addresses.total(address, *COUNTS) for address in self._addresses(queue_name)):
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(0.1)

    def flush(self, queue_name: str) -> None:
        """Drop all the jobs of a queue, dead ones too; SQS allows that once a minute."""
        place = self.place(queue_name)
        with outages.in_plain_words(queue_name):
            for address in (*self._addresses(queue_name), place.dead):
                self.clients.quick.purge_queue(QueueUrl=address)

    def flush_all(self) -> None:
        """Drop the jobs of all declared queues."""
        for queue_name in self.queues:
            self.flush(queue_name)

    def _addresses(self, queue_name: str) -> Iterable[str]:
        place = self.place(queue_name)
        return [place.url, *([place.delayed] if place.delayed else [])]
