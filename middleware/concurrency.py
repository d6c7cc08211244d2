"""Bounds how many jobs of a queue one process takes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dramatiq import Middleware
from dramatiq.common import q_name

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config


class Concurrency(Middleware):
    """Caps a consumer's prefetch at the queue's `concurrency`.

    A prefetch counts running jobs too, so the cap bounds parallelism; and what it leaves in the broker other
    processes can take. No worker thread ever waits for a permit, no attempt is spent on one (a rate limiter that raises
    burns a retry each time it says no). Delay queues are not capped: what waits there does not run.

    Its place in the stack does not matter: `littleq.install` asks it when the broker makes a consumer.
    """

    def __init__(self, *, config: Config) -> None:
        self.config = config

    def prefetch(self, broker: Broker, queue_name: str, prefetch: int) -> int:
        """The prefetch in force for a consumer of `queue_name`, >= 1."""
        bound = self.config.queue(q_name(queue_name)).concurrency
        if bound is None or queue_name in broker.get_declared_delay_queues():
            return prefetch
        return min(prefetch, bound)
