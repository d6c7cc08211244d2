"""A Dramatiq worker that says how busy it is, and lets go at once of what it has not begun."""

from __future__ import annotations

import time
from typing import Any

from dramatiq import Worker

from littleq.lifecycle.drain import Drain


class ElasticWorker(Worker):
    """Stops as `littleq.lifecycle.drain` says, with the stack or without it, in one grace period for all."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.drain = Drain(self)

    @property
    def busyness(self) -> tuple[int, int]:
        """Jobs that run, and jobs that run or are prefetched."""
        return self.drain.running, self.work_queue.unfinished_tasks

    def stop(self, timeout: int = 600_000) -> None:
        """As Dramatiq's; `timeout` in milliseconds, for all of it."""
        began = time.monotonic()
        self.drain.let_go()
        super().stop(max(0, timeout - round((time.monotonic() - began) * 1000)))
