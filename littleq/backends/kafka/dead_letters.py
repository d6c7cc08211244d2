"""The dead letters of a queue on Kafka: a log, read from its beginning, and what of it lives."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Unpack

from dramatiq import Message

from littleq.backends.forms import encoded
from littleq.backends.kafka.letters import Index, Where, key_of
from littleq.backends.kafka.sending import Outgoing
from littleq.backends.letters import DeadLetter, LetterFilter, Whereabouts, letter_of
from littleq.backends.replay import fresh_options
from littleq.dead_letters import Group, grouped, passes

if TYPE_CHECKING:
    from littleq.backends.kafka.broker import KafkaBroker

#: Letters that are marked as gone in one step.
STEP: Final = 500


class KafkaDeadLetters:
    """Dead letters by the place of the record that died, dated by the clock of the worker that sent them.

    The first look at a queue reads all its letters, later ones what came since. A replay sends the job, then marks the
    letter: a death in between leaves both.
    """

    def __init__(self, broker: KafkaBroker) -> None:
        self._broker = broker
        self._indexes: dict[str, Index] = {}

    def now(self) -> float:
        return time.time()

    def letters(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[DeadLetter]:
        index = self._index(queue)
        # In pages: whoever looks at one letter may act on it, and look at others.
        places = iter(self._dated(queue, wanted).items())
        while page := dict(islice(places, STEP)):
            for key, message in list(index.read(page)):
                letter = _letter(queue, key, message)
                if passes(letter, wanted):
                    yield letter

    def letter_ids(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[str]:
        if _is_dated_only(wanted):
            return iter(self._dated(queue, wanted))
        return (letter.letter_id for letter in self.letters(queue, **wanted))

    def count(self, queue: str, **wanted: Unpack[LetterFilter]) -> int | None:
        return len(self._dated(queue, wanted)) if _is_dated_only(wanted) else None

    def groups(self, queue: str, **wanted: Unpack[LetterFilter]) -> Sequence[Group]:
        return grouped(self.letters(queue, **wanted))

    def get(self, queue: str, letter_id: str) -> DeadLetter | None:
        message = self._index(queue).get(letter_id)
        return None if message is None else _letter(queue, letter_id, message)

    def replay(self, queue: str, letter_id: str) -> bool:
        found = self._index(queue).get(letter_id)
        if found is None:
            return False
        dead: Message[Any] = Message.decode(found.value() or b"")
        message = dead.copy(queue_name=queue)
        message.options.clear()
        message.options.update(fresh_options(dead.options, time.time()))
        key = key_of(found)
        names = self._broker.topics.names
        self._broker.topics.ensure(queue)
        self._broker.outbox.send([Outgoing(names.topic(queue), encoded(message), key)])  # past the gate
        self._bury(queue, [letter_id])
        return True

    def whereabouts(
        self, queue: str, letters: Collection[DeadLetter], *, thorough: bool = False
    ) -> Mapping[str, Whereabouts]:
        """Found by message id: the records that are not settled are read, which is slow where there are many."""
        wanted = {letter.message_id for letter in letters}
        places: dict[str, Whereabouts] = {}
        lags = self._broker.lags
        lag = lags.read([queue])[queue]
        topic = self._broker.topics.names.topic(queue)
        for place, tier in lag.tiers.items():
            places |= dict.fromkeys(_ids(lags.unsettled(place, tier)) & wanted, "delayed")
        for partition, part in lag.parts.items():
            places |= dict.fromkeys(_ids(lags.unsettled((topic, partition), part)) & wanted, "queued")
        died_before = min((letter.died_at for letter in letters), default=0.0)
        again = {each.message_id for each in self.letters(queue, since=died_before)} & wanted
        places |= dict.fromkeys(again, "dead")
        return {letter.letter_id: places.get(letter.message_id, "gone") for letter in letters}

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        there = self._index(queue).places()
        purged, ids = 0, iter(dict.fromkeys(each for each in letter_ids if each in there))
        while page := list(islice(ids, STEP)):
            self._bury(queue, page)
            purged += len(page)
        return purged

    def expire(self, queue: str, older_than_seconds: float) -> int:
        until = self.now() - older_than_seconds
        return self.purge(queue, list(self.letter_ids(queue, until=until)))

    def _dated(self, queue: str, wanted: LetterFilter) -> dict[str, Where]:
        """The letters that died when they should have: known without reading them."""
        since, until = wanted.get("since"), wanted.get("until")
        return {
            key: where
            for key, where in self._index(queue).places().items()
            if (since is None or where.stamp / 1000 >= since)
            and (until is None or where.stamp / 1000 < until)
        }

    def _bury(self, queue: str, letter_ids: Iterable[str]) -> None:
        topic = self._broker.topics.names.dead(queue)
        self._broker.outbox.send([Outgoing(topic, None, each.encode()) for each in letter_ids])

    def _index(self, queue: str) -> Index:
        if queue not in self._indexes:
            self._indexes[queue] = Index(self._broker.lags, self._broker.topics.names.dead(queue))
        return self._indexes[queue]


def _is_dated_only(wanted: LetterFilter) -> bool:
    return wanted.get("actor") is None and wanted.get("fingerprint") is None


def _letter(queue: str, key: str, message: Any) -> DeadLetter:
    return letter_of(queue, key, message.timestamp()[1] / 1000, message.value())


def _ids(records: Iterable[Any]) -> set[str]:
    found = set()
    for record in records:
        with suppress(Exception):  # an encoder's own errors: it has no id then
            found.add(Message.decode(record.value() or b"").message_id)
    return found
