"""Keeps what this process holds hidden from others: visibility is renewed in batches, by one thread.

Each message is hidden for `visibility` seconds, and renewed when a third of them has gone; it is looked at six times in
that time, so that a request that fails is repeated before it matters. A process that dies renews nothing: its jobs are
back after `visibility` seconds at most.

Limits. SQS hides a message for 12 hours after it was received, whatever is asked: a job that runs longer is handed out
a second time while it runs. And the thread needs the interpreter: Python code gives it way every few milliseconds, but
a C extension that keeps the interpreter lock for longer than half of `visibility` stops it, and the job is handed
out again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dramatiq.logging import get_logger

from littleq.backends.sqs import outages
from littleq.backends.sqs.urls import LONGEST_VISIBILITY
from littleq.backends.sqs.wire import MOST_ENTRIES
from littleq.background import Background
from littleq.errors import LittleQError

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker
    from littleq.backends.sqs.desk import Desk, Held

#: SQS counts the 12 hours by its own clock, from before we had the message: this much is left out, in seconds.
MARGIN_SECONDS = 5


class Heart:
    """One per process and broker. Starts with the first consumer.

    Attributes:
        answered_at: when SQS renewed something last (monotonic, s).
    """

    def __init__(self, broker: SQSBroker) -> None:
        self.logger = get_logger(__name__, type(self))
        self.answered_at = 0.0
        self._broker = broker
        self._failing: set[str] = set()
        self._background = Background("littleq-sqs-visibility", broker.visibility / 6, self.beat)

    def start(self) -> None:
        self._background.start()

    def stop(self) -> None:
        self._background.stop()

    def beat(self) -> None:
        """Renew what has been hidden for a third of its time."""
        visibility = self._broker.visibility
        soon = time.monotonic() + visibility * 2 / 3
        for queue, desk in self._broker.desks():
            with desk.changed:
                due = [held for held in desk.held.values() if held.hidden_until < soon and not held.is_gone]
            for at in range(0, len(due), MOST_ENTRIES):
                try:
                    self._renew(queue, desk, due[at : at + MOST_ENTRIES])
                except (*outages.SQS_ERRORS, LittleQError) as error:  # the other queues must not suffer
                    self._stumble(queue, error)
                    break
            else:
                self._failing.discard(queue)

    def _stumble(self, queue: str, error: BaseException) -> None:
        if queue not in self._failing:
            self._failing.add(queue)
            level, sentence = outages.explain(error, queue)
            self.logger.log(level, "%s; jobs that run may be handed out again.", sentence)

    def _renew(self, queue: str, desk: Desk, batch: Sequence[Held]) -> None:
        now = time.monotonic()
        entries = []
        for number, held in enumerate(batch):
            left = int(held.received_at + LONGEST_VISIBILITY - MARGIN_SECONDS - now)
            if left > 0:
                seconds = min(self._broker.visibility, left)
                entry = {"Id": str(number), "ReceiptHandle": held.receipt, "VisibilityTimeout": seconds}
                entries.append(entry)
            else:
                self._gone(queue, desk, held, "SQS hides no message for more than 12 hours")
        if not entries:
            return
        url = self._broker.place(queue).url
        answer = self._broker.clients.steady.change_message_visibility_batch(QueueUrl=url, Entries=entries)
        self.answered_at = time.monotonic()
        refused = outages.failed(answer)
        for entry in entries:
            number = int(str(entry["Id"]))
            held, code = batch[number], refused.get(number)
            if code is None:
                held.hidden_until = now + int(str(entry["VisibilityTimeout"]))
            elif not outages.is_code_transient(code) and held.receipt in desk.held:
                self._gone(queue, desk, held, f"SQS says {code}")

    def _gone(self, queue: str, desk: Desk, held: Held, why: str) -> None:
        held.is_gone = True
        job = desk.running.get(held.receipt)
        if job is not None:
            self.logger.warning(
                "Queue %r: message %r runs here and will be handed out again: %s.", queue, job.message_id, why
            )
