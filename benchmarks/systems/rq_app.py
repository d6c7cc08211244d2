"""The empty job in RQ."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

from benchmarks import marks

queue = Queue("bench", connection=Redis.from_url(os.environ["LITTLEQ_BENCH_URL"]))

mark = marks.from_environment(forks=True)


def nothing() -> None:
    mark()


def send() -> None:
    queue.enqueue(nothing, result_ttl=0)
