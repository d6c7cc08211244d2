"""Where messages leave a thread: a channel on which the server confirms each of them, many with each round trip.

pika's `BlockingChannel.basic_publish` waits for the answer to each message. Here the answers are awaited together,
which takes the channel below it: `_impl`, which every BlockingChannel has, and which hears of each `Ack` and `Nack`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import pika
from pika import exceptions, spec

#: Messages on their way at most: some hundred kilobytes, and a few milliseconds of the server's time.
BATCH = 500
#: A connection that was idle for longer is asked first whether it still is one, in seconds.
IDLE_SECONDS = 1.0

#: Confirmed; refused by a queue that is full; or there is no such queue.
Fate = Literal["in", "full", "lost"]


class Parcel(NamedTuple):
    """One message on its way to an exchange; "": to the queue `key`."""

    exchange: str
    key: str
    body: bytes
    properties: pika.BasicProperties


class Outlet:
    """A channel of one thread's connection. Whatever it raises, it must not be used again."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self.connection = connection
        self._channel = connection.channel()
        self._low: Any = self._channel._impl
        self._open: dict[int, int] = {}  # delivery tag: place in `_fates`
        self._fates: list[Fate | None] = []
        self._returned: set[str] = set()
        self._tag = 0
        self._used_at = time.monotonic()
        is_confirming: list[Any] = []
        self._low.add_on_return_callback(self._on_return)
        self._low.confirm_delivery(self._on_answer, callback=is_confirming.append)
        self._channel._flush_output(lambda: bool(is_confirming))

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known; an idle connection is asked."""
        if self.connection.is_open and time.monotonic() - self._used_at > IDLE_SECONDS:
            try:
                self.connection.process_data_events(0)  # heartbeats, and whether the server has hung up
            except exceptions.AMQPError:
                return False
            self._used_at = time.monotonic()
        return bool(self.connection.is_open and self._channel.is_open)

    def publish(self, parcels: Sequence[Parcel], fates: list[Fate | None]) -> None:
        """Send the parcels whose fate is None, and write down what became of them; on an error too, as far as known.

        Raises:
            pika.exceptions.AMQPError: the fate of what is None still is not known.
        """
        self._fates, self._returned = fates, set()
        waiting = [place for place, fate in enumerate(fates) if fate is None]
        for first in range(0, len(waiting), BATCH):
            for place in waiting[first : first + BATCH]:
                exchange, key, body, properties = parcels[place]
                self._tag += 1
                self._open[self._tag] = place
                self._low.basic_publish(exchange, key, body, properties, mandatory=True)
            self._channel._flush_output(lambda: not self._open)
        self._used_at = time.monotonic()
        for place in waiting if self._returned else ():
            if parcels[place].properties.message_id in self._returned:
                fates[place] = "lost"

    def _on_answer(self, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._open if tag <= method.delivery_tag]
        fate: Fate = "in" if isinstance(method, spec.Basic.Ack) else "full"
        for tag in tags:
            self._fates[self._open.pop(tag)] = fate

    def _on_return(self, _channel: Any, _method: Any, properties: pika.BasicProperties, _body: bytes) -> None:
        self._returned.add(properties.message_id)
