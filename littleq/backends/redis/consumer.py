"""How a worker takes jobs from a queue of our RedisBroker.

fetch    one round trip settles what is done and brings what is ready (`fetch.lua`)
wait     if there is nothing, on a bell that the next enqueue rings, or until a delayed job is due; at most a
         second, since a plain Dramatiq producer rings no bell
outage   logged once, waited for with growing pauses; what was fetched and never came goes back (`_leave_limbo`)
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis, q_name
from dramatiq.errors import DecodeError
from dramatiq.logging import get_logger

from littleq.backends.base import Sending
from littleq.backends.forms import ready_form
from littleq.backends.handling import Room, verdict
from littleq.backends.outage import Outage
from littleq.backends.redis.bell import Bell
from littleq.backends.redis.outages import explain, in_dramatiqs_words, wrong_keys
from littleq.background import at_process_exit, not_at_process_exit

if TYPE_CHECKING:
    from littleq.backends.redis.broker import RedisBroker

#: Longest wait of an idle consumer, in seconds: how late a job of a plain Dramatiq producer may be seen.
LONGEST_WAIT_SECONDS = 1.0
#: How often a consumer compares what it holds with what the server thinks, in seconds: a request that the network
#: delivered late may have fetched jobs for nobody.
LIMBO_SECONDS = 5.0
#: A name that no job has: "it is known what ran, and none of what was held did".
NOBODY = "-"


class RedisConsumer(Consumer):
    """See the module. Made by `RedisBroker.consume`."""

    takes_acks_when_closed = True  # signs of life come from another process

    def __init__(self, broker: RedisBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self.logger = get_logger(__name__, type(self))
        self.broker = broker
        self.queue_name = queue_name
        self.prefetch = prefetch
        self.timeout = timeout
        self._desk = broker.desk(queue_name)
        self._desk.running &= self._desk.held  # of the consumer before this one
        self._cache: deque[tuple[str, Message[Any]]] = deque()
        self._bell = Bell(broker.bells, broker.wake_key(queue_name))
        keys = partial(wrong_keys, broker.client, broker.namespace, queue_name)
        self._outage = Outage(
            self.logger, queue_name, partial(explain, queue_name=queue_name, wrong_keys=keys)
        )
        self._compare_at = 0.0  # when to look whether the server thinks that we hold more than we do
        self._room = Room(self._desk.running, prefetch)
        self.answered_at = 0.0  # when the server did last (monotonic): for the worker's pulse
        me = weakref.ref(self)  # a consumer that nobody closed may go with its broker

        def flush() -> None:
            consumer = me()
            if consumer is not None:
                consumer._flush()

        self._at_exit = flush
        at_process_exit(flush)

    @property
    def outstanding_message_count(self) -> int:
        return len(self._desk.running) + len(self._cache)

    @property
    def away_since(self) -> float | None:
        """Since when the queue cannot be consumed (monotonic, s); None: it can."""
        return self._outage.since

    # What becomes of a job. Called by the threads that run them.

    def ack(self, message: MessageProxy) -> None:
        redis_message_id, account = message.options["redis_message_id"], verdict(message)
        if account == "interrupted":
            self.logger.warning(
                "Message %r was interrupted before its verdict: it goes back.", message.message_id
            )
            self.requeue([message])
        elif account == "rescheduled":
            self._desk.held.discard(redis_message_id)
            self._free(message)
        else:
            must_send = self._desk.write_down((redis_message_id, account))
            self._free(message)
            if must_send:
                self._flush()

    def nack(self, message: MessageProxy) -> None:
        redis_message_id = message.options["redis_message_id"]
        try:
            with in_dramatiqs_words():  # Dramatiq tries again
                self.broker.dead_letter(self.queue_name, message)
        finally:
            self._free(message)
        self._desk.held.discard(redis_message_id)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        messages = list(messages)
        ids = [message.options["redis_message_id"] for message in messages]
        with in_dramatiqs_words():  # any other error here ends the consumer thread for good
            self.broker.give_back(self.queue_name, "these", ids)
        for message in messages:
            self._desk.held.discard(message.options["redis_message_id"])
            self._free(message)

    def close(self) -> None:
        """What was fetched and not handed out goes back now, and what is done is said."""
        not_at_process_exit(self._at_exit)
        self._desk.expect_fetch(certain=False)
        self._bell.close()
        try:
            self._flush()
            unseen = [redis_message_id for redis_message_id, _ in self._cache]
            self._cache.clear()
            self._desk.held.difference_update(
                unseen
            )  # first: should this fail, the next consumer finds them in limbo
            self.broker.give_back(self.queue_name, "bye", unseen)
        except redis.RedisError as error:
            self.logger.warning("Queue %r: jobs stay with a closed consumer: %s", self.queue_name, error)

    def fetch_no_more(self) -> None:
        self.prefetch = 0

    def hand_back(self) -> None:
        """Of all queues of this process at once."""
        self.broker.bury(self.broker.broker_id, [NOBODY])

    # Fetching. Called by the consumer thread.

    def __next__(self) -> MessageProxy | None:
        while True:
            if not self._cache and not self._refill():
                return None
            redis_message_id, message = self._cache.popleft()
            try:
                proxy = self._due(redis_message_id, message)
            except redis.RedisError as error:
                self._stumble(error)
                return None
            if proxy is not None:
                self._desk.running.add(redis_message_id)
                return proxy

    def _refill(self) -> bool:
        """Fetch, or wait; whether there is something in the cache."""
        self._desk.expect_fetch(certain=True)
        if self._room.wait(self.timeout / 1000):
            try:
                if time.monotonic() >= self._compare_at:
                    self._leave_limbo()
                wait = self._fetch()
                if wait > 0:
                    self._bell.ask()
                self._outage.is_over()
                if self._cache:
                    return True
                if self._desk.expect_fetch(certain=False):
                    self._flush()
                if wait > 0:
                    self._bell.wait(wait)
                return False
            except redis.RedisError as error:
                self._stumble(error)
                return False
        if self._desk.expect_fetch(certain=False):
            self._flush()
        return False

    def _stumble(self, error: redis.RedisError) -> None:
        """The server did not do it, or nobody knows: pause, and compare before the next fetch, which takes the acks."""
        self._compare_at = 0.0
        self._bell.close()  # it may be cut off, or at a server that was demoted
        self._outage.goes_on(error, longest=max(self.timeout, 100) / 1000)

    def _fetch(self) -> float:
        """One round trip: acks go, jobs come. How long to wait if none came, in seconds."""
        # Half of the prefetch at most: the rest is left for another worker that has been woken too.
        free = min(self.prefetch - len(self._desk.running), (self.prefetch + 1) // 2)
        patience = min(self.timeout / 1000, LONGEST_WAIT_SECONDS) if free > 0 else 0.0
        acks = self._desk.take()
        try:
            wait, ids, stored = self.broker.fetch(self.queue_name, max(0, free), patience, acks)
        except BaseException:
            self._desk.keep(acks)
            raise
        self.answered_at = time.monotonic()
        self._desk.sent(acks)
        for redis_message_id, data in zip(ids, stored, strict=True):
            self._receive(redis_message_id.decode(), data)
        return float(wait)

    def _receive(self, redis_message_id: str, data: bytes | None) -> None:
        if data is None:  # purged, and gone from the list too late
            return
        try:
            message: Message[Any] = Message.decode(data)
        except DecodeError as error:
            self.logger.error(
                "Queue %r: job %r cannot be decoded: it is dead-lettered (%s).",
                *(self.queue_name, redis_message_id, error.error),
            )
            self.broker.dead_letter_undecodable(self.queue_name, redis_message_id)
            return
        if (
            message.queue_name != self.queue_name
            or message.options.get("redis_message_id") != redis_message_id
        ):
            message = message.copy(queue_name=self.queue_name, options={"redis_message_id": redis_message_id})
        self._desk.held.add(redis_message_id)
        self._cache.append((redis_message_id, message))

    def _due(self, redis_message_id: str, message: Message[Any]) -> MessageProxy | None:
        """The message, unless it carries a due time of its own that is still to come: the schedule keeps it then."""
        eta = message.options.get("eta")
        if not isinstance(eta, (int, float)):
            return MessageProxy(message)
        message = ready_form(message, self.queue_name)
        delay = int(eta - current_millis())
        if delay <= 0:
            return MessageProxy(message)
        self._desk.held.discard(
            redis_message_id
        )  # first: should this fail, the job is in limbo and comes again
        self.broker.enqueue_many([Sending(message, delay=delay, held=message)])
        return None

    def _flush(self) -> None:
        """Send the acks that wait. Those that meet an outage stay, and go with the next fetch."""
        acks = self._desk.take()
        if not acks:
            return
        try:
            self.broker.fetch(self.queue_name, 0, 0, acks)
        except redis.RedisError as error:
            self._desk.keep(acks)
            self.logger.info(  # the next fetch meets the same, and says it aloud
                "Queue %r: %d acks wait for the server (%s).",
                self.queue_name,
                len(acks),
                type(error).__name__,
            )
        except BaseException:
            self._desk.keep(acks)
            raise
        else:
            self._desk.sent(acks)

    def _leave_limbo(self) -> None:
        """Put back what the server thinks this process holds and it does not: an answer was lost on the wire."""
        lost = self.broker.give_back(self.queue_name, "others", list(self._desk.held))
        if lost:
            self.logger.warning("Queue %r: %d fetched jobs never came; they go back.", self.queue_name, lost)
        self._compare_at = time.monotonic() + LIMBO_SECONDS

    def _free(self, message: MessageProxy) -> None:
        """The job is no burden any more, however the server took it: an error must not cost its place for ever."""
        self.broker.running.ended(message)
        self._desk.running.discard(message.options["redis_message_id"])
        self._room.left()


class DelayConsumer(Consumer):
    """Takes what plain Dramatiq processes put into the delay queue over to the schedule; hands out nothing."""

    def __init__(self, broker: RedisBroker, queue_name: str, timeout: int) -> None:
        self.logger = get_logger(__name__, type(self))
        self.broker = broker
        self.queue_name = q_name(queue_name)
        self.timeout = timeout
        self._outage = Outage(self.logger, queue_name, partial(explain, queue_name=queue_name), aloud=False)

    def __next__(self) -> None:
        pause = min(self.timeout / 1000, LONGEST_WAIT_SECONDS)
        try:
            adopted = self.broker.adopt_delayed(self.queue_name)
            self._outage.is_over()
            if not adopted:
                time.sleep(pause)
        except redis.RedisError as error:
            self._outage.goes_on(error, longest=pause)

    takes_acks_when_closed = True

    def fetch_no_more(self) -> None:
        """It hands out nothing anyway."""

    hand_back = fetch_no_more

    # No job of ours is held on behalf of a delay queue.

    def ack(self, message: MessageProxy) -> None:
        raise RuntimeError(
            f"message {message.message_id!r} did not come from {self.queue_name!r}'s delay queue"
        )

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Nothing to give back: Dramatiq calls this with the delayed jobs in its memory, and there are none."""
