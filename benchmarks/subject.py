"""One measurement in a process of its own: `python -m benchmarks.subject WHAT MODE URL JOBS` prints jobs per second.

WHAT is `enqueue` (one thread sends) or `process` (2 processes × 8 threads work off a full queue). MODE is
`plain`, an app as Dramatiq's guide writes it, or `stack`, the same app with every middleware of LittleQ on.
The jobs do nothing: all of their time is overhead.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from functools import cache

import dramatiq
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker

import littleq
from littleq.config import Config, SLAQueueConfig

PROCESSES = 2
THREADS = 8
QUEUE = "bench"


def build(mode: str, url: str) -> dramatiq.Actor[[], None]:
    broker = RedisBroker(url=url, namespace=mode)
    if mode == "stack":
        # A limit that is judged at every send and never reached; concurrency set, as everything is switched on.
        queue = SLAQueueConfig(QUEUE, arrival_rate=1e6, sla_seconds=60, concurrency=1000)
        littleq.install(broker, Config(url=url, queues={QUEUE: queue}, exporter_enabled=False))
    dramatiq.set_broker(broker)

    @dramatiq.actor(queue_name=QUEUE)
    def nothing() -> None:
        now = time.monotonic()
        span[0] = min(span[0], now)
        span[1] = max(span[1], now)

    span = nothing.__dict__["span"] = [float("inf"), 0.0]
    return nothing


def enqueue(mode: str, url: str, jobs: int) -> float:
    """Seconds to send `jobs` jobs."""
    actor = _actor(mode, url)
    started = time.perf_counter()
    for _ in range(jobs):
        actor.send()
    return time.perf_counter() - started


def process(mode: str, url: str, jobs: int) -> float:
    """Seconds from the first job's start to the last one's, over all processes: booting is not measured."""
    enqueue(mode, url, jobs)
    context = multiprocessing.get_context("spawn")
    spans = context.Queue()
    workers = [context.Process(target=work, args=(mode, url, spans)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    found = [spans.get() for _ in workers]
    for worker in workers:
        worker.join()
    return max(last for _, last in found) - min(first for first, _ in found)


@cache
def _actor(mode: str, url: str) -> dramatiq.Actor[[], None]:
    return build(mode, url)


def work(mode: str, url: str, spans: multiprocessing.Queue[tuple[float, float]]) -> None:
    actor = build(mode, url)
    worker = Worker(actor.broker, worker_threads=THREADS)
    worker.start()
    while actor.broker.client.hlen(f"{mode}:{QUEUE}.msgs"):  # type: ignore[attr-defined]
        time.sleep(0.05)
    worker.stop()
    first, last = actor.__dict__["span"]
    spans.put((first, last))


def main() -> None:
    what, mode, url = sys.argv[1:]
    run = {"enqueue": enqueue, "process": process}[what]
    for line in sys.stdin:
        print(run(mode, url, int(line)), flush=True)


if __name__ == "__main__":
    main()
