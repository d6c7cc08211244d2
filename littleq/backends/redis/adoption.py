"""Jobs that plain Dramatiq processes delayed: read here, taken into the schedule by `adopt.lua`."""

from __future__ import annotations

from typing import Any, cast

import redis
from dramatiq import Message
from dramatiq.common import current_millis
from dramatiq.errors import DecodeError

from littleq import job
from littleq.backends.forms import encoded, ready_form
from littleq.backends.redis.sending import Ids

#: Jobs of plain Dramatiq's delay queue that are adopted by one round trip.
ADOPT_AT_ONCE = 100


def adoptable(client: redis.Redis, delay_queue: str, queue_name: str, ids: Ids) -> list[Any]:
    """The arguments of `adopt.lua` for the jobs at the head of a delay queue; none if it is empty.

    Args:
        delay_queue: its key on the server.
        queue_name: the queue that the jobs are for.
        ids: their names from now on, by which they can be cancelled.
    """
    found = cast("list[bytes]", client.lrange(delay_queue, 0, ADOPT_AT_ONCE - 1))
    stored = cast("list[bytes | None]", client.hmget(f"{delay_queue}.msgs", found)) if found else []
    args: list[Any] = []
    for redis_message_id, data in zip(found, stored, strict=True):
        args += [redis_message_id, *_adopted(queue_name, data, ids)]
    return args


def _adopted(queue_name: str, data: bytes | None, ids: Ids) -> tuple[str, Any, bytes, int]:
    try:
        message: Message[Any] = Message.decode(data or b"")
    except DecodeError:
        return "", "", b"", 0
    eta = message.options.get("eta") or 0
    joins = not job.is_known(message.options)
    ready = ready_form(message, queue_name)
    redis_message_id = ids.new(message.message_id)
    ready.options["redis_message_id"] = redis_message_id
    if joins:
        job.write(ready.options, ready_at=eta / 1000)
    return redis_message_id, int(eta - current_millis()), encoded(ready), int(joins)
