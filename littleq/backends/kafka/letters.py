"""The records of dead letters, and an index of those that live.

A letter's key is its id: the place of the record that died, so that a job that is dead-lettered twice is one letter.
One that is replayed or purged is followed by a record of the same key without a value; the server compacts both away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from littleq.backends.kafka.lags import Lags
from littleq.backends.kafka.sending import Outgoing
from littleq.backends.kafka.shelf import Record
from littleq.background import survive_forks

if TYPE_CHECKING:
    from confluent_kafka import Message as Delivered

REASON_HEADER: Final = "littleq-reason"
ORIGIN_HEADER: Final = "littleq-origin"
#: A topic that was not looked at for so long is read from its beginning, in seconds: a server forgets after a day that
#: a letter is gone.
FORGET_SECONDS: Final = 6 * 3600.0
KEY_HEADER: Final = "littleq-key"


def letter_record(topic: str, origin: str, record: Record, data: bytes, reason: str) -> Outgoing:
    """A dead letter on its way."""
    headers = [(REASON_HEADER, reason.encode()), (ORIGIN_HEADER, f"{origin}/{record.name}".encode())]
    if record.key is not None:
        headers.append((KEY_HEADER, record.key[1]))
    return Outgoing(topic, data, record.name.encode(), headers)


def key_of(letter: Delivered) -> bytes | None:
    """The key that the job of a letter came with."""
    found = dict(letter.headers() or ()).get(KEY_HEADER)
    return found if isinstance(found, bytes) else None


class Where(NamedTuple):
    """The place of a living letter, and when it died (ms since the epoch)."""

    partition: int
    offset: int
    stamp: int


class Index:
    """Which letters of one topic live, and where they are. It reads what was added since it looked last.

    Ids are kept in memory, some 100 bytes each; letters are not.
    """

    def __init__(self, lags: Lags, topic: str) -> None:
        self._lags, self._topic = lags, topic
        self._start_afresh()
        survive_forks(self)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[int, int] = {}
        self._looked_at = float("-inf")
        self._places: dict[str, Where] = {}

    after_fork_in_child = _start_afresh

    def places(self) -> dict[str, Where]:
        """Each living letter, oldest first.

        Raises:
            KafkaException: the server does not answer.
        """
        with self._lock:
            bounds = self._lags.bounds(self._topic)
            now = time.monotonic()
            forgotten, self._looked_at = now - self._looked_at > FORGET_SECONDS, now
            if (
                forgotten
                or any(self._next.get(partition, 0) > end for partition, (_, end) in bounds.items())
                or not bounds
            ):
                self._next, self._places = {}, {}  # or the topic was made anew
            for partition, (start, end) in bounds.items():
                at = max(start, self._next.get(partition, 0))
                for message in self._lags.reader.records(self._topic, partition, at, end):
                    self._note(message)
                    self._next[partition] = message.offset() + 1
                self._next[partition] = max(end, self._next.get(partition, 0))
            gone = {partition: start for partition, (start, _) in bounds.items()}
            return {key: at for key, at in self._places.items() if at.offset >= gone.get(at.partition, 0)}

    def read(self, places: dict[str, Where]) -> Iterator[tuple[str, Delivered]]:
        """The letters at these places, in the order of the log; what has gone meanwhile is passed over."""
        wanted = {(place.partition, place.offset): key for key, place in places.items()}
        for partition in sorted({partition for partition, _ in wanted}):
            offsets = [offset for at, offset in wanted if at == partition]
            for message in self._lags.reader.records(self._topic, partition, min(offsets), max(offsets) + 1):
                key = wanted.get((partition, message.offset()))
                if key is not None and message.value() is not None:
                    yield key, message

    def get(self, letter_id: str) -> Delivered | None:
        place = self.places().get(letter_id)
        if place is None:
            return None
        return next((message for _, message in self.read({letter_id: place})), None)

    def _note(self, message: Delivered) -> None:
        key = (message.key() or b"%d-%d" % (message.partition() or 0, message.offset() or 0)).decode(
            errors="replace"
        )
        if message.value() is None:
            self._places.pop(key, None)
        else:
            self._places.pop(key, None)  # dead-lettered once more: the newest
            place = message.partition() or 0, message.offset() or 0
            self._places[key] = Where(*place, message.timestamp()[1])
