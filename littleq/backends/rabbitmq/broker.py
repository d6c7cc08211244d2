"""LittleQ's RabbitmqBroker: Dramatiq's queues, with delays, dead letters and a bound that the server holds.

    first send ──> q@first.N (a contract: at most so many) ──┐
    first send ──> q ────────────────────────────────────────┤
    retry, due, follow-up, replay ──> q ─────────────────────┴──> a worker ── ack ─> gone
                     ▲                                              │   │
    delayed ──> q@due.KK ──(the server, rung by rung)               │   └ nack ─> q.XQ ─ replay ─> q
                     ▲                                              │
                     └───────────────── retry ──────────────────────┘

Every message is confirmed by the server before its sender goes on. What changes its place (a retry, a dead letter, a
replay) is published and confirmed first, and taken away from its old place then: a death in between leaves it in both,
never in none.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from operator import methodcaller
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pika
from dramatiq.common import q_name
from pika import exceptions

from littleq import job, passage
from littleq.backends.base import Receipt, Sending
from littleq.backends.rabbitmq.connected import ConnectedBroker
from littleq.backends.rabbitmq.consumer import RabbitmqConsumer
from littleq.backends.rabbitmq.hands import Hands
from littleq.backends.rabbitmq.headers import DIED
from littleq.backends.rabbitmq.long_jobs import LongJobs
from littleq.backends.rabbitmq.names import PLAIN, Names
from littleq.backends.rabbitmq.outlet import Parcel
from littleq.backends.rabbitmq.sending import Outbox, parcel_of
from littleq.backends.rabbitmq.topology import Topology
from littleq.policies.admission import contract_limit

if TYPE_CHECKING:
    from dramatiq import Middleware
    from dramatiq.broker import Consumer, MessageProxy

    from littleq.config import Config


class RabbitmqBroker(ConnectedBroker):
    """A Dramatiq broker on RabbitMQ 3.10 or later.

    Args:
        url: `amqp://user:password@host:5672/vhost` or `amqps://…`; several servers of a cluster with `;` between them,
            or as a list. Options are pika's (`?heartbeat=15`), and `management` (see `urls.parameters_of`).
        middleware: as for any Dramatiq broker.
        namespace: prefix of all queues; with the default they are called as Dramatiq calls them.
        max_priority: as in Dramatiq; new queues are classic ones then, for quorum queues have no priorities.

    Raises:
        ConfigurationError: the URL is wrong.
    """

    def __init__(
        self,
        *,
        url: str | list[str],
        middleware: list[Middleware] | None = None,
        namespace: str = PLAIN,
        max_priority: int | None = None,
    ) -> None:
        self.namespace = namespace
        self.names = Names(namespace)
        self.limits: dict[str, int] = {}
        super().__init__(url=url, middleware=middleware, max_priority=max_priority)
        self.add_middleware(LongJobs(self))

    def _start_afresh(self) -> None:
        super()._start_afresh()
        self.topology = Topology(self)
        self._outbox = Outbox(self)
        self._hands: dict[str, Hands] = {}

    def forget_places(self) -> None:
        self.topology = Topology(self)

    def configure(self, config: Config) -> None:
        """Take over what the configuration says about queues. Called by `littleq.install`."""
        self.limits = {
            queue.name: contract_limit(queue.arrival_rate, queue.sla_seconds).jobs
            for queue in config.queues.values()
            if queue.admission_mode == "contract" and queue.arrival_rate is not None
        }

    # Queues.

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make a queue known; `ensure`: on the server too. There is no delay queue for workers to consume."""
        queue = q_name(queue_name)
        if queue not in self.queues:
            self.emit_before("declare_queue", queue)
            self.queues.add(queue)
            self.emit_after("declare_queue", queue)
        if ensure:
            self.told(lambda: self.topology.ensure(queue))

    def waiting(self, queue: str) -> int:
        """Jobs of a queue that are ready; of one without a contract those that workers hold too, as far as known."""
        places = self.topology.places(queue)
        ready = sum(self.count(place) or 0 for place in places)
        return ready if queue in self.limits else ready + (self.management.unacked(places) or 0)

    # Sending.

    def enqueue(self, message: Any, *, delay: int | None = None) -> Any:
        """As Dramatiq's.

        Raises:
            littleq.passage.QueueFull: to the gate of the stack, which set a bound; to nobody else.
            ConnectionClosed: the server is away, or takes no messages in; it may have the message all the same.
        """
        bound = passage.current.get().bound
        sending = Sending(
            message,
            delay,
            bound=None if bound is None else bound.jobs,
            overflow_delay=None if bound is None else bound.overflow_delay,
        )
        found = self.enqueue_many([sending])[0]
        if found.outcome == "full":
            raise passage.QueueFull(message.queue_name, found.depth)
        if bound is not None:
            bound.overflowed = found.outcome == "deferred"
        return found.message

    def enqueue_many(self, sendings: Sequence[Sending], *, whole: bool = False) -> list[Receipt]:
        """Send messages, 500 with each round trip.

        Args:
            sendings: what to send.
            whole: all of them or none. With senders that fill the queue at the very same moment, a group may pass its
                bound.

        Raises:
            ConnectionClosed: the server is away, or takes no messages in; some may be in.
        """
        return self.told(lambda: self._outbox.send(sendings, whole=whole))

    def let_in(self, queue: str, body: bytes, *, delay: float = 0, message: Any = None) -> None:
        """Put a message into a queue that was let in before: one that is replayed, or not due yet."""
        self.publish([lambda: parcel_of(self, queue, body, delay, message)])

    def dead_letter(self, queue: str, message: MessageProxy) -> None:
        """Put a copy of a held job to the dead letters, with what its options say about its death.

        Raises:
            ConnectionClosed: the server did not confirm it.
        """
        death = job.read(message.options).get("dead", {})
        self.dead_letter_as_it_is(queue, message.encode(), died_at=death.get("at"))

    def dead_letter_as_it_is(self, queue: str, body: bytes, died_at: float | None = None) -> None:
        """Put whatever this is to the dead letters of a queue.

        Raises:
            ConnectionClosed: the server did not confirm it.
        """
        died = time.time() if died_at is None else died_at
        properties = pika.BasicProperties(
            delivery_mode=2, message_id=uuid4().hex, timestamp=int(died), headers={DIED: int(died * 1000)}
        )
        self.told(lambda: self.publish([lambda: Parcel("", self.topology.ensure(queue), body, properties)]))

    # Consuming.

    @property
    def consumer_class(self) -> type[RabbitmqConsumer]:
        return RabbitmqConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of a queue and of what plain Dramatiq processes put into its delay queue."""
        self.declare_queue(queue_name)
        return self.consumer_class(self, queue_name, prefetch, timeout)

    def hands(self, queue: str) -> Hands:
        """What this process holds of a queue."""
        return self._hands.setdefault(queue, Hands())

    # Operating.

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Jobs that are ready, delayed and dead."""
        queue = q_name(queue_name)
        self.topology.ensure(queue)
        return self.waiting(queue), self.delayed(queue), self.dead(queue)

    def delayed(self, queue: str) -> int:
        """Jobs that are not due yet, those that plain Dramatiq delayed too."""
        return sum(self.on_rungs(queue)) + (self.count(self.names.foreign_delayed(queue)) or 0)

    def on_rungs(self, queue: str) -> list[int]:
        """Jobs on each rung of the ladder, as far as it was ever built."""
        return self.topology.on_rungs(queue)

    def dead(self, queue: str) -> int:
        """Dead letters, but for those that somebody looks at at this moment."""
        return sum(self.count(place) or 0 for place in self.letter_places(queue))

    def letter_places(self, queue: str) -> list[str]:
        """Where dead letters of a queue may be."""
        return [self.names.letters(queue), self.names.kept(queue)]

    def flush(self, queue_name: str) -> None:
        """Drop all the jobs of a queue, dead ones too."""
        queue, names = q_name(queue_name), self.names
        rungs = [names.rung(queue, rung) for rung in range(len(self.on_rungs(queue)))]
        for name in (
            *(self.topology.places(queue)),
            *rungs,
            names.foreign_delayed(queue),
            *self.letter_places(queue),
        ):
            with suppress(exceptions.ChannelClosedByBroker):  # there is no such queue
                self.ask(methodcaller("queue_purge", name))
