"""Dramatiq's own RedisBroker, prepared for LittleQ: exact accounts, no job in limbo.

Nothing of Dramatiq's is copied. Its dispatch script is wrapped, as text and at run time, in a script that
counts in the same
atomic call; its consumer class is subclassed. So there is no further round trip, and:

    enqueue of a retry or a due delayed job   takes the place of the job the worker holds, in one step: kill -9 anywhere
                                              leaves one job, not two (stock: Bogdanp/dramatiq#431) and not none (#545)
    ack, nack                                 count where the job went; nack stores why it died
    consumer start and every 15 s             jobs that this process fetched but never got (an answer lost on the
                                              wire, a cache lost in a restart) go back to the queue; stock
                                              keeps them until the process ends
    a connection error or time-out in ack     is repeated by Dramatiq instead of forgotten

What remains of the stock broker: polling, delays in worker memory, recovery by chance. Its fetch and
requeue are untouched.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import redis
from dramatiq.brokers import redis as dramatiq_redis
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed

from littleq import job, passage
from littleq.backends.redis.quick import QuickScript
from littleq.backends.redis.scripts import lua

if TYPE_CHECKING:
    from dramatiq.broker import Consumer, MessageProxy
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.brokers.redis import _RedisConsumer as _DramatiqConsumer

    from littleq.config import Config
else:
    _DramatiqConsumer = object  # the class is the broker's own: see `extend`

#: Jobs delivered to this many workers that died are poison. Celery has no such bound, SQS users choose 3 to 10.
MAX_DELIVERIES = 5
#: How long a fetched job that never reached this process may stay in limbo, in seconds.
LIMBO_SECONDS = 15.0
#: Dead letters are kept until purged; Dramatiq forgets them after this many milliseconds: a century.
KEEP_DEAD_MS = 100 * 365 * 86_400_000
#: An idle stock consumer polls with a growing pause. It may spend this share of the SLA on it, at least 20 ms.
IDLE_SHARE_OF_SLA = 0.05
LEAST_IDLE_MS = 20

#: "Not now": the server is away, loading, read-only after a failover, or out of memory.
TRANSIENT_ERRORS: tuple[type[BaseException], ...] = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.TryAgainError,
)


def extend(broker: RedisBroker, config: Config) -> None:
    """Prepare `broker`. Its dead letters are kept from now on, unless the app chose a time to live of its own."""
    broker.scripts["dispatch"] = QuickScript(broker.client, _wrapped_dispatch())
    if broker.dead_message_ttl == dramatiq_redis.DEFAULT_DEAD_MESSAGE_TTL:
        broker.dead_message_ttl = KEEP_DEAD_MS
    enqueue = broker._dispatch("enqueue")

    def do_enqueue(queue_name: str, redis_message_id: str, data: bytes) -> None:
        errand = passage.current.get()
        held = errand.held
        if held is None:
            enqueue(queue_name, redis_message_id, data, "admitted", "", "")
            return
        held_queue = f"{queue_name}.DQ" if errand.errand == "promotion" else held.queue_name
        enqueue(queue_name, redis_message_id, data, "", held_queue, held.options["redis_message_id"])

    consumer_class: Any = type("AccountingConsumer", (_Accounting, broker.consumer_class), {})
    holdings = _Holdings()

    def consume(queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        sla_ms = config.queue(q_name(queue_name)).sla_seconds * 1000
        timeout = min(timeout, max(LEAST_IDLE_MS, int(sla_ms * IDLE_SHARE_OF_SLA)))
        consumer: Consumer = consumer_class(broker, queue_name, prefetch, timeout, holdings)
        return consumer

    broker.do_enqueue = do_enqueue  # type: ignore[attr-defined]  # Dramatiq finds it by name
    broker.consume = consume  # type: ignore[method-assign]
    _renew_identity_after_fork(broker, holdings)


def _wrapped_dispatch() -> str:
    stock = dramatiq_redis._scripts["dispatch"].decode()
    return (
        f"local MAX_DELIVERIES = {MAX_DELIVERIES}\nlocal function dramatiq()\n{stock}\nend\n{lua('accounts')}"
    )


class _Holdings:
    """Ids of the messages that consumers of this process handed out and that are not settled yet, by queue."""

    def __init__(self) -> None:
        self.by_queue: defaultdict[str, set[str]] = defaultdict(set)


def _renew_identity_after_fork(broker: RedisBroker, holdings: _Holdings) -> None:
    """A forked child is another worker: sharing an id, each would take the other's jobs for its own lost ones."""
    reference = weakref.ref(broker)

    def renew() -> None:
        child = reference()
        if child is not None:
            child.broker_id = str(uuid4())
            holdings.by_queue.clear()

    os.register_at_fork(after_in_child=renew)


class _Accounting(_DramatiqConsumer):
    """Goes before Dramatiq's consumer class: tells the script how each job ended, gets back what was lost."""

    def __init__(
        self, broker: RedisBroker, queue_name: str, prefetch: int, timeout: int, holdings: _Holdings
    ) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self.held = holdings.by_queue[queue_name]
        self._send_ack, self._send_nack = broker._dispatch("ack"), broker._dispatch("nack")
        if queue_name.endswith(".DQ"):
            # A consumer thread forgets its delayed jobs when it starts over: none of them is anybody's now.
            self.held.clear()
        self._leave_limbo()

    def ack(self, message: MessageProxy) -> None:
        if job.noted(message, "rescheduled"):  # its retry took its place already
            self._settled(message)
            return
        account = "skipped" if job.noted(message, "skipped") else "done"
        if not job.is_known(message.options):
            account = ""
        self._settle(self._send_ack, message, account)

    def nack(self, message: MessageProxy) -> None:
        self._settle(self._send_nack, message, _encoded(message))

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        messages = list(messages)
        super().requeue(messages)  # type: ignore[no-untyped-call]
        for message in messages:
            self._settled(message)

    def __next__(self) -> MessageProxy | None:
        try:
            if not self.message_cache and time.monotonic() - self._looked_at >= LIMBO_SECONDS:
                self._leave_limbo()
            message: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
        except TRANSIENT_ERRORS as error:
            raise ConnectionClosed(error) from None
        if message is not None:
            self.held.add(message.options["redis_message_id"])
        return message

    def _settle(self, send: Callable[..., Any], message: MessageProxy, detail: str | bytes) -> None:
        try:
            send(self.queue_name, message.options["redis_message_id"], detail)
        except TRANSIENT_ERRORS as error:
            raise ConnectionClosed(error) from None  # Dramatiq tries again
        self._settled(message)

    def _settled(self, message: MessageProxy) -> None:
        self.held.discard(message.options["redis_message_id"])
        self.queued_message_ids.discard(message.message_id)

    def _leave_limbo(self) -> None:
        """Put back what the server thinks this process holds and it does not. Only between two fetches."""
        key = f"{self.broker.namespace}:__acks__.{self.broker.broker_id}.{self.queue_name}"
        try:
            fetched = {raw.decode() for raw in cast("set[bytes]", self.broker.client.smembers(key))}
            lost = fetched - self.held
            if lost:
                self.logger.warning(
                    "Queue %r: %d fetched jobs never came; they go back.", self.queue_name, len(lost)
                )
                self.broker.do_requeue(self.queue_name, *lost)
        except TRANSIENT_ERRORS as error:
            raise ConnectionClosed(error) from None
        self._looked_at = time.monotonic()


def _encoded(message: MessageProxy) -> bytes:
    """The message with its reason of death; nothing, if something on it cannot be encoded: the stored one is kept."""
    try:
        return bytes(message.encode())
    except Exception:
        return b""
