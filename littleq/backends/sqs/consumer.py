"""How a worker takes jobs from an SQS queue.

Poller (a thread)  receives, decodes, sends on what is not due (`SQSConsumer._sort`)
Desk               what this process holds
__next__           waits for the desk to have something, as long as Dramatiq says
Heart (a thread)   keeps it all hidden from others
Settler            deletes what is done
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.logging import get_logger

from littleq import job
from littleq.backends.forms import ready_form
from littleq.backends.handling import verdict
from littleq.backends.outage import Outage
from littleq.backends.sqs import outages
from littleq.backends.sqs.delays import due_in, is_delayed
from littleq.backends.sqs.desk import Held, Job
from littleq.backends.sqs.pump import DelayPump
from littleq.backends.sqs.receiver import ERRORS, Poller, free
from littleq.backends.sqs.settler import give_back, release
from littleq.backends.sqs.wire import MOST_ENTRIES, Parcel, decoded

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker


class SQSConsumer(Consumer):
    """See the module. Made by `SQSBroker.consume`.

    Attributes:
        prefetch: how many jobs may be received and not done. It counts those that run, not those that are held for
            the last moments of a delay.
    """

    takes_acks_when_closed = True  # the broker's heart keeps what runs hidden, and its settler deletes it

    def __init__(self, broker: SQSBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self.logger = get_logger(__name__, type(self))
        self.broker = broker
        self.queue_name = queue_name
        self.prefetch = prefetch
        self.timeout = timeout
        self._desk = broker.desk(queue_name)
        self._settler = broker.settler(queue_name)
        self._settler.at_once = False
        self._closed = False
        outage = partial(Outage, self.logger, queue_name, partial(outages.explain, queue=queue_name))
        self._poller = Poller(
            broker,
            queue_name,
            address=lambda: broker.place(queue_name).url,
            room=lambda: free(self._desk, lambda: self.prefetch, lambda: self._poller.stopped),
            handle=self._sort,
            outage=outage(),
        )
        self._pump = DelayPump(broker, queue_name, outage(aloud=False)) if self._desk.in_order else None
        self.pollers = [self._poller, *([self._pump.poller] if self._pump is not None else [])]
        for poller in self.pollers:
            poller.start()

    @property
    def outstanding_message_count(self) -> int:
        return len(self._desk.running) + self._desk.prefetched + self._desk.waiting

    @property
    def away_since(self) -> float | None:
        """Since when the queue cannot be consumed (monotonic, s); None: it can."""
        return self._poller.outage.since

    @property
    def answered_at(self) -> float:
        """When SQS answered last (monotonic, s). A poll that waits where it may is as good as an answer: asking
        beside it would be most of what an idle worker costs."""
        poller, now = self._poller, time.monotonic()
        asked_at = poller.asked_at
        is_well = poller.outage.since is None and poller.answered_at > 0
        if is_well and asked_at is not None and now - asked_at <= self.broker.settings.wait + 1:
            return now
        return max(poller.answered_at, self.broker.heart.answered_at)

    @property
    def is_alive(self) -> bool:
        """Whether a poll of it is under way, or may come."""
        return not self._closed or any(poller.thread.is_alive() for poller in self.pollers)

    # What becomes of a job. Called by the threads that run them.

    def ack(self, message: MessageProxy) -> None:
        if verdict(message) == "interrupted":
            self.logger.warning(
                "Message %r was interrupted before its verdict: it goes back.", message.message_id
            )
            self.requeue([message])
            return
        done = cast("Job", message)
        self._settler.settle(done.held)
        self._desk.ended(done)

    def nack(self, message: MessageProxy) -> None:
        dead = cast("Job", message)
        try:
            with outages.in_dramatiqs_words(self.queue_name):  # Dramatiq tries again
                if not job.noted(message, "buried"):
                    self.broker.dead_letter(self.queue_name, dead)
                    job.note(message, buried=True)
        except ERRORS:
            # Nobody will try again: it must not stay hidden for as long as this process lives.
            self._desk.drop([dead.held])
            self._desk.ended(dead)
            raise
        self._settler.settle(dead.held)
        self._settler.flush()
        self._desk.ended(dead)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        jobs = [cast("Job", message) for message in messages]
        jobs += self._desk.behind(jobs)
        with outages.in_dramatiqs_words(self.queue_name):
            give_back(self.broker, self.queue_name, self._desk, jobs)
        for each in jobs:
            self._desk.ended(each)

    # The end.

    def fetch_no_more(self) -> None:
        """Hand out nothing from this instant. Takes no lock: a signal handler calls it."""
        self._closed = True
        self.prefetch = 0
        for poller in self.pollers:
            poller.stop()

    def hand_back(self) -> None:
        """Give back all that this consumer holds, running jobs too: the process ends next.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: SQS does not take it; it comes back by itself.
        """
        self.fetch_no_more()
        self._settler.flush()
        pending = self._settler.pending()
        with self._desk.changed:
            left = [held for receipt, held in self._desk.held.items() if receipt not in pending]
        for at in range(0, len(left), MOST_ENTRIES):
            batch = left[at : at + MOST_ENTRIES]
            release(self.broker, self.queue_name, batch)
            self._desk.drop(batch)

    def close(self) -> None:
        """What was received and not handed out goes back now, and what is done is deleted. The last poll is not waited
        for; what it brings goes back when it ends."""
        self.fetch_no_more()
        self._settler.at_once = True
        self._settler.flush()
        self._give_back(self._desk.unseen())
        with self._desk.changed:
            self._desk.changed.notify_all()

    # Fetching. Called by the consumer thread.

    def __next__(self) -> MessageProxy | None:
        deadline = time.monotonic() + self.timeout / 1000
        desk = self._desk
        surplus: list[Job] = []
        with desk.changed:
            while True:
                found = None
                due_in_seconds = None
                if not self._closed:
                    found, surplus, due_in_seconds = desk.take(self.prefetch)
                    if found is not None:
                        desk.changed.notify_all()  # the poller may have room
                left = deadline - time.monotonic()
                if found is not None or surplus or left <= 0:
                    break
                desk.changed.wait(left if due_in_seconds is None else min(left, max(0.0, due_in_seconds)))
        if surplus:
            self._give_back(surplus)  # they are due, and this process has no room for them: another one may
        return found

    def _give_back(self, jobs: Sequence[Job]) -> None:
        try:
            give_back(self.broker, self.queue_name, self._desk, jobs)
        except ERRORS as error:
            self._desk.drop(each.held for each in jobs)  # back when their visibility ends
            self.logger.warning("%s; jobs come back later.", outages.sentence(error, self.queue_name))

    # Receiving. Called by the poller.

    def _sort(self, found: Sequence[Held]) -> None:
        """Jobs to the desk, what is not due on its way, what nobody can read to the dead letters."""
        self._desk.keep(found)
        later: list[tuple[Held, float]] = []
        try:
            for held in found:
                try:
                    message = decoded(held.body)
                except Exception as error:  # whatever an encoder raises
                    self._bury(held, error)
                    continue
                left = due_in(message.options, time.time())
                if self.broker.delays.step(left) == "hop":
                    later.append((held, left))
                else:
                    self._desk.add(self._job(held, message), left)
            self._send_on(later)
        except ERRORS:
            with self._desk.changed:  # what has not found its place comes again
                seated = self._desk.seated() | self._settler.pending()
            self._desk.drop(held for held in found if held.receipt not in seated)
            raise
        finally:
            if self._closed:
                self._give_back(self._desk.unseen())

    def _job(self, held: Held, message: Message[Any]) -> Job:
        if is_delayed(message.options) or message.queue_name != self.queue_name:
            message = ready_form(message, self.queue_name)
        if "ready_at" not in job.read(message.options) and held.sent_at:
            # Of a producer without LittleQ. What it was delayed by, SQS does not tell: it counts as a wait.
            job.write(message.options, ready_at=held.sent_at)
        found = Job(message, held)
        if held.receives > 1:
            job.note(found, redelivered=True)
        return found

    def _send_on(self, later: Sequence[tuple[Held, float]]) -> None:
        if not later:
            return
        place = self.broker.place(self.queue_name)
        parcels = [
            Parcel(held.body, self.broker.delays.seconds(left), None if place.delayed else held.group)
            for held, left in later
        ]
        unsent = self.broker.outbox.send_all(place.delayed or place.url, parcels)
        for number, (held, _) in enumerate(later):
            if number in unsent:
                self._desk.drop([held])  # comes again when its visibility ends
            else:
                self._settler.settle(held)

    def _bury(self, held: Held, error: Exception) -> None:
        self.logger.error(
            "Queue %r: a message cannot be decoded: it is dead-lettered (%s).",
            self.queue_name,
            type(error).__name__,
        )
        self.broker.dead_letter_undecodable(self.queue_name, held)
        self._settler.settle(held)
        self._settler.flush()
