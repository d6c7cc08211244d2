"""Looks into the schedule of our RedisBroker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from littleq.backends.redis.scripts import lua

if TYPE_CHECKING:
    from littleq.backends.redis.broker import RedisBroker


class RedisSchedule:
    """Delayed jobs and retries, by the server's clock. What a plain Dramatiq worker keeps in its memory is not seen."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._due = broker.client.register_script(lua("due"))

    def due_times(self, queue: str, bounds: Sequence[float]) -> Sequence[int]:
        return self.due_times_of({queue: bounds})[queue]

    def due_times_of(self, bounds: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[int]]:
        if not bounds:
            return {}
        asked: list[str | int | float] = []
        for queue, moments in bounds.items():
            asked += (queue, len(moments), *moments)
        rows = self._due(keys=[self._broker.namespace], args=asked)
        return {queue: [int(count) for count in row] for queue, row in zip(bounds, rows, strict=True)}

    def cancel(self, queue: str, message_id: str) -> int:
        return self._broker.cancel(queue, message_id)
