"""The dead letters of an SQS broker: the messages of a queue of their own, `…_dlq`, by SQS's message ids.

SQS deletes them after 14 days at the latest, whatever anybody asks: that is the longest retention that it has. They
come in no order, and a look at one hides it from others for a moment (`littleq.backends.sqs.stock`); each look reads
all the letters there are, into memory.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from dramatiq import Message

from littleq import job
from littleq.backends.letters import DeadLetter, LetterFilter, Whereabouts, letter_of
from littleq.backends.replay import fresh_options
from littleq.backends.sqs import outages
from littleq.backends.sqs.dispatch import DEDUP
from littleq.backends.sqs.queues import COUNTS
from littleq.backends.sqs.stock import Found, Stock
from littleq.backends.sqs.wire import decoded
from littleq.dead_letters import Group, grouped, passes

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker


class SQSDeadLetters:
    """See the module. Dated by the host that dead-lettered them, else by SQS."""

    def __init__(self, broker: SQSBroker) -> None:
        self._broker = broker
        self._stocks: dict[str, Stock] = {}

    def now(self) -> float:
        return time.time()

    def letters(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[DeadLetter]:
        """Dead jobs, oldest first; all are read before the first is given."""
        stock = self._stock(queue)
        with outages.in_plain_words(queue), stock.lock:
            try:
                found = [self._letter(queue, each) for each in stock.all()]
            finally:
                stock.give_back()
        yield from sorted((each for each in found if passes(each, wanted)), key=lambda each: each.died_at)

    def letter_ids(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[str]:
        return (letter.letter_id for letter in self.letters(queue, **wanted))

    def count(self, queue: str, **wanted: Unpack[LetterFilter]) -> int | None:
        """By SQS's approximate count; None where there is something to filter by."""
        if any(value is not None for value in wanted.values()):
            return None
        with outages.in_plain_words(queue):
            addresses = self._broker.addresses
            return addresses.forgetting(queue, lambda place: addresses.total(place.dead, *COUNTS), 0)

    def groups(self, queue: str, **wanted: Unpack[LetterFilter]) -> Sequence[Group]:
        return grouped(self.letters(queue, **wanted))

    def get(self, queue: str, letter_id: str) -> DeadLetter | None:
        stock = self._stock(queue)
        with outages.in_plain_words(queue), stock.lock:
            try:
                found = stock.find(letter_id)
                return None if found is None else self._letter(queue, found)
            finally:
                stock.give_back_soon()

    def replay(self, queue: str, letter_id: str) -> bool:
        """The fresh job is sent and confirmed, then the letter is deleted: a death in between leaves both."""
        stock = self._stock(queue)
        with outages.in_plain_words(queue), stock.lock:
            try:
                found = stock.find(letter_id)
                if found is None:
                    return False
                self._send_fresh(queue, decoded(found.body))
                stock.delete([found])
                return True
            finally:
                stock.give_back_soon()

    def _send_fresh(self, queue: str, message: Message[Any]) -> None:
        fresh = message.copy(queue_name=queue)
        fresh.options.clear()
        fresh.options.update(fresh_options(message.options, time.time()))
        fresh.options.pop(
            DEDUP, None
        )  # it belongs to the job that died: within five minutes SQS drops another one
        self._broker.send_ready(queue, fresh)

    def whereabouts(
        self, queue: str, letters: Collection[DeadLetter], *, thorough: bool = False
    ) -> Mapping[str, Whereabouts]:
        """SQS finds no job by its id: as long as the queue holds any, a job that is not dead may be one of them. Its
        counts lag: a job may be called gone a moment too early."""
        dead = {letter.message_id for letter in self.letters(queue)}
        elsewhere: Whereabouts = "gone"
        with outages.in_plain_words(queue):
            if self._broker.addresses.depth(queue):
                elsewhere = "queued"
            elif self._broker.addresses.delayed(queue):
                elsewhere = "delayed"
        return {letter.letter_id: "dead" if letter.message_id in dead else elsewhere for letter in letters}

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        stock, purged = self._stock(queue), 0
        with outages.in_plain_words(queue), stock.lock:
            try:
                for letter_id in letter_ids:
                    found = stock.find(letter_id)
                    purged += 0 if found is None else stock.delete([found])
            finally:
                stock.give_back_soon()
        return purged

    def expire(self, queue: str, older_than_seconds: float) -> int:
        stock, before = self._stock(queue), self.now() - older_than_seconds
        with outages.in_plain_words(queue), stock.lock:
            try:
                old = [each for each in stock.all() if self._letter(queue, each).died_at < before]
                return stock.delete(old)
            finally:
                stock.give_back()

    def _stock(self, queue: str) -> Stock:
        found = self._stocks.get(queue)
        return found or self._stocks.setdefault(queue, Stock(self._broker, queue))

    def _letter(self, queue: str, found: Found) -> DeadLetter:
        data = found.body.encode()
        death: Any = {}
        try:
            message = decoded(found.body)
            data, death = bytes(message.encode()), job.read(message.options).get("dead", {})
        except Exception:  # whatever an encoder raises: it is shown as it is
            message = None
        at = death.get("at") if isinstance(death, dict) else None
        died_at = float(at) if isinstance(at, (int, float)) else found.sent_at
        # By its redrive policy SQS moves what was handed out too often; it writes no reason, and says from where.
        often = (
            self._broker.settings.max_receives if found.source and not death and message is not None else None
        )
        return letter_of(queue, found.letter_id, died_at, data, often)
