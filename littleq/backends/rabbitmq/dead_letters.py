"""The dead letters of a RabbitMQ broker: a queue that nobody consumes, read by taking letters and giving them back.

Whoever reads has the letters in hand meanwhile, on a connection of its own: nobody else sees them, and they are back
as soon as it ends, however it ends. To list or group, all are read, some ten thousand a second, and go
through a file where they are many. For a replay the letters before the wanted one are taken too, and stay in hand for a
second after the last replay, so that many in a row are read once.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from dramatiq import Message

from littleq.backends.letters import DeadLetter, LetterFilter, Whereabouts, letter_of
from littleq.backends.rabbitmq.morgue import Corpse, InHand, reading
from littleq.backends.rabbitmq.outages import in_dramatiqs_words
from littleq.backends.replay import fresh_options
from littleq.dead_letters import Group, grouped, passes

if TYPE_CHECKING:
    from littleq.backends.rabbitmq.broker import RabbitmqBroker

#: Letters that are listed wait in memory up to so many bytes, then in a file.
IN_MEMORY = 16 * 2**20
#: What the management API knows of running jobs is so old at most, in seconds.
MANAGEMENT_SECONDS = 6.0


class RabbitmqDeadLetters:
    """Dated by the clock of the worker where the job died; where the server moved it, by the server's."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker
        self._in_hand: dict[str, InHand] = {}
        self._replayed_at: dict[str, float] = {}

    def now(self) -> float:
        return time.time()

    def letters(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[DeadLetter]:
        """All are read before the first is given; the queue's own order changes with each letter that was in hand."""
        places: list[tuple[float, int]] = []
        with in_dramatiqs_words(), tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            self._let_go(queue)
            with reading(self._broker, queue) as found:
                for held in found:
                    places.append((held.corpse.died_at, file.tell()))
                    pickle.dump(tuple(held.corpse), file)
            for _, place in sorted(places):
                file.seek(place)
                letter = _letter(queue, Corpse(*pickle.load(file)))  # noqa: S301 - written above
                if passes(letter, wanted):
                    yield letter

    def letter_ids(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[str]:
        return (letter.letter_id for letter in self.letters(queue, **wanted))

    def count(self, queue: str, **wanted: Unpack[LetterFilter]) -> int | None:
        if any(value is not None for value in wanted.values()):
            return None
        with in_dramatiqs_words():
            self._let_go(queue)
            return self._broker.dead(queue)

    def groups(self, queue: str, **wanted: Unpack[LetterFilter]) -> Sequence[Group]:
        return grouped(self.letters(queue, **wanted))

    def get(self, queue: str, letter_id: str) -> DeadLetter | None:
        with in_dramatiqs_words(), self._of(queue).letter(letter_id) as held:
            return None if held is None else _letter(queue, held.corpse)

    def replay(self, queue: str, letter_id: str) -> bool:
        hand = self._of(queue)
        with in_dramatiqs_words(), hand.letter(letter_id) as held:
            if held is None:
                return False
            message = Message.decode(held.corpse.body)
            fresh = message.copy(queue_name=queue)
            fresh.options.clear()
            fresh.options.update(fresh_options(message.options, time.time()))
            self._replayed_at[queue] = time.monotonic()
            self._broker.let_in(queue, bytes(fresh.encode()), message=fresh)
            held.delete()
            hand.forget(letter_id)
            return True

    def whereabouts(
        self, queue: str, letters: Collection[DeadLetter], *, thorough: bool = False
    ) -> Mapping[str, Whereabouts]:
        """A job that waits or runs cannot be looked at: while there is any, none is known to be gone."""
        dead = {letter.message_id for letter in self.letters(queue)}
        elsewhere: Whereabouts = self._elsewhere(queue)
        return {letter.letter_id: "dead" if letter.message_id in dead else elsewhere for letter in letters}

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        wanted, purged = set(letter_ids), 0
        if not wanted:
            return 0
        with in_dramatiqs_words():
            self._let_go(queue)
            with reading(self._broker, queue) as found:
                for held in found:
                    if held.corpse.letter_id in wanted:
                        wanted.discard(held.corpse.letter_id)
                        held.delete()
                        purged += 1
                    if not wanted:
                        break
        return purged

    def expire(self, queue: str, older_than_seconds: float) -> int:
        return self.purge(queue, self.letter_ids(queue, until=self.now() - older_than_seconds))

    def _elsewhere(self, queue: str) -> Whereabouts:
        broker = self._broker
        with in_dramatiqs_words():
            places = broker.topology.places(queue)
            unacked = broker.management.unacked(places)
            is_known = time.monotonic() - self._replayed_at.get(queue, 0.0) > MANAGEMENT_SECONDS
            if unacked != 0 or not is_known or any(broker.count(place) for place in places):
                return "queued"
            return "delayed" if broker.delayed(queue) else "gone"

    def _of(self, queue: str) -> InHand:
        return self._in_hand.setdefault(queue, InHand(self._broker, queue))

    def _let_go(self, queue: str) -> None:
        if queue in self._in_hand:
            self._in_hand[queue].let_go()


def _letter(queue: str, corpse: Corpse) -> DeadLetter:
    return letter_of(queue, corpse.letter_id, corpse.died_at, corpse.body, corpse.deliveries)
