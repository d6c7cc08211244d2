"""How a worker takes jobs from a queue of our RabbitmqBroker.

The server pushes; the consumer's thread reads, and sends acks and heartbeats, while all worker threads run jobs of any
length. At most `prefetch` jobs are handed out and not settled. A queue with a contract has several places, and each
pushes up to `prefetch`: what cannot be handed out for a moment goes back, so that another worker may have it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.logging import get_logger

from littleq import job
from littleq.backends.forms import ready_form
from littleq.backends.handling import verdict
from littleq.backends.outage import Outage
from littleq.backends.rabbitmq.hands import Handed
from littleq.backends.rabbitmq.headers import DUE
from littleq.backends.rabbitmq.link import Delivered, Link
from littleq.backends.rabbitmq.outages import ERRORS, explain
from littleq.backends.rabbitmq.quiet import quietly

if TYPE_CHECKING:
    from littleq.backends.rabbitmq.broker import RabbitmqBroker

#: What cannot be handed out for so long goes back, in seconds.
PATIENCE_SECONDS = 0.1
#: How often it is looked whether there is a further place to take jobs from, in seconds.
LOOK_SECONDS = 5.0
#: The ladder has the server's clock, a due time its sender's: nearer than this it is no longer waited for, in ms.
CLOCKS_DIFFER_MS = 1000


class RabbitmqConsumer(Consumer):
    """See the module. Made by `RabbitmqBroker.consume`."""

    takes_acks_when_closed = False

    def __init__(self, broker: RabbitmqBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self.logger = get_logger(__name__, type(self))
        self.broker = broker
        self.queue_name = queue_name
        self.prefetch = prefetch
        self.timeout = timeout
        self.answered_at = 0.0  # when the server did last (monotonic): for the worker's pulse
        self._hands = broker.hands(queue_name)
        self._link: Link | None = None
        self._look_at = 0.0
        self._full_since: float | None = None
        self._is_stopped = False
        self._outage = Outage(self.logger, queue_name, partial(explain, queue_name=queue_name))

    @property
    def outstanding_message_count(self) -> int:
        link = self._link
        return len(self._hands) + (len(link.arrived) if link is not None else 0)

    @property
    def away_since(self) -> float | None:
        """Since when the queue cannot be consumed (monotonic, s); None: it can."""
        return self._outage.since

    # What becomes of a job. Called by the threads that run them.

    def ack(self, message: MessageProxy) -> None:
        if verdict(message) == "interrupted":
            self.logger.warning(
                "Message %r was interrupted before its verdict: it goes back.", message.message_id
            )
            self.requeue([message])
        else:
            self._settle(message)

    def nack(self, message: MessageProxy) -> None:
        try:
            self.broker.dead_letter(self.queue_name, message)
        except ConnectionClosed:
            raise  # Dramatiq tries again
        except Exception:
            self.requeue([message])
            raise
        self._settle(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        for message in messages:
            if isinstance(message, Handed):
                self._hands.give_back(message)

    def fetch_no_more(self) -> None:
        """Hand out nothing from this instant. Takes no lock: a signal handler calls it."""
        self._is_stopped = True

    def hand_back(self) -> None:
        """Give acks that wait a moment. The process ends next, and the server takes back what its connection held."""
        self.fetch_no_more()
        deadline = time.monotonic() + 1.0
        while (link := self._link) is not None and link.has_answers and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self) -> None:
        """What is done is said; what was not handed out goes back, and so does what still runs."""
        self._drop()

    # Fetching. Called by the consumer thread.

    def __next__(self) -> MessageProxy | None:
        try:
            with quietly():
                return self._next(time.monotonic() + self.timeout / 1000)
        except (*ERRORS, ConnectionClosed) as error:
            self._drop()
            self._outage.goes_on(error, longest=max(self.timeout, 100) / 1000)
            return None

    def _next(self, deadline: float) -> MessageProxy | None:
        while True:
            link = self._connected()
            found = self._next_of(link)
            if found is not None:
                return found
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                return None
            link.pump(min(seconds, PATIENCE_SECONDS) if link.arrived else seconds)
            self.answered_at = link.answered_at

    def _next_of(self, link: Link) -> MessageProxy | None:
        """A job that may be handed out, if there is one; else whether jobs are delivered is set right."""
        if self._is_stopped:
            if link.is_subscribed or link.arrived:
                link.unsubscribe()
                link.give_back_what_arrived()
            return None
        while len(self._hands) < self.prefetch:
            self._full_since = None
            if not link.arrived:
                link.subscribe()
                return None
            if link.has_answers:
                link.pump(0)
            proxy = self._received(link, link.arrived.popleft())
            if proxy is not None and self._hands.take(proxy):
                return proxy
        now = time.monotonic()
        if self._full_since is None:
            self._full_since = now
        elif link.arrived and now - self._full_since >= PATIENCE_SECONDS:
            link.unsubscribe()
            link.give_back_what_arrived()
        return None

    def _received(self, link: Link, delivered: Delivered) -> Handed | None:
        """The job, unless it cannot be read or is not due: then it has gone where it belongs."""
        try:
            message = self._ready(delivered)
        except (*ERRORS, ConnectionClosed) as error:
            # Messages cannot leave, jobs may come: the link is as good as it was.
            self.logger.warning("Queue %r: a message stays where it is: %s", self.queue_name, error)
            link.answer("back", delivered)
            return None
        if message is None:
            link.answer("ack", delivered)
            return None
        proxy = Handed(message, delivered)
        if delivered.redelivered or (delivered.properties.headers or {}).get("x-delivery-count"):
            job.note(proxy, redelivered=True)
        return proxy

    def _ready(self, delivered: Delivered) -> Message[Any] | None:
        """The message as it runs; None: a copy of it is elsewhere now.

        Raises:
            ConnectionClosed, pika.exceptions.AMQPError: the copy is not confirmed.
        """
        broker, queue = self.broker, self.queue_name
        try:
            message: Message[Any] = Message.decode(delivered.body)
        except DecodeError as error:
            self.logger.error(
                "Queue %r: a job cannot be decoded: it is dead-lettered (%s).", queue, error.error
            )
            broker.dead_letter_as_it_is(queue, delivered.body)
            return None
        eta, now = message.options.get("eta"), current_millis()
        early = float((delivered.properties.headers or {}).get(DUE, 0) - now - CLOCKS_DIFFER_MS)
        if early <= 0 and eta is None and not delivered.is_foreign:
            return message if message.queue_name == queue else message.copy(queue_name=queue)
        delay = max(early, eta - now if isinstance(eta, (int, float)) else 0)
        message = ready_form(message, queue)
        if delay > 0 or delivered.is_foreign:
            broker.let_in(queue, bytes(message.encode()), delay=delay, message=message)
            return None
        return message

    # Links.

    def _connected(self) -> Link:
        """The link, a new one where there is none; from time to time with places that came to be meanwhile."""
        link, now = self._link, time.monotonic()
        if link is None:
            link = self._link = self._new_link()
            self._outage.is_over()
        elif now >= self._look_at:
            try:
                found = self.broker.topology.places(self.queue_name)
            except (*ERRORS, ConnectionClosed) as error:  # on another connection
                self.logger.debug(
                    "Queue %r: not known whether there is more of it: %s", self.queue_name, error
                )
                found = []
            for place in found:
                if place not in link.places:
                    link.add(place)
        else:
            return link
        self._look_at = now + LOOK_SECONDS
        return link

    def _new_link(self) -> Link:
        broker, queue = self.broker, self.queue_name
        broker.topology.forget(queue)  # something of it may have been deleted
        broker.topology.ensure(queue)
        if queue in broker.limits:
            broker.topology.first(queue, broker.limits[queue])
        foreign = broker.names.foreign_delayed(queue)
        has_foreign = broker.count(foreign) is not None
        places = broker.topology.places(queue)
        return Link(broker.parameters, self.prefetch, places, foreign if has_foreign else None)

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with quietly():
                link.close()
            self._hands.link_broke(link)

    def _settle(self, message: MessageProxy) -> None:
        if isinstance(message, Handed) and not self._hands.settle(message):
            self.logger.warning(
                "Message %r is over, but the server took it back when the link to it broke: unless it comes here it "
                "runs again.",
                message.message_id,
            )
