"""Dead letters in hand: taken from their queues without an ack, so that they go back when the connection ends.

read     all that are there, once, as they come; each may be deleted on the way
InHand   one by one, until the wanted one is found; those that were passed stay in hand for the next question
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pika
from pika import exceptions

from littleq.backends.rabbitmq.browsing import all_in_hand
from littleq.backends.rabbitmq.connecting import connect
from littleq.backends.rabbitmq.headers import DIED
from littleq.backends.rabbitmq.quiet import quietly

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from littleq.backends.rabbitmq.broker import RabbitmqBroker

#: How long the server may take to show again what was given back, in seconds.
RETURN_SECONDS = 1.0
#: For how long letters stay in hand after a question, in seconds.
IN_HAND_SECONDS = 1.0
#: The server's reason for a job that was handed out too often.
_DELIVERY_LIMIT = "delivery_limit"


class Corpse(NamedTuple):
    """A dead letter as it is stored; `deliveries`: where the server took it for poison."""

    letter_id: str
    died_at: float
    deliveries: int | None
    body: bytes


class InAll:
    """How many letters are in hand."""

    letters = 0


class Held(NamedTuple):
    """A dead letter in hand."""

    corpse: Corpse
    channel: BlockingChannel
    tag: int
    in_all: InAll

    def delete(self) -> None:
        """Take it away for good. The server has done so when the next question on its connection is answered."""
        self.channel.basic_ack(self.tag)
        self.in_all.letters -= 1


def corpse_of(properties: pika.BasicProperties, body: bytes) -> Corpse:
    """A letter by what the server stores with it; one that it moved itself has no id, and is called by its content."""
    headers: dict[str, Any] = properties.headers or {}
    deaths = headers.get("x-death")
    last: dict[str, Any] = deaths[0] if isinstance(deaths, list) and deaths else {}
    own = headers.get(DIED)
    if isinstance(own, int):
        return Corpse(str(properties.message_id), own / 1000, None, body)
    at = last.get("time")
    died = at.timestamp() if at is not None else float(properties.timestamp or time.time())
    deliveries = int(headers.get("x-delivery-count") or 0) if last.get("reason") == _DELIVERY_LIMIT else None
    return Corpse(hashlib.blake2s(body, digest_size=16).hexdigest(), died, deliveries, body)


@contextmanager
def reading(broker: RabbitmqBroker, queue: str) -> Iterator[Iterator[Held]]:
    """All dead letters of a queue, in hand one after the other; afterwards what was not deleted is back."""
    connection = connect(broker.parameters)
    in_all = InAll()
    try:
        yield _read(broker, connection, queue, in_all)
    finally:
        _hang_up(broker, connection, queue, in_all.letters)


def _read(
    broker: RabbitmqBroker, connection: pika.BlockingConnection, queue: str, in_all: InAll
) -> Iterator[Held]:
    for place in broker.letter_places(queue):
        for channel, method, properties, body in all_in_hand(connection, place, broker.count(place) or 0):
            in_all.letters += 1
            yield Held(corpse_of(properties, body), channel, method.delivery_tag, in_all)


class InHand:
    """Letters of one queue that were asked for by id, and all that stood before them."""

    def __init__(self, broker: RabbitmqBroker, queue: str) -> None:
        self._broker, self._queue = broker, queue
        self._lock = threading.Lock()
        self._connection: pika.BlockingConnection | None = None
        self._channels: dict[str, BlockingChannel] = {}
        self._held: dict[str, Held] = {}
        self._in_all = InAll()
        self._used_at = 0.0

    @contextmanager
    def letter(self, letter_id: str) -> Iterator[Held | None]:
        """One letter. It may be deleted; None: it is not there."""
        with self._lock:
            try:
                found = self._held.get(letter_id)
                yield found if found is not None and found.channel.is_open else self._look_for(letter_id)
            except exceptions.AMQPError:
                self._let_go()
                raise
            finally:
                self._used_at = time.monotonic()

    def forget(self, letter_id: str) -> None:
        """It was deleted."""
        self._held.pop(letter_id, None)

    def let_go(self) -> None:
        """All go back."""
        with self._lock:
            self._let_go()

    def _look_for(self, letter_id: str) -> Held | None:
        if self._connection is None or not self._connection.is_open:
            self._open()
        for place, channel in self._channels.items():
            while True:
                method, properties, body = channel.basic_get(place)
                if method is None:
                    break
                held = Held(corpse_of(properties, body), channel, method.delivery_tag, self._in_all)
                self._in_all.letters += 1
                self._held[held.corpse.letter_id] = held
                if held.corpse.letter_id == letter_id:
                    return held
        return None

    def _open(self) -> None:
        self._let_go()
        places = [p for p in self._broker.letter_places(self._queue) if self._broker.count(p) is not None]
        self._connection = connect(self._broker.parameters)
        self._channels = {place: self._connection.channel() for place in places}
        self._used_at = time.monotonic()
        threading.Thread(target=self._close_when_idle, name="littleq-letters", daemon=True).start()

    def _close_when_idle(self) -> None:
        while True:
            time.sleep(IN_HAND_SECONDS / 4)
            with self._lock:
                if self._connection is None:
                    return
                if time.monotonic() - self._used_at > IN_HAND_SECONDS:
                    self._let_go()
                    return

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        in_all, self._in_all = self._in_all.letters, InAll()
        self._held, self._channels = {}, {}
        if connection is not None:
            _hang_up(self._broker, connection, self._queue, in_all)


def _hang_up(broker: RabbitmqBroker, connection: pika.BlockingConnection, queue: str, held: int) -> None:
    """Give back what is in hand, and wait until it is seen again: whoever asks next would not find it."""
    with quietly(), suppress(exceptions.AMQPError):
        there = broker.dead(queue)
        if connection.is_open:
            connection.close()
        deadline = time.monotonic() + RETURN_SECONDS
        while broker.dead(queue) < there + held and time.monotonic() < deadline:
            time.sleep(0.005)
