"""Kafka as an end of a move.

As a source the move is one more member of the groups that work off the queue and its delays: with workers about, it
gets some of the partitions. What it took and did not commit comes again, here or there, by the same offset. As a target
the ends of all topics are written down before a batch; after a crash what stands behind them is read: exact, whatever
workers did meanwhile, for a log forgets nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from littleq.backends.kafka.broker import KafkaBroker
from littleq.backends.kafka.commits import decoded as decoded_mark
from littleq.backends.kafka.delays import due_of, outgoing
from littleq.backends.kafka.lags import LATEST
from littleq.backends.kafka.letters import KEY_HEADER, REASON_HEADER, Index, key_of
from littleq.backends.kafka.membership import SETTINGS as CONSUMER_SETTINGS
from littleq.backends.kafka.outages import in_dramatiqs_words
from littleq.backends.kafka.sending import REPORT_SECONDS, Outgoing
from littleq.backends.kafka.sending import SETTINGS as PRODUCER_SETTINGS
from littleq.backends.kafka.shelf import Part, Record
from littleq.backends.transfer import Batch, Facts, Found, Kind, Opening, Parcel, Ref, decoded, with_death

#: Header of what a move brought: its name, the batch, and the id that the job had.
MOVED: Final = "littleq-moved"
#: How long nothing may come before there is nothing, in seconds: as long as a group takes to form; then less.
JOIN_SECONDS, SILENCE_SECONDS = 10.0, 1.0
#: How long more is waited for where something came.
MORE_SECONDS = 0.05
COMMIT_ATTEMPTS: Final = 3


class Member:
    """A member of one group that reads some topics."""

    def __init__(self, broker: KafkaBroker, topics: Sequence[str], group: str) -> None:
        self._parts: dict[tuple[str, int], Part] = {}
        self._joined = False
        settings = broker.address.consumer(**CONSUMER_SETTINGS, **{"group.id": group})
        self._consumer: Any = Consumer(settings)
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def take(self, limit: int) -> list[tuple[Record, Any]]:
        """Records and what the client read; none: there is none for this member."""
        found: list[tuple[Record, Any]] = []
        silent = time.monotonic() + (SILENCE_SECONDS if self._joined else JOIN_SECONDS)
        while len(found) < limit:
            was_joined = self._joined
            message = self._consumer.poll(MORE_SECONDS if found else max(0.0, silent - time.monotonic()))
            if self._joined and not was_joined:
                silent = time.monotonic() + SILENCE_SECONDS
            if message is None:
                if found or time.monotonic() >= silent:
                    break
                continue
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                continue
            record = self._receive(message)
            if record is not None:
                found.append((record, message))
        return found

    def settle(self, records: Sequence[Record]) -> None:
        """They are done with, and the server knows it."""
        for record in records:
            record.part.settle(record)
        places = [
            TopicPartition(topic, partition, marked[0], marked[1].encoded())
            for (topic, partition), part in self._parts.items()
            if any(record.part is part for record in records) and (marked := part.mark(())) is not None
        ]
        for attempt in range(COMMIT_ATTEMPTS if places else 0):
            try:
                self._consumer.commit(offsets=places, asynchronous=False)
                return
            except KafkaException as error:
                if attempt == COMMIT_ATTEMPTS - 1 or error.args[0].code() != KafkaError.REBALANCE_IN_PROGRESS:
                    raise
                self._consumer.poll(0.1)

    def close(self) -> None:
        self._consumer.close()

    def _receive(self, message: Any) -> Record | None:
        part = self._parts.get((message.topic(), message.partition()))
        if part is None:
            return None
        raw, stamp = message.value(), max(0, message.timestamp()[1])
        record = Record(part, message.offset(), b"" if raw is None else raw, message.key(), stamp)
        return record if part.receive(record) else None

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._joined = True
        for each in consumer.committed(
            [TopicPartition(p.topic, p.partition) for p in partitions], timeout=5.0
        ):
            committed = each.offset if each.offset >= 0 else None
            mark = None if committed is None else decoded_mark(each.metadata)
            self._parts[each.topic, each.partition] = Part(each.partition, committed, mark)
        for each in partitions:
            at = self._parts[each.topic, each.partition].prefix
            if at is not None:
                each.offset = at.position
        consumer.incremental_assign(partitions)

    def _on_revoke(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            part = self._parts.pop((each.topic, each.partition), None)
            if part is not None:
                part.alive = False


class KafkaTransfer:
    """One queue of a Kafka broker; see `littleq.backends.transfer.Transfer`."""

    facts = Facts(finds=False, gives="looked up", batch=500, holds="until its session has ended")

    def __init__(self, broker: KafkaBroker, queue: str) -> None:
        self._broker, self._queue = broker, queue
        self._names = broker.topics.names
        self._members: dict[Kind, Member] = {}
        self._held: dict[str, tuple[Kind, Record]] = {}
        self._index = Index(broker.lags, self._names.dead(queue))
        self._producer: Any = None
        with in_dramatiqs_words():
            broker.topics.ensure(queue)

    # As a source.

    def take(self, kind: Kind, limit: int) -> Sequence[Parcel]:
        with in_dramatiqs_words():
            if kind == "dead":
                return self._letters(limit)
            lag = self._broker.lags.read([self._queue])[self._queue]
            if not (lag.jobs if kind == "ready" else lag.delayed):  # asked first: a silence takes its time
                return []
            return [self._parcel(kind, record, message) for record, message in self._member(kind).take(limit)]

    def forget(self, refs: Sequence[Ref]) -> set[str]:
        gone: set[str] = set()
        with in_dramatiqs_words():
            for kind in ("ready", "delayed"):
                found = {r.parcel_id: self._held.pop(r.parcel_id) for r in refs if self._is_held(r, kind)}
                alive = {name: record for name, (_, record) in found.items() if record.part.alive}
                if alive:
                    self._members[kind].settle(list(alive.values()))
                gone |= alive.keys()
            letters = [ref.parcel_id for ref in refs if ref.kind == "dead"]
            there = self._index.places() if letters else {}
            letters = [name for name in letters if name in there]
            dead = self._names.dead(self._queue)
            self._broker.outbox.send([Outgoing(dead, None, name.encode()) for name in letters])
        return gone | set(letters)

    def release(self, refs: Sequence[Ref] = ()) -> None:
        """Another member gets them, or this one once more."""
        self._held.clear()
        members, self._members = self._members, {}
        for member in members.values():
            member.close()

    def _is_held(self, ref: Ref, kind: Kind) -> bool:
        return ref.parcel_id in self._held and self._held[ref.parcel_id][0] == kind

    def _member(self, kind: Kind) -> Member:
        if kind not in self._members:
            names, queue = self._names, self._queue
            topics = [names.topic(queue)] if kind == "ready" else names.delays(queue)
            group = names.group(queue) if kind == "ready" else names.delay_group(queue)
            self._members[kind] = Member(self._broker, topics, group)
        return self._members[kind]

    def _letters(self, limit: int) -> Sequence[Parcel]:
        places = self._index.places()
        found = self._index.read(dict(list(places.items())[:limit]))
        return [
            Parcel(name, "dead", each.value() or b"", at=(each.timestamp()[1] or 0) / 1000, key=key_of(each))
            for name, each in found
        ]

    def _parcel(self, kind: Kind, record: Record, message: Any) -> Parcel:
        name = f"{message.topic()}/{record.name}"
        self._held[name] = kind, record
        due = due_of(message) if kind == "delayed" else 0
        key = None if record.key is None else record.key[1]
        return Parcel(name, kind, record.raw, at=due / 1000 if due else None, key=key)

    # As a target.

    def mark(self) -> str:
        with in_dramatiqs_words():
            ends = self._broker.lags.ends(self._topics(), LATEST)
        return json.dumps([[each.topic, each.partition, each.offset] for each in ends], separators=(",", ":"))

    def give(self, batch: Batch, parcels: Sequence[Parcel]) -> set[str]:
        if self._producer is None:
            self._producer = Producer(self._broker.address.producer(**PRODUCER_SETTINGS))
        given: set[str] = set()
        errors: list[KafkaError] = []
        with in_dramatiqs_words():
            for parcel in parcels:
                self._produce(batch, parcel, given, errors)
            self._producer.flush(REPORT_SECONDS)
            if errors or len(given) < len(parcels):
                raise KafkaException(errors[0] if errors else KafkaError(KafkaError._MSG_TIMED_OUT))
        return given

    def present(self, batch: Batch, refs: Sequence[Ref]) -> Found:
        wanted = {_mark(batch, ref.parcel_id).encode(): ref.parcel_id for ref in refs}
        found: set[str] = set()
        with in_dramatiqs_words():
            now = {
                (each.topic, each.partition): each.offset
                for each in self._broker.lags.ends(self._topics(), LATEST)
            }
            for topic, partition, start in json.loads(batch.mark):
                end = now.get((topic, partition), start)
                for message in self._broker.lags.reader.records(topic, partition, start, end):
                    mark = dict(message.headers() or ()).get(MOVED)
                    if mark in wanted:
                        found.add(wanted[mark])
        return Found(found)

    def close(self, *, finished: bool) -> None:
        self.release()
        self._producer = None
        self._broker.close()

    def _topics(self) -> list[str]:
        names, queue = self._names, self._queue
        return [names.topic(queue), *names.delays(queue), names.dead(queue)]

    def _produce(self, batch: Batch, parcel: Parcel, given: set[str], errors: list[KafkaError]) -> None:
        record = self._outgoing(batch, parcel)
        stamp = {"timestamp": round(parcel.at * 1000)} if parcel.kind == "dead" and parcel.at else {}

        def reported(error: KafkaError | None, _message: Any) -> None:
            if error is None:
                given.add(parcel.parcel_id)
            else:
                errors.append(error)

        headers = [*record.headers, (MOVED, _mark(batch, parcel.parcel_id).encode())]
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, headers=headers, on_delivery=reported, **stamp
                )
                return
            except BufferError:  # the local queue is full
                self._producer.poll(0.1)

    def _outgoing(self, batch: Batch, parcel: Parcel) -> Outgoing:
        message = decoded(parcel.data)
        wanted = None if message is None else message.options.get("partition_key")
        key = parcel.key if wanted is None else wanted if isinstance(wanted, bytes) else str(wanted).encode()
        if parcel.kind == "dead":
            data = with_death(parcel)
            name = f"{batch.move}-{parcel.parcel_id}"
            headers = [(REASON_HEADER, (parcel.reason or "moved").encode())]
            if key is not None:
                headers.append((KEY_HEADER, key))
            return Outgoing(self._names.dead(self._queue), data, name.encode(), headers)
        due = 0 if parcel.at is None else round(parcel.at * 1000)
        return outgoing(self._broker.topics, self._queue, due, parcel.data, key)


def make_transfer(opening: Opening) -> KafkaTransfer:
    return KafkaTransfer(opening.broker, opening.queue)


def _mark(batch: Batch, parcel_id: str) -> str:
    return f"{batch.move}:{batch.number}:{parcel_id}"
