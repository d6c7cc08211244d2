"""A small fleet under load with a controller that decides, for tests of what Prometheus makes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq
from dramatiq import Worker

from littleq.autoscale.controller import Controller, controller_for
from littleq.backends.redis.broker import RedisBroker
from littleq.config import Config, SLAQueueConfig
from littleq.ledger import open_ledger
from littleq.ledger.decisions import read_decisions
from littleq.stack import install

QUEUE = SLAQueueConfig(
    "realtime",
    sla_seconds=0.5,
    arrival_rate=40.0,
    threads_per_worker=2,
    max_workers=30,
    startup_seconds=2.0,
    max_retries=0,
)
SERVICE_SECONDS = 0.04


class Load:
    """Real jobs through a real broker, run by one worker of two threads of this process, and a real controller.

    Attributes:
        rate: jobs/s that are sent; the worker serves 50 at most.
    """

    def __init__(self, url: str) -> None:
        self.config = Config(url=url, queues={"realtime": QUEUE}, decide_seconds=1.0, flush_seconds=0.2)
        self.rate = 20.0
        self.ledger = open_ledger(self.config)
        self._stop, self._decides = threading.Event(), threading.Event()
        broker = RedisBroker(url=url, watch=False)
        install(broker, self.config)
        self._broker = broker

        def work(fails: bool = False) -> None:
            time.sleep(SERVICE_SECONDS)
            if fails:
                raise ValueError("as it was told to")

        self._actor = dramatiq.actor(work, broker=broker, queue_name="realtime")
        self._controller: Controller = controller_for(self.config)
        self._threads = [threading.Thread(target=run) for run in (self._send, self._decide)]
        self._worker = Worker(broker, worker_timeout=50, worker_threads=2)

    @contextmanager
    def running(self) -> Iterator[Load]:
        self._decides.set()
        self._worker.start()
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
            self._worker.stop()
            self._controller.close()
            self._broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
            self._broker.close()

    def stop_deciding(self) -> None:
        self._decides.clear()

    def go_on_deciding(self) -> None:
        self._decides.set()

    def decided(self) -> int | None:
        """What the ledger has."""
        found = read_decisions(self.ledger).get("realtime")
        return None if found is None else found.desired_workers

    def _send(self) -> None:
        sent = 0
        while not self._stop.wait(1.0 / self.rate):
            sent += 1
            try:
                self._actor.send(fails=sent % 50 == 0)
            except dramatiq.middleware.MiddlewareError:  # shed: the queue is full, as it may be
                continue

    def _decide(self) -> None:
        while not self._stop.wait(0.2):
            if self._decides.is_set():
                self._controller.tick()
