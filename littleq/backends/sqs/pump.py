"""Delays of a FIFO queue, which knows no delay of a single message.

A delayed job waits in a standard queue beside it, hop by hop, and goes to the end of its group when it is due. The
content of what goes in is its deduplication id, so that a job that is moved twice, by a process that died after the
send, is there once (within the five minutes for which SQS remembers).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dramatiq import Message
from dramatiq.logging import get_logger

from littleq.backends.forms import ready_form
from littleq.backends.sqs.delays import due_in
from littleq.backends.sqs.receiver import Poller
from littleq.backends.sqs.wire import MOST_ENTRIES, Parcel, decoded

if TYPE_CHECKING:
    from littleq.backends.outage import Outage
    from littleq.backends.sqs.broker import SQSBroker
    from littleq.backends.sqs.desk import Held


class DelayPump:
    """Moves the jobs of one FIFO queue that are due; each consumer of it has one."""

    def __init__(self, broker: SQSBroker, queue: str, outage: Outage) -> None:
        self.logger = get_logger(__name__, type(self))
        self._broker, self._queue = broker, queue
        self.poller = Poller(
            broker, queue, address=self._address, room=lambda: MOST_ENTRIES, handle=self._move, outage=outage
        )

    def _address(self) -> str:
        place = self._broker.place(self._queue)
        assert place.delayed is not None, "a FIFO queue has one"
        return place.delayed

    def _move(self, found: Sequence[Held]) -> None:
        """Send on what is due later, wait for what is due in a moment, put in what is due."""
        due: list[tuple[float, Held, Message[Any]]] = []
        later: list[tuple[Held, float]] = []
        for held in found:
            try:
                message = decoded(held.body)
            except Exception as error:  # whatever an encoder raises
                self.logger.error(
                    "Queue %r: a delayed message cannot be decoded: it is dead-lettered (%s).",
                    self._queue,
                    type(error).__name__,
                )
                self._broker.dead_letter_undecodable(self._queue, held)
                self._delete([held])
                continue
            now = time.time()
            left = due_in(message.options, now)
            if self._broker.delays.step(left) == "hop":
                later.append((held, left))
            else:
                due.append((now + left, held, message))
        if later:
            parcels = [Parcel(held.body, self._broker.delays.seconds(left)) for held, left in later]
            unsent = self._broker.outbox.send_all(self._address(), parcels)
            self._delete([held for number, (held, _) in enumerate(later) if number not in unsent])
        for at, held, message in sorted(due, key=lambda each: each[0]):
            time.sleep(max(0.0, at - time.time()))  # at most `HOLD_SECONDS`
            self._broker.send_ready(self._queue, ready_form(message, self._queue))
            self._delete([held])

    def _delete(self, done: Sequence[Held]) -> None:
        """One that is not deleted comes again, and is known by its deduplication id."""
        if done:
            entries = [{"Id": str(number), "ReceiptHandle": held.receipt} for number, held in enumerate(done)]
            self._broker.clients.quick.delete_message_batch(QueueUrl=self._address(), Entries=entries)
