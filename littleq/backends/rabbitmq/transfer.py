"""RabbitMQ as an end of a move.

As a source it holds what was taken on a connection without an ack: when that ends, however it ends, all of it is back,
and is known again by its content. As a target it marks each message with the batch that it came in, and looks through
its queues for them when nobody knows how a batch ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import pika
from pika import exceptions

from littleq.backends.forms import encoded, ready_form
from littleq.backends.rabbitmq.broker import RabbitmqBroker
from littleq.backends.rabbitmq.browsing import all_in_hand
from littleq.backends.rabbitmq.connecting import connect
from littleq.backends.rabbitmq.headers import DIED, DUE
from littleq.backends.rabbitmq.morgue import corpse_of
from littleq.backends.rabbitmq.outages import in_dramatiqs_words
from littleq.backends.rabbitmq.outlet import Fate, Outlet
from littleq.backends.rabbitmq.outlet import Parcel as Publication
from littleq.backends.rabbitmq.sending import parcel_of
from littleq.backends.transfer import (
    Batch,
    Facts,
    Found,
    Kind,
    Opening,
    Parcel,
    Ref,
    content_id,
    decoded,
    with_death,
)

#: Header of what a move brought: its name, the batch, and the id that the job had.
MOVED: Final = "littleq-moved"


class RabbitmqTransfer:
    """One queue of a RabbitMQ broker; see `littleq.backends.transfer.Transfer`."""

    facts = Facts(finds=False, gives="looked up", batch=500, holds="until its connection has ended")

    def __init__(self, broker: RabbitmqBroker, queue: str) -> None:
        self._broker, self._queue = broker, queue
        self._connection: Any = None
        self._channel: Any = None
        self._held: dict[str, int] = {}
        self._outlet: Outlet | None = None

    # As a source.

    def take(self, kind: Kind, limit: int) -> Sequence[Parcel]:
        parcels: list[Parcel] = []
        with in_dramatiqs_words():
            self._look_after_connection()
            for place in self._places(kind):
                while len(parcels) < limit and (found := self._get(kind, place)) is not None:
                    parcels.append(found)
        return parcels

    def forget(self, refs: Sequence[Ref]) -> set[str]:
        gone = set()
        with in_dramatiqs_words():
            for ref in refs:
                tag = self._held.pop(ref.parcel_id, None)
                if tag is not None:
                    self._channel.basic_ack(tag)
                    gone.add(ref.parcel_id)
            if gone:
                self._channel.basic_qos(prefetch_count=0)  # answered when the acks before it have come
        return gone

    def release(self, refs: Sequence[Ref] = ()) -> None:
        if self._held:
            self._held.clear()
            with in_dramatiqs_words():
                self._channel.basic_nack(0, multiple=True, requeue=True)
                self._channel.basic_qos(prefetch_count=0)

    def _places(self, kind: Kind) -> Iterator[str]:
        """Where jobs of a kind may be; those that there are."""
        broker, names, queue = self._broker, self._broker.names, self._queue
        if kind == "ready":
            found = broker.topology.places(queue)
        elif kind == "dead":
            found = broker.letter_places(queue)
        else:
            rungs = range(len(broker.on_rungs(queue)))
            # From the top: what comes down a rung meanwhile is met there.
            found = [*(names.rung(queue, rung) for rung in reversed(rungs)), names.foreign_delayed(queue)]
        return (place for place in found if broker.count(place))

    def _look_after_connection(self) -> None:
        """After a pause the server may have given it up; nothing is held then, and another one is made."""
        if self._connection is not None and not self._held:
            try:
                self._connection.process_data_events(0)
            except exceptions.AMQPError:
                self._channel = None

    def _get(self, kind: Kind, place: str) -> Parcel | None:
        if self._channel is None or not self._channel.is_open:
            self._held.clear()  # they went back with their connection
            self._connection = connect(self._broker.parameters)
            self._channel = self._connection.channel()
        method, properties, body = self._channel.basic_get(place)
        if method is None:
            return None
        found = self._parcel(kind, properties, body)
        self._held[found.parcel_id] = method.delivery_tag
        return found

    def _parcel(self, kind: Kind, properties: Any, body: bytes) -> Parcel:
        if kind == "dead":
            corpse = corpse_of(properties, body)
            name = content_id(corpse.letter_id.encode(), self._held)
            return Parcel(name, kind, body, at=corpse.died_at, deliveries=corpse.deliveries)
        due, data = (properties.headers or {}).get(DUE), body
        message = decoded(body)
        if message is not None and "eta" in message.options:  # as plain Dramatiq has it
            due, data = message.options["eta"], encoded(ready_form(message, self._queue))
        if isinstance(due, (int, float)) and due > time.time() * 1000:
            return Parcel(content_id(body, self._held), "delayed", data, at=due / 1000)
        return Parcel(content_id(body, self._held), "ready", data)

    # As a target.

    def mark(self) -> str:
        return ""

    def give(self, batch: Batch, parcels: Sequence[Parcel]) -> set[str]:
        with in_dramatiqs_words():
            publications = [self._publication(batch, parcel) for parcel in parcels]
            if self._outlet is None or not self._outlet.is_open:
                self._outlet = Outlet(connect(self._broker.parameters))
            fates: list[Fate | None] = [None] * len(publications)
            self._outlet.publish(publications, fates)
        return {parcel.parcel_id for parcel, fate in zip(parcels, fates, strict=True) if fate == "in"}

    def present(self, batch: Batch, refs: Sequence[Ref]) -> Found:
        wanted = {_mark(batch, ref.parcel_id): ref.parcel_id for ref in refs}
        found: set[str] = set()
        with in_dramatiqs_words():
            has_workers = any(self._workers(place) for place in self._broker.topology.places(self._queue))
            connection = connect(self._broker.parameters)
            try:  # all of it stays in hand until the end: nothing moves on meanwhile
                for properties in self._look_through(connection):
                    parcel_id = wanted.get(str((properties.headers or {}).get(MOVED)))
                    if parcel_id is not None:
                        found.add(parcel_id)
            finally:
                with suppress(exceptions.AMQPError):
                    connection.close()
        return Found(found, is_exact=not has_workers or len(found) == len(refs))

    def close(self, *, finished: bool) -> None:
        for connection in (self._connection, None if self._outlet is None else self._outlet.connection):
            if connection is not None and connection.is_open:
                connection.close()
        self._broker.close()

    def _publication(self, batch: Batch, parcel: Parcel) -> Publication:
        mark = {MOVED: _mark(batch, parcel.parcel_id)}
        if parcel.kind == "dead":
            died = time.time() if parcel.at is None else parcel.at
            properties = pika.BasicProperties(
                delivery_mode=2,
                message_id=uuid4().hex,
                timestamp=int(died),
                headers={DIED: round(died * 1000), **mark},
            )
            return Publication("", self._broker.topology.ensure(self._queue), with_death(parcel), properties)
        delay = 0.0 if parcel.at is None else (parcel.at - time.time()) * 1000
        made = parcel_of(self._broker, self._queue, parcel.data, delay, decoded(parcel.data))
        made.properties.headers = {**(made.properties.headers or {}), **mark}
        made.properties.message_id = (
            made.properties.message_id or uuid4().hex
        )  # by which what found no queue is known
        return made

    def _workers(self, place: str) -> int:
        found = self._broker.ask(lambda channel: channel.queue_declare(place, passive=True))
        return int(found.method.consumer_count)

    def _look_through(self, connection: Any) -> Iterator[Any]:
        """The properties of all there is."""
        for kind in ("delayed", "ready", "dead"):
            for place in self._places(kind):
                for _, _, properties, _ in all_in_hand(connection, place, self._broker.count(place) or 0):
                    yield properties


def make_transfer(opening: Opening) -> RabbitmqTransfer:
    return RabbitmqTransfer(opening.broker, opening.queue)


def _mark(batch: Batch, parcel_id: str) -> str:
    return f"{batch.move}:{batch.number}:{parcel_id}"
