"""Tells the ledger which workers live, and how many threads they bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dramatiq import Middleware

from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger.base import Presence as PresenceRecord

if TYPE_CHECKING:
    from dramatiq import Broker, Worker

    from littleq.ledger.recorder import Recorder


class Presence(Middleware):
    """Registers the worker of this process, and retires it when it shuts down.

    The record is refreshed by each flush and runs out by itself, so a worker that was killed is gone from
    every count within `PRESENCE_SECONDS`. Also brings `forks` into `dramatiq`'s own process tree: the
    exporter.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        forks: Iterable[Callable[[], int]] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.recorder = recorder
        self.clock = clock
        self._forks = list(forks)
        self._worker: Worker | None = None

    @property
    def forks(self) -> list[Callable[[], int]]:
        return self._forks

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._worker = worker
        self._register(broker)

    def after_declare_queue(self, broker: Broker, queue_name: str) -> None:
        if self._worker is not None:
            self._register(broker)

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self.recorder.leave()  # it serves nobody any more, however long its last job takes

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._worker = None
        self.recorder.close()

    def _register(self, broker: Broker) -> None:
        worker = self._worker
        if worker is None:  # shut down between two hooks
            return
        served = broker.get_declared_queues() - broker.get_declared_delay_queues()
        if worker.consumer_whitelist:
            served &= worker.consumer_whitelist
        self.recorder.attend(
            PresenceRecord.here(threads=worker.worker_threads, queues=served, started_at=self.clock.now()),
            running=lambda: max(0, worker.work_queue.unfinished_tasks - worker.work_queue.qsize()),
        )
