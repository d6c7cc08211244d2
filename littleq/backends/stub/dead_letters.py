"""The dead letters of a StubBroker."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from dramatiq import Message
from dramatiq.common import dq_name, q_name

from littleq import job
from littleq.backends.letters import DeadLetter, LetterFilter, Whereabouts
from littleq.backends.replay import fresh_options
from littleq.dead_letters import Group, grouped, passes

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy
    from dramatiq.brokers.stub import StubBroker

    from littleq.backends.stub.accounts import StubAccounts


class StubDeadLetters:
    """Dead letters by message id, dated by whoever dead-lettered them: this process."""

    def __init__(self, broker: StubBroker, accounts: StubAccounts) -> None:
        self._broker = broker
        self._accounts = accounts

    def now(self) -> float:
        return time.time()

    def letters(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[DeadLetter]:
        dead = map(_letter, list(self._broker.dead_letters_by_queue.get(queue, [])))
        yield from sorted((each for each in dead if passes(each, wanted)), key=lambda each: each.died_at)

    def letter_ids(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[str]:
        return (letter.letter_id for letter in self.letters(queue, **wanted))

    def count(self, queue: str, **wanted: Unpack[LetterFilter]) -> int:
        return sum(1 for _ in self.letters(queue, **wanted))

    def groups(self, queue: str, **wanted: Unpack[LetterFilter]) -> Sequence[Group]:
        return grouped(self.letters(queue, **wanted))

    def get(self, queue: str, letter_id: str) -> DeadLetter | None:
        return next((letter for letter in self.letters(queue) if letter.letter_id == letter_id), None)

    def replay(self, queue: str, letter_id: str) -> bool:
        dead = self._take(queue, letter_id)
        if dead is None:
            return False
        message = dead.copy(queue_name=q_name(dead.queue_name))
        fresh = fresh_options(dead.options, time.time())
        message.options.clear()
        message.options.update(fresh)
        self._broker.queues[message.queue_name].put(message.encode())  # past the gate: it was admitted once
        return True

    def whereabouts(
        self, queue: str, letters: Collection[DeadLetter], *, thorough: bool = False
    ) -> Mapping[str, Whereabouts]:
        """A job that a worker holds is in no list of the broker's: while it holds any, none is known to be gone."""
        places: dict[str, Whereabouts] = {}
        elsewhere: Whereabouts = "gone"
        for name, place in ((dq_name(queue), "delayed"), (queue, "queued")):
            waiting, held = self._waiting(name)
            places |= dict.fromkeys(waiting, place)  # type: ignore[arg-type]
            elsewhere = place if held else elsewhere  # type: ignore[assignment]
        places |= dict.fromkeys(self.letter_ids(queue), "dead")
        return {letter.letter_id: places.get(letter.message_id, elsewhere) for letter in letters}

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        purged = sum(1 for letter_id in letter_ids if self._take(queue, letter_id) is not None)
        self._accounts.count(queue, "purged", purged)
        return purged

    def expire(self, queue: str, older_than_seconds: float) -> int:
        return self.purge(queue, self.letter_ids(queue, until=self.now() - older_than_seconds))

    def _waiting(self, queue: str) -> tuple[list[str], bool]:
        """Ids of the messages in a queue, and whether a worker holds others."""
        known = self._broker.queues.get(queue)
        if known is None:
            return [], False
        with known.mutex:
            waiting = [Message.decode(data).message_id for data in known.queue]
            return waiting, known.unfinished_tasks > len(waiting)

    def _take(self, queue: str, letter_id: str) -> MessageProxy | None:
        letters = self._broker.dead_letters_by_queue.get(queue, [])
        for index, message in enumerate(letters):
            if message.message_id == letter_id:
                return letters.pop(index)
        return None


def _letter(message: MessageProxy) -> DeadLetter:
    death = job.read(message.options).get("dead", {})
    return DeadLetter(
        letter_id=message.message_id,
        queue=q_name(message.queue_name),
        actor=message.actor_name,
        message_id=message.message_id,
        args=message.args,
        kwargs=message.kwargs,
        options=message.options,
        died_at=death.get("at", message.message_timestamp / 1000),
        death=death,
    )
