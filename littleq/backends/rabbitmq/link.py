"""One connection of a consumer to the server, from its start to its end: deliveries in, acks out.

A consumer outlives its links: when one breaks, the server gives what was delivered on it to others, and no ack for it
can ever be sent. A link is used by one thread, the consumer's; acks reach it through a queue.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import pika
from pika import exceptions

from littleq.backends.rabbitmq.connecting import connect

#: How often an idle server is asked for a sign of life, in seconds. Only so it is known to be there.
ASK_SECONDS = 1.0
#: Jobs of plain Dramatiq's delay queue that are on their way to our ladder.
ADOPT_AT_ONCE = 50

Answer = Literal["ack", "back"]


class Delivered(NamedTuple):
    """A message as it came."""

    link: Link
    tag: int
    redelivered: bool
    properties: pika.BasicProperties
    body: bytes
    is_foreign: bool  # from the delay queue of plain Dramatiq


class Link:
    """See the module.

    Attributes:
        answered_at: when the server gave its last sign of life (monotonic, s).
        arrived: what was delivered and not looked at yet.
        is_broken: no answer reaches the server any more.
    """

    def __init__(self, parameters: Any, prefetch: int, places: Sequence[str], foreign: str | None) -> None:
        self.places, self._prefetch = list(places), prefetch
        self.is_broken = False
        self.arrived: deque[Delivered] = deque()
        self._answers: deque[tuple[Answer, Delivered]] = deque()
        self._is_waiting = False
        self._is_cancelled = False
        self._tags: list[str] = []
        self._asked_at = 0.0
        self.answered_at = 0.0
        self._connection = connect(parameters)
        try:
            self._channel = self._connection.channel()
            self._channel.basic_qos(prefetch_count=prefetch)
            self._channel.add_on_cancel_callback(self._on_cancel)
            self._side = None
            if foreign is not None:
                self._side = self._connection.channel()
                self._side.basic_qos(prefetch_count=ADOPT_AT_ONCE)
                self._side.basic_consume(foreign, self._take_foreign)
        except BaseException:
            self.close()
            raise
        self._heard()

    @property
    def is_subscribed(self) -> bool:
        return bool(self._tags)

    @property
    def is_alive(self) -> bool:
        return bool(self._connection.is_open and self._channel.is_open and not self._is_cancelled)

    @property
    def has_answers(self) -> bool:
        """Whether an ack has not been sent."""
        return bool(self._answers)

    def subscribe(self) -> None:
        """Have jobs delivered."""
        if not self._tags:
            self._tags = [self._channel.basic_consume(place, self._take) for place in self.places]
            self.places.reverse()  # next time another one is first

    def add(self, place: str) -> None:
        """Another queue to take jobs from."""
        self.places.append(place)
        if self._tags:
            self._tags.append(self._channel.basic_consume(place, self._take))

    def unsubscribe(self) -> None:
        """No more jobs, but for those that are on their way."""
        tags, self._tags = self._tags, []
        for tag in tags:
            self._channel.basic_cancel(tag)

    def give_back_what_arrived(self) -> None:
        """Others may have it."""
        while self.arrived:
            delivered = self.arrived.popleft()
            if delivered.link is self:
                self._answers.append(("back", delivered))
        self._send_answers()

    def answer(self, what: Answer, delivered: Delivered) -> None:
        """Settle a delivery of this link. From any thread."""
        self._answers.append((what, delivered))
        if self._is_waiting:
            with suppress(exceptions.AMQPError):  # it has ended: nobody waits
                self._connection.add_callback_threadsafe(_nothing)

    def pump(self, seconds: float) -> None:
        """Send answers, take deliveries and heartbeats; return as soon as something has happened.

        Raises:
            pika.exceptions.AMQPError: the link is broken.
        """
        self._ask()
        self._is_waiting = True
        try:
            # Looked at after the mark is set: an answer that comes later wakes us.
            self._send_answers()
            self._connection.process_data_events(0 if self._answers else seconds)
        finally:
            self._is_waiting = False
        self._send_answers()
        self.check()

    def check(self) -> None:
        """Raise why the link is broken, if it is."""
        if self._is_cancelled:
            raise exceptions.ConsumerCancelled(exceptions.ChannelClosedByBroker(404, "the queue was deleted"))
        if not self.is_alive:
            why = getattr(self._channel, "_closing_reason", None)
            raise (
                why if isinstance(why, exceptions.AMQPError) else exceptions.ChannelWrongStateError("closed")
            )

    def close(self) -> None:
        """Send the answers that wait, and hang up: the server gives the rest to others."""
        with suppress(exceptions.AMQPError, AttributeError):
            if self.is_alive:
                self._send_answers()
        with suppress(exceptions.AMQPError):
            if self._connection.is_open:
                self._connection.close()

    def _take(self, channel: Any, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        self._arrive(method, properties, body, is_foreign=False)

    def _take_foreign(self, channel: Any, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        self._arrive(method, properties, body, is_foreign=True)

    def _arrive(
        self, method: Any, properties: pika.BasicProperties, body: bytes, *, is_foreign: bool
    ) -> None:
        self.answered_at = time.monotonic()
        self.arrived.append(
            Delivered(self, method.delivery_tag, method.redelivered, properties, body, is_foreign)
        )

    def _send_answers(self) -> None:
        while self._answers:
            what, delivered = self._answers.popleft()
            channel: Any = self._side if delivered.is_foreign else self._channel
            if what == "ack":
                channel.basic_ack(delivered.tag)
            else:
                channel.basic_nack(delivered.tag, requeue=True)

    def _ask(self) -> None:
        """A question without a wait: repeating what is in force already costs nothing."""
        now = time.monotonic()
        if now - max(self._asked_at, self.answered_at) > ASK_SECONDS:
            self._asked_at = now
            low: Any = self._channel._impl
            low.basic_qos(prefetch_count=self._prefetch, callback=self._heard)

    def _heard(self, _frame: Any = None) -> None:
        self.answered_at = time.monotonic()

    def _on_cancel(self, _frame: Any) -> None:
        self._is_cancelled = True


def _nothing() -> None:
    """To wake up for."""
