"""The dead letters of a StubBroker."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dramatiq.common import q_name

from littleq import job
from littleq.backends.base import DeadLetter
from littleq.backends.replay import fresh_options

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy
    from dramatiq.brokers.stub import StubBroker

    from littleq.backends.stub.accounts import StubAccounts


class StubDeadLetters:
    """Dead letters by message id."""

    def __init__(self, broker: StubBroker, accounts: StubAccounts) -> None:
        self._broker = broker
        self._accounts = accounts

    def letters(self, queue: str) -> Iterator[DeadLetter]:
        for message in list(self._broker.dead_letters_by_queue.get(queue, [])):
            death = job.read(message.options).get("dead", {})
            yield DeadLetter(
                letter_id=message.message_id,
                queue=queue,
                actor=message.actor_name,
                message_id=message.message_id,
                args=message.args,
                kwargs=message.kwargs,
                options=message.options,
                died_at=death.get("at", message.message_timestamp / 1000),
                death=death,
            )

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

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        purged = sum(1 for letter_id in letter_ids if self._take(queue, letter_id) is not None)
        self._accounts.count(queue, "purged", purged)
        return purged

    def _take(self, queue: str, letter_id: str) -> MessageProxy | None:
        letters = self._broker.dead_letters_by_queue.get(queue, [])
        for index, message in enumerate(letters):
            if message.message_id == letter_id:
                return letters.pop(index)
        return None
