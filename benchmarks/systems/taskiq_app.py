"""The empty job in TaskIQ. It is a coroutine, as TaskIQ's guide has it; a plain function takes a thread's detour."""

from __future__ import annotations

import asyncio
import os

from taskiq_redis import ListQueueBroker

from benchmarks import marks

broker = ListQueueBroker(os.environ["LITTLEQ_BENCH_URL"], queue_name="bench-taskiq")

mark = marks.from_environment()


@broker.task
async def nothing() -> None:
    mark()


loop = asyncio.new_event_loop()


def send_all(jobs: int) -> None:
    async def all_of_them() -> None:
        for _ in range(jobs):
            await nothing.kiq()

    loop.run_until_complete(all_of_them())
