"""A StubBroker with the stack, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from littleq.backends import backend_for
from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger
from littleq.stack import install
from littleq.testing import ManualClock


@dataclass
class Stack:
    """One broker, its ledger and clock, and how to run what was sent."""

    broker: StubBroker
    clock: ManualClock
    ledger: MemoryLedger
    workers: list[Worker] = field(default_factory=list)

    @property
    def gate(self) -> Any:
        return self.broker.littleq_gate  # type: ignore[attr-defined]

    def middleware(self, kind: type) -> Any:
        return next(m for m in self.broker.middleware if isinstance(m, kind))

    def actor(self, fn: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(fn, broker=self.broker, **options)  # type: ignore[call-overload]

    def work(self, threads: int = 2) -> Worker:
        worker = Worker(self.broker, worker_timeout=20, worker_threads=threads)
        worker.start()
        self.workers.append(worker)
        return worker

    def run(self, *queues: str, threads: int = 2) -> None:
        """Work until the queues are empty, delayed jobs too."""
        worker = self.work(threads)
        for queue in queues:
            self.broker.join(queue, timeout=10_000, fail_fast=False)
        worker.stop()

    def truth(self, queue: str) -> TruthTable:
        return backend_for(self.broker).inspector.truth([queue])[queue]

    def counts(self, queue: str) -> dict[str, float]:
        """What the fleet's ledger knows, once everything is flushed."""
        self.gate.admission.recorder.flush()
        return dict(self.ledger.snapshot().queue(queue).totals)


@pytest.fixture
def make_stack() -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def make(*queues: SLAQueueConfig, middleware: list[Any] | None = None) -> Stack:
        clock = ManualClock()
        ledger = MemoryLedger(clock=clock)
        broker = StubBroker(middleware=middleware)
        dramatiq.set_broker(broker)  # `message | message` asks for it
        install(broker, Config(queues={queue.name: queue for queue in queues}), ledger=ledger, clock=clock)
        stack = Stack(broker, clock, ledger)
        made.append(stack)
        return stack

    yield make
    for stack in made:
        for worker in stack.workers:
            worker.stop()
        stack.gate.admission.recorder.close()
