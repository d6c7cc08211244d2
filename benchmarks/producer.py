"""A process that sends when it is told to: `python -m benchmarks.producer SYSTEM QUEUE`.

Reads one order a line, `WHAT ARGUMENT…`, and answers with a line of JSON: first a bare "ready", then one an order.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.systems import MODES


def main() -> None:
    name, queue = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    orders = orders_for_dramatiq(name, queue) if name in (*MODES, "bare") else orders_for_another(name)
    print('"ready"', file=answers, flush=True)
    for line in sys.stdin:
        what, *arguments = line.split()
        print(json.dumps(orders[what](*map(int, arguments))), file=answers, flush=True)


def orders_for_another(name: str) -> dict[str, Callable[..., Any]]:
    module = import_module(f"benchmarks.systems.{name}_app")
    run = module.send_all if hasattr(module, "send_all") else repeat(module.send)
    return {"send": lambda jobs: timed(run, jobs)}


def orders_for_dramatiq(mode: str, queue: str) -> dict[str, Callable[..., Any]]:
    url = os.environ["LITTLEQ_BENCH_URL"]
    app: Any
    if mode == "bare":
        from benchmarks.systems import kafka_app  # noqa: PLC0415 - a producer imports what it measures only

        app = kafka_app.App(url)
    else:
        from benchmarks.systems import dramatiq_app  # noqa: PLC0415

        app = dramatiq_app.App(mode, url, queue)
    return {
        "send": lambda jobs: timed(repeat(app.nothing.send), jobs),
        "bulk": lambda jobs, batch: timed(repeat(lambda: app.bulk(batch)), jobs // batch),
        "paced": lambda *limits: paced(app, *limits),
        "delayed": lambda *limits: delayed(app, *limits),
        "hold": lambda jobs: hold(app, jobs),
    }


def repeat(action: Callable[[], object]) -> Callable[[int], None]:
    def run(times: int) -> None:
        for _ in range(times):
            action()

    return run


def timed(run: Callable[[int], None], times: int) -> tuple[int, int]:
    """When it began and ended, in nanoseconds."""
    started = time.time_ns()
    run(times)
    return started, time.time_ns()


def paced(app: Any, jobs: int, low_ms: int, high_ms: int) -> None:
    """A job now and then; each is given the time just before its `send()`."""
    for _ in range(jobs):
        time.sleep(random.uniform(low_ms, high_ms) / 1000)
        app.stamped.send(time.time_ns())


def delayed(app: Any, jobs: int, low_ms: int, high_ms: int) -> None:
    """Jobs delayed by `low_ms` to `high_ms`, some 25 a second; each is given the time at which it is due."""
    for _ in range(jobs):
        time.sleep(random.uniform(0.02, 0.06))
        delay = random.randint(low_ms, high_ms)
        app.stamped.send_with_options(args=(time.time_ns() + delay * 1_000_000,), delay=delay)


def hold(app: Any, jobs: int) -> None:
    """Jobs numbered from 1 that a worker which is told so holds on to."""
    for number in range(jobs):
        app.held.send(number + 1)


if __name__ == "__main__":
    main()
