"""The letters that are being looked at.

SQS finds no message by its id: whoever wants one receives, ten at a time, until it comes. What was received on the
way is kept here, hidden from others, and is what the next question is answered from; so a replay of a thousand letters
receives each once, not a thousand times.

    look ─> received, hidden for `HIDE_SECONDS` ─> deleted (replayed, purged)
                                                └> given back: after a look, `IDLE_SECONDS` after a replay, at exit

Whoever is killed meanwhile loses nothing: letters are visible again when their time is over, and the queue of the dead
letters has no redrive policy that could count. Meanwhile another process does not see them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from littleq.backends.sqs import outages
from littleq.backends.sqs.desk import Held
from littleq.backends.sqs.queues import READY
from littleq.backends.sqs.wire import MOST_ENTRIES
from littleq.background import at_process_exit, not_at_process_exit, survive_forks

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker

#: How long a letter that is looked at is hidden, in seconds; renewed by nobody, so a look at more letters than can be
#: received in it sees some twice, and knows them by their id.
HIDE_SECONDS = 60
#: A letter whose time is nearly over is not relied upon, in seconds.
MARGIN_SECONDS = 10
#: After a replay or a purge, the others go back when nobody asked for so long, in seconds.
IDLE_SECONDS = 2.0
#: A receive that waits asks all of SQS's servers; one that does not asks some, and may miss a letter.
THOROUGH_WAIT_SECONDS = 1

ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "DeadLetterQueueSourceArn")


class Found(Held):
    """One letter in hand."""

    __slots__ = ("letter_id", "source")

    def __init__(self, found: dict[str, object], *, asked_at: float) -> None:
        super().__init__(found, asked_at=asked_at, visibility=HIDE_SECONDS)
        self.letter_id = str(found["MessageId"])
        attributes = found.get("Attributes", {})
        #: The queue from which SQS itself put it here; "": LittleQ or dramatiq-sqs did.
        self.source = (
            str(attributes.get("DeadLetterQueueSourceArn", "")) if isinstance(attributes, dict) else ""
        )

    @property
    def is_ours(self) -> bool:
        """Whether it is still hidden from others for long enough to do something with it."""
        return time.monotonic() < self.hidden_until - MARGIN_SECONDS


class Stock:
    """One per queue and process. One thread at a time looks."""

    def __init__(self, broker: SQSBroker, queue: str) -> None:
        self._broker, self._queue = broker, queue
        self._give_back_at_exit = self.give_back
        self.after_fork_in_child()
        survive_forks(self)

    def after_fork_in_child(self) -> None:
        self.lock = threading.RLock()
        self._letters: dict[str, Found] = {}
        self._timer: threading.Timer | None = None

    def find(self, letter_id: str) -> Found | None:
        """One letter, received if it is not here; None: it is not there, or another process looks at it."""
        with self.lock:
            known = self._letters.get(letter_id)
            if known is not None and known.is_ours:
                return known
            return next((found for found in self.receive() if found.letter_id == letter_id), None)

    def receive(self) -> Iterator[Found]:
        """Letters that are not here yet, until there are no more."""
        place = self._broker.addresses.known(self._queue)
        if place is None:
            return
        at_process_exit(self._give_back_at_exit)
        expected = self._count(place.dead)
        self._letters = {each.letter_id: each for each in self._letters.values() if each.is_ours}
        seen: set[str] = set()
        wait = 0
        while True:
            began = time.monotonic()
            answer = self._broker.clients.patient.receive_message(
                QueueUrl=place.dead,
                MaxNumberOfMessages=MOST_ENTRIES,
                WaitTimeSeconds=wait,
                VisibilityTimeout=HIDE_SECONDS,
                MessageSystemAttributeNames=list(ATTRIBUTES),
            )
            batch = [Found(each, asked_at=began) for each in answer.get("Messages", ())]
            new = [found for found in batch if found.letter_id not in seen]
            seen |= {found.letter_id for found in batch}
            self._letters.update({found.letter_id: found for found in batch})
            yield from new
            if batch and not new:
                return  # all of these were seen: their time was over before the last one came
            if not batch and (wait or len(seen | self._letters.keys()) >= expected):
                return
            wait = 0 if batch else THOROUGH_WAIT_SECONDS

    def all(self) -> list[Found]:
        """All letters, those that are here already too."""
        with self.lock:
            for _ in self.receive():
                pass
            return list(self._letters.values())

    def delete(self, letters: Iterable[Found]) -> int:
        """Delete letters that are here; how many were deleted."""
        letters, deleted = list(letters), 0
        for at in range(0, len(letters), MOST_ENTRIES):
            batch = letters[at : at + MOST_ENTRIES]
            entries = [{"Id": str(n), "ReceiptHandle": found.receipt} for n, found in enumerate(batch)]
            url = self._broker.place(self._queue).dead
            answer = self._broker.clients.quick.delete_message_batch(QueueUrl=url, Entries=entries)
            deleted += len(answer.get("Successful", ()))
            for found in batch:
                self._letters.pop(found.letter_id, None)
        return deleted

    def give_back_soon(self) -> None:
        """Keep what is here for the next question, and give it back if there is none."""
        with self.lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(IDLE_SECONDS, self.give_back)
            self._timer.daemon = True
            self._timer.start()

    def give_back(self) -> None:
        """Let others see what is here. What SQS does not take back now it shows by itself, within `HIDE_SECONDS`."""
        with self.lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            left, self._letters = list(self._letters.values()), {}
            not_at_process_exit(self._give_back_at_exit)
            try:
                for at in range(0, len(left), MOST_ENTRIES):
                    entries = [
                        {"Id": str(n), "ReceiptHandle": found.receipt, "VisibilityTimeout": 0}
                        for n, found in enumerate(left[at : at + MOST_ENTRIES])
                    ]
                    url = self._broker.place(self._queue).dead
                    self._broker.clients.quick.change_message_visibility_batch(QueueUrl=url, Entries=entries)
            except outages.SQS_ERRORS as error:
                self._broker.logger.info(
                    "%s; letters are shown again soon.", outages.sentence(error, self._queue)
                )

    def _count(self, address: str) -> int:
        """How many letters SQS thinks there are that nobody looks at."""
        return self._broker.addresses.total(address, READY)
