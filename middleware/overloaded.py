"""What a sender gets when a queue is full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq.middleware import MiddlewareError

from littleq.errors import LittleQError


class Overloaded(LittleQError, MiddlewareError):
    """`send()` was refused: the queue holds as many jobs as it can start within its SLA.

    Attributes:
        queue: the queue that refused.
        depth: jobs counted against the limit when the send was judged.
        limit: the part of the queue limit open to this message's criticality, in jobs.
        retry_after: seconds until there should be room again, > 0.
        jobs: how many were sent together: 1, or the size of a group.
    """

    def __init__(self, queue: str, *, depth: int, limit: int, retry_after: float, jobs: int = 1) -> None:
        self.queue = queue
        self.depth = depth
        self.limit = limit
        self.retry_after = retry_after
        self.jobs = jobs
        if jobs > limit:
            what = f"a group of {jobs} jobs can never fit its limit of {limit}: split the group or raise the limit"
        else:
            asked = "one more" if jobs == 1 else f"a group of {jobs}"
            what = f"{asked} would pass its limit of {limit}: send again in {retry_after:.2f} s or raise the limit"
        super().__init__(f"Queue {queue!r} is full: it holds {depth} jobs and {what}.")

    def __reduce__(self) -> tuple[Callable[..., Overloaded], tuple[Any, ...]]:
        return _rebuild, (self.queue, self.depth, self.limit, self.retry_after, self.jobs)


def _rebuild(queue: str, depth: int, limit: int, retry_after: float, jobs: int) -> Overloaded:
    return Overloaded(queue, depth=depth, limit=limit, retry_after=retry_after, jobs=jobs)
