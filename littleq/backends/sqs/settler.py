"""Deletes what is done, ten with each request.

An ack is written down and waits a moment for others; when ten wait, whoever brings the tenth sends them. On a FIFO
queue each is sent at once: the next job of its group must not run before that is certain.

Window of at-least-once: a process that is killed takes along the acks that wait, at most ten of a queue and each for
`GATHER_SECONDS`, or for as long as SQS is away. Those jobs run again. A process that ends otherwise sends them first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dramatiq.errors import ConnectionClosed
from dramatiq.logging import get_logger

from littleq.backends.sqs import outages
from littleq.backends.sqs.wire import MOST_ENTRIES
from littleq.errors import LittleQError

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker
    from littleq.backends.sqs.desk import Desk, Held, Job

#: How long an ack waits for others, in seconds: a few round trips to SQS.
GATHER_SECONDS = 0.05
#: Acks that wait for a server that is away; beyond, the worker threads wait too.
MOST_ACKS = 1000
#: Pauses between two attempts while it is, in seconds.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 3.0


class Settler:
    """One per queue and process."""

    def __init__(self, broker: SQSBroker, queue: str, desk: Desk) -> None:
        self.logger = get_logger(__name__, type(self))
        self._broker, self._queue, self._desk = broker, queue, desk
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: list[Held] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self.at_once = False  # where no consumer is left that the process waits for

    def settle(self, held: Held) -> None:
        """The job is done: it will be deleted; on a FIFO queue it is.

        Raises:
            dramatiq.errors.ConnectionClosed: SQS is away for so long that no more acks can wait, or the queue keeps its
                order.
        """
        with self._lock:
            if len(self._waiting) >= MOST_ACKS and held not in self._waiting:
                raise ConnectionClosed(f"Queue {self._queue!r}: {MOST_ACKS} acks wait for SQS")
            if held not in self._waiting:
                self._waiting.append(held)
            must_send = self.at_once or self._desk.in_order or len(self._waiting) >= MOST_ENTRIES
            self._start()
        if not must_send:
            self._wake.set()
        elif not self.flush() and self._desk.in_order and held.receipt in self._desk.held:
            raise ConnectionClosed(f"Queue {self._queue!r}: SQS does not take an ack")

    def pending(self) -> set[str]:
        """Receipts of jobs that are done and not deleted."""
        with self._lock:
            return {held.receipt for held in self._waiting}

    def flush(self) -> bool:
        """Send the acks that wait; whether none is left. Those that meet an outage stay."""
        with self._sending:
            while True:
                with self._lock:
                    batch = self._waiting[:MOST_ENTRIES]
                if not batch:
                    return True
                try:
                    left = self._delete(batch)
                except (*outages.SQS_ERRORS, LittleQError) as error:
                    self.logger.info("%s; acks wait.", outages.sentence(error, self._queue))
                    self._wake.set()
                    return False
                with self._lock:
                    done = {held.receipt for held in batch} - {held.receipt for held in left}
                    self._waiting = [held for held in self._waiting if held.receipt not in done]
                if left:
                    self._wake.set()
                    return False

    def _delete(self, batch: Sequence[Held]) -> list[Held]:
        """Those that SQS did not delete for now."""
        url = self._broker.place(self._queue).url
        entries = [{"Id": str(number), "ReceiptHandle": held.receipt} for number, held in enumerate(batch)]
        answer = self._broker.clients.quick.delete_message_batch(QueueUrl=url, Entries=entries)
        refused = outages.failed(answer)
        left = [batch[number] for number, code in refused.items() if outages.is_code_transient(code)]
        for number, code in refused.items():
            if batch[number] not in left:  # it was too late, and runs again somewhere
                self.logger.warning("Queue %r: a job that is done was not deleted (%s).", self._queue, code)
        self._desk.drop(held for held in batch if held not in left)
        return left

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._loop, name="littleq-sqs-acks", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            self._wake.wait()
            self._wake.clear()
            time.sleep(GATHER_SECONDS)
            if self.flush():
                pause = FIRST_PAUSE_SECONDS
            else:
                time.sleep(pause)
                pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)


def give_back(broker: SQSBroker, queue: str, desk: Desk, jobs: Iterable[Job]) -> None:
    """Make jobs visible to all workers at once.

    Raises:
        botocore.exceptions.ClientError, BotoCoreError: SQS is away; those before are given back.
    """
    jobs = list(jobs)
    for at in range(0, len(jobs), MOST_ENTRIES):
        batch = [job.held for job in jobs[at : at + MOST_ENTRIES]]
        release(broker, queue, batch)
        desk.drop(batch)


def release(broker: SQSBroker, queue: str, batch: Sequence[Held], url: str | None = None) -> None:
    """At most ten; `url`: of another queue than the one with the jobs."""
    if not batch:
        return
    url = url or broker.place(queue).url
    entries = [
        {"Id": str(number), "ReceiptHandle": held.receipt, "VisibilityTimeout": 0}
        for number, held in enumerate(batch)
    ]
    broker.clients.quick.change_message_visibility_batch(QueueUrl=url, Entries=entries)
