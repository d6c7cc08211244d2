"""The empty job in Huey."""

from __future__ import annotations

import os

from huey import RedisHuey

from benchmarks import marks

huey = RedisHuey("bench", url=os.environ["LITTLEQ_BENCH_URL"], results=False)

mark = marks.from_environment()


@huey.task()
def nothing() -> None:
    mark()


def send() -> None:
    nothing()
