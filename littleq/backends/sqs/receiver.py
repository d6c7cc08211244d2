"""Asks SQS for jobs, beside the thread that hands them out.

A receive waits on the server for up to `wait` seconds (a long poll), so that an idle queue costs a request in that
time and a job is seen at once; the consumer must not wait with it, for it has to end within a second. It is asked for
as many jobs as there is room for, at most ten at a time, and for none while there is no room.

A poll cannot be called off: what SQS hands to one whose client has gone is hidden for `visibility` seconds. So a
process that ends waits for its last poll, and gives back at once what that brings (`SQSBroker.close_up`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from littleq.backends.outage import Outage
from littleq.backends.sqs import outages
from littleq.backends.sqs.delays import MOST_HELD
from littleq.backends.sqs.desk import Desk, Held
from littleq.backends.sqs.names import is_fifo
from littleq.backends.sqs.settler import release
from littleq.backends.sqs.wire import MOST_ENTRIES
from littleq.errors import LittleQError

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker

#: What SQS tells of a message beside its body.
ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "MessageGroupId")
#: Once there is room, wait this long for more of it, in seconds: each request costs money, whatever it brings.
GATHER_SECONDS = 0.02
#: A pause while SQS is away ends after this, in seconds.
LONGEST_PAUSE_SECONDS = 3.0

ERRORS = (*outages.SQS_ERRORS, LittleQError)


class Poller:
    """A thread that receives from one SQS queue until it is stopped.

    Args:
        address: of the queue, asked for at each poll.
        room: how many messages may be received now; it may wait for room, for a second or so.
        handle: what to do with messages; may raise what boto3 raises.

    Attributes:
        answered_at: when SQS answered last (monotonic, s).
        asked_at: when the poll began that is under way; None: none is.
    """

    def __init__(
        self,
        broker: SQSBroker,
        queue: str,
        *,
        address: Callable[[], str],
        room: Callable[[], int],
        handle: Callable[[Sequence[Held]], None],
        outage: Outage,
    ) -> None:
        self._broker, self._queue = broker, queue
        self._address, self._room, self._handle = address, room, handle
        self.outage = outage
        self.answered_at = 0.0
        self.asked_at: float | None = None
        self.stopped = False
        self._attempt = ""
        self.thread = threading.Thread(target=self._loop, name=f"littleq-sqs-{queue}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Begin no poll more; what the one under way brings is given back. Takes no lock."""
        self.stopped = True

    def _loop(self) -> None:
        while not self.stopped:
            room = self._room()
            if room <= 0 or self.stopped:
                continue
            try:
                found = self._poll(min(room, MOST_ENTRIES))
                self.outage.is_over()
                if self.stopped:
                    release(self._broker, self._queue, found, self._address())
                elif found:
                    self._handle(found)
            except ERRORS as error:
                if outages.is_missing(error):
                    self._broker.addresses.forget(self._queue)
                if not self.stopped:
                    self.outage.goes_on(error, LONGEST_PAUSE_SECONDS)
            except Exception:  # a thread that ends would take the queue along
                self._broker.logger.exception("Queue %r: unexpected while receiving.", self._queue)
                time.sleep(LONGEST_PAUSE_SECONDS)

    def _poll(self, most: int) -> list[Held]:
        url = self._address()
        visibility = self._broker.visibility
        request: dict[str, Any] = {
            "QueueUrl": url,
            "MaxNumberOfMessages": most,
            "WaitTimeSeconds": self._broker.settings.wait,
            "VisibilityTimeout": visibility,
            "MessageSystemAttributeNames": list(ATTRIBUTES),
        }
        if is_fifo(url):  # asked again under the same name, SQS repeats an answer that was lost
            self._attempt = self._attempt or uuid4().hex
            request["ReceiveRequestAttemptId"] = self._attempt
        began = self.asked_at = time.monotonic()
        try:
            answer = self._broker.clients.patient.receive_message(**request)
        finally:
            self.asked_at = None
        self._attempt = ""
        self.answered_at = time.monotonic()
        return [Held(each, asked_at=began, visibility=visibility) for each in answer.get("Messages", ())]


def free(desk: Desk, prefetch: Callable[[], int], stopped: Callable[[], bool]) -> int:
    """How many jobs may be received; waits up to a second for room, and then a moment for more of it."""

    def room() -> int:
        if stopped() or desk.waiting >= MOST_HELD:
            return 0
        return prefetch() - len(desk.running) - desk.prefetched

    enough = max(1, min(MOST_ENTRIES, prefetch() // 2))
    with desk.changed:
        if room() < enough:
            desk.changed.wait_for(lambda: stopped() or room() > 0, 1.0)
            desk.changed.wait_for(lambda: stopped() or room() >= enough, GATHER_SECONDS)
        return room()
