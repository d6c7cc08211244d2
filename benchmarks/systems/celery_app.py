"""The empty job in Celery. No result backend: nobody asks for a result, as nobody does in Dramatiq."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks import marks

app = Celery("bench", broker=os.environ["LITTLEQ_BENCH_URL"])
app.conf.task_ignore_result = True
app.conf.worker_hijack_root_logger = False

mark = marks.from_environment()


@app.task
def nothing() -> None:
    mark()


def send() -> None:
    nothing.delay()
