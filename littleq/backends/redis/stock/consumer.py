"""How a worker takes jobs from a stock RedisBroker's queue and tells how they ended.

Goes before Dramatiq's own consumer class, which still fetches, decodes and polls. It adds:

    ack, nack   say to which account the job goes, in the same call; nack brings why it died
    limbo       at its start and every 15 s, what this process fetched but never got (an answer lost on the wire,
                a cache lost in a restart) goes back to the queue; a live worker's heartbeat would keep it from
                everybody
    schedule    a delay queue's consumer brings in what processes with LittleQ's own broker have delayed, when it is due
    room        with a full prefetch the stock consumer sleeps 5 ms and more while its threads run dry; this one
                wakes when a job ends, and then takes a few at a time rather than one per round trip
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import redis
from dramatiq import Message
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed, DecodeError

from littleq import job
from littleq.backends.handling import Room, verdict
from littleq.backends.redis.outages import in_dramatiqs_words, is_transient
from littleq.backends.redis.scripts import lua

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.brokers.redis import _RedisConsumer as _DramatiqConsumer
else:
    _DramatiqConsumer = object  # the class is the broker's own: see `accounting`

#: How long a fetched job that never reached this process may stay in limbo, in seconds.
LIMBO_SECONDS = 15.0


class Holdings:
    """Ids of the messages that consumers of this process handed out and that are not settled yet, by queue."""

    def __init__(self) -> None:
        self.by_queue: defaultdict[str, set[str]] = defaultdict(set)


def accounting(consumer_class: type[Any]) -> type[Any]:
    """The broker's consumer class with ours before it."""
    return type("AccountingConsumer", (_Accounting, consumer_class), {})


class _Accounting(_DramatiqConsumer):
    """See the module."""

    takes_acks_when_closed = False  # the polls of the delay queues are the signs of life

    def __init__(
        self, broker: RedisBroker, queue_name: str, prefetch: int, timeout: int, holdings: Holdings
    ) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self._promote: Any = None
        self.answered_at = 0.0  # when the server did last (monotonic): for the worker's pulse
        self.held = holdings.by_queue[queue_name]
        self._send_ack, self._send_nack = broker._dispatch("ack"), broker._dispatch("nack")
        self._room = Room(self.queued_message_ids, prefetch)
        if queue_name.endswith(".DQ"):
            # A consumer thread forgets its delayed jobs when it starts over: none of them is anybody's now.
            self.held.clear()
            self._promote = broker.client.register_script(lua("prelude", "holding", "promote"))
        self._leave_limbo()

    def ack(self, message: MessageProxy) -> None:
        account = verdict(message)
        if account == "interrupted":
            self.logger.warning(
                "Message %r was interrupted before its verdict: it goes back.", message.message_id
            )
            self.requeue([message])
        elif account == "rescheduled":
            self.held.discard(message.options["redis_message_id"])
            self._free(message)
        else:
            ran = "" if job.noted(message, "started") is None else "1"
            self._settle(self._send_ack, message, account, ran)

    def nack(self, message: MessageProxy) -> None:
        self._settle(self._send_nack, message, _encoded(message))

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        messages = list(messages)
        with in_dramatiqs_words():  # any other error here ends the consumer thread for good
            super().requeue(messages)  # type: ignore[no-untyped-call]
        for message in messages:
            self.held.discard(message.options["redis_message_id"])
            self._free(message)

    def fetch_no_more(self) -> None:
        if self._promote is None:
            self.prefetch = 0

    def hand_back(self) -> None:
        """To the tail: Dramatiq's scripts know no other place."""
        if self.held:
            self.broker.do_requeue(self.queue_name, *self.held)

    def close(self) -> None:
        """What was fetched and not handed out goes back now, not when this worker's heartbeat has run out."""
        try:
            self._leave_limbo()
        except Exception as error:
            self.logger.warning("Queue %r: jobs stay with a closed consumer: %s", self.queue_name, error)
        super().close()

    def __next__(self) -> MessageProxy | None:
        asks = not self.message_cache
        if asks:
            if self._promote is not None:
                self._promote_due()
            if time.monotonic() - self._looked_at >= LIMBO_SECONDS:
                self._leave_limbo()
            if not self._room.wait(self.timeout / 1000):
                return None
        try:
            message: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
        except redis.RedisError as error:  # spelt out: this runs for every job
            if is_transient(error):
                raise ConnectionClosed(error) from None
            raise
        if asks:
            self.answered_at = time.monotonic()
        if message is not None:
            redis_message_id = message.options["redis_message_id"]
            self.held.add(redis_message_id)
            # Dramatiq counts by message id, which two jobs may share: the same message sent twice.
            self.queued_message_ids.discard(message.message_id)
            self.queued_message_ids.add(redis_message_id)
        return message

    def _promote_due(self) -> None:
        """Bring in what is due of the schedule in which LittleQ's own RedisBroker keeps delayed jobs."""
        with in_dramatiqs_words():
            self._promote(keys=[self.broker.namespace], args=[q_name(self.queue_name)])

    def _settle(self, send: Callable[..., Any], message: MessageProxy, *details: str | bytes) -> None:
        try:
            send(self.queue_name, message.options["redis_message_id"], *details)
        except redis.RedisError as error:
            if is_transient(error):
                raise ConnectionClosed(error) from None  # Dramatiq tries again
            raise
        finally:
            self._free(message)
        self.held.discard(message.options["redis_message_id"])

    def _free(self, message: MessageProxy) -> None:
        """The job is no burden any more, however the server took it: an error must not cost its place for ever."""
        self.queued_message_ids.discard(message.options["redis_message_id"])
        self._room.left()

    def _leave_limbo(self) -> None:
        """Put back what the server thinks this process holds and it does not. Only between two fetches."""
        key = f"{self.broker.namespace}:__acks__.{self.broker.broker_id}.{self.queue_name}"
        with in_dramatiqs_words():
            fetched = {raw.decode() for raw in cast("set[bytes]", self.broker.client.smembers(key))}
            lost = fetched - self.held
            if lost:
                self.logger.warning(
                    "Queue %r: %d fetched jobs never came; they go back.", self.queue_name, len(lost)
                )
                for redis_message_id in self._undecodable(lost):
                    self.logger.error(
                        "Queue %r: job %r cannot be decoded.", self.queue_name, redis_message_id
                    )
                    self._send_nack(self.queue_name, redis_message_id, b"")
                    lost.discard(redis_message_id)
            if lost:
                self.broker.do_requeue(self.queue_name, *lost)
        self._looked_at = time.monotonic()

    def _undecodable(self, ids: Iterable[str]) -> list[str]:
        """Those that would stop every consumer that they are handed to."""
        asked = list(ids)
        stored = self.broker.client.hmget(f"{self.broker.namespace}:{self.queue_name}.msgs", asked)
        found = []
        for redis_message_id, data in zip(asked, cast("list[bytes | None]", stored), strict=True):
            try:
                if data is not None:
                    Message.decode(data)
            except DecodeError:
                found.append(redis_message_id)
        return found


def _encoded(message: MessageProxy) -> bytes:
    """The message with its reason of death; nothing, if it cannot be encoded: the stored one is kept then."""
    try:
        return bytes(message.encode())
    except Exception:
        return b""
