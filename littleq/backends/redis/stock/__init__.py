"""Dramatiq's own RedisBroker, prepared for LittleQ: exact accounts, no job doubled, lost or in limbo.

Nothing of Dramatiq's is copied. Its dispatch script is wrapped, as text and at run time, in a script that counts in
the same atomic call (`accounts.lua`); its consumer class is subclassed (`consumer`). There is no further round trip.

An enqueue of a retry or a due delayed job takes the place of the job that the worker holds, in one step: kill -9
anywhere leaves one job, not two (stock: Bogdanp/dramatiq#431) and not none (#545).

What remains of the stock broker: polling, delays in worker memory, recovery by chance.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING
from uuid import uuid4

from dramatiq.brokers import redis as dramatiq_redis
from dramatiq.common import dq_name, q_name

from littleq import job, passage
from littleq.backends.redis.quick import QuickScript
from littleq.backends.redis.scripts import lua
from littleq.backends.redis.stock.consumer import Holdings, accounting

if TYPE_CHECKING:
    from dramatiq.broker import Consumer
    from dramatiq.brokers.redis import RedisBroker

    from littleq.config import Config

#: Jobs delivered to this many workers that died are poison. Celery has no such bound, SQS users choose 3 to 10.
MAX_DELIVERIES = 5
#: Least time between two maintenances of a queue that has nothing to recover, in milliseconds.
MAINTENANCE_MS = 5000
#: Dead letters are kept until purged; Dramatiq forgets them after this many milliseconds: a century.
KEEP_DEAD_MS = 100 * 365 * 86_400_000
#: An idle stock consumer polls with a growing pause. It may spend this share of the SLA on it, at least 20 ms.
IDLE_SHARE_OF_SLA = 0.05
LEAST_IDLE_MS = 20


def extend(broker: RedisBroker, config: Config) -> None:
    """Prepare `broker`. Its dead letters are kept from now on, unless the app chose a time to live of its own."""
    broker.scripts["dispatch"] = QuickScript(broker.client, _wrapped_dispatch())
    if broker.dead_message_ttl == dramatiq_redis.DEFAULT_DEAD_MESSAGE_TTL:
        broker.dead_message_ttl = KEEP_DEAD_MS
    enqueue = broker._dispatch("enqueue")
    consumer_class = accounting(broker.consumer_class)
    holdings = Holdings()

    def do_enqueue(queue_name: str, redis_message_id: str, data: bytes) -> None:
        errand = passage.current.get()
        held = errand.held
        if held is None:
            enqueue(queue_name, redis_message_id, data, "admitted", "", "")
            return
        held_queue, held_id = held.queue_name, held.options["redis_message_id"]
        if errand.errand == "promotion" and held_id not in holdings.by_queue[queue_name]:
            # A job that the app put an eta on by itself waits in its own queue; any other in the delay queue.
            held_queue = dq_name(queue_name)
        # A stranger's retry is stamped, and is in the accounts from now on.
        joins = errand.errand == "retry" and not job.is_known(held.options)
        enqueue(queue_name, redis_message_id, data, "admitted" if joins else "", held_queue, held_id)

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
        f"local MAX_DELIVERIES, MAINTENANCE_MS = {MAX_DELIVERIES}, {MAINTENANCE_MS}\n"
        f"local function dramatiq()\n{stock}\nend\n{lua('accounts')}"
    )


def _renew_identity_after_fork(broker: RedisBroker, holdings: Holdings) -> None:
    """A forked child is another worker: sharing an id, each would take the other's jobs for its own lost ones."""
    reference = weakref.ref(broker)

    def renew() -> None:
        child = reference()
        if child is not None:
            child.broker_id = str(uuid4())
            holdings.by_queue.clear()

    os.register_at_fork(after_in_child=renew)
