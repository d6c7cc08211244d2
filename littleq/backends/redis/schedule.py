"""Looks into the schedule of our RedisBroker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from littleq.backends.redis.broker import RedisBroker


class RedisSchedule:
    """Delayed jobs and retries, by the server's clock. What a plain Dramatiq worker keeps in its memory is not seen."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker

    def due_times(self, queue: str, bounds: Sequence[float]) -> Sequence[int]:
        client = self._broker.client
        seconds, microseconds = cast("tuple[int, int]", client.time())
        now = seconds * 1000 + microseconds / 1000
        pipe = client.pipeline(transaction=False)
        for bound in bounds:
            pipe.zcount(f"littleq:{self._broker.namespace}:{queue}:schedule", "-inf", now + bound * 1000)
        return [int(count) for count in pipe.execute()]

    def cancel(self, queue: str, message_id: str) -> int:
        return self._broker.cancel(queue, message_id)
