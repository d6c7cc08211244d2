"""A recorder whose thread is the test, and a ledger that fails on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from littleq.ledger import recorder as module
from littleq.ledger.base import Batch, LedgerSnapshot, LedgerUnavailable, Presence
from littleq.ledger.memory import MemoryLedger
from littleq.ledger.recorder import Recorder
from littleq.testing import ManualClock


class StillBackground:
    """Stands for `Background`: notes what was asked of it, and runs nothing."""

    def __init__(self, name: str, interval_seconds: float, task: Callable[[], object]) -> None:
        self.interval_seconds = interval_seconds
        self.task = task
        self.idle = True
        self.woken = 0

    def start(self) -> None:
        self.idle = False

    def wake(self) -> None:
        self.idle = False
        self.woken += 1

    def stop(self, run_once_more: bool = False) -> None:
        self.idle = True


class FlakyLedger(MemoryLedger):
    """Fails when told to: before it takes a batch, or after (its answer gets lost)."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.error: Exception | None = None
        self.answer_lost = False
        self.batches: list[Batch] = []
        self.reads = 0

    def go_away(self, *, answer_lost: bool = False) -> None:
        self.error = LedgerUnavailable("ConnectionError: connection refused")
        self.answer_lost = answer_lost

    def come_back(self) -> None:
        self.error = None

    def totals(self, queue: str = "default") -> dict[str, float]:
        return dict(super().snapshot().queue(queue).totals)

    def apply(self, batch: Batch) -> None:
        self.batches.append(batch)
        if self.error is None or self.answer_lost:
            super().apply(batch)
        self._fail()

    def retire(self, writer: str) -> None:
        self._fail()
        super().retire(writer)

    def snapshot(
        self,
        queues: Collection[str] | None = None,
        *,
        fields: Collection[str] | None = None,
        recent: bool = True,
    ) -> LedgerSnapshot:
        self.reads += 1
        self._fail()
        return super().snapshot(queues, fields=fields, recent=recent)

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ledger(clock: ManualClock) -> FlakyLedger:
    return FlakyLedger(clock)


@pytest.fixture
def make_recorder(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorder]:
    monkeypatch.setattr(module, "Background", StillBackground)
    monkeypatch.setattr(module, "at_process_exit", lambda _: None)
    return Recorder


@pytest.fixture
def recorder(ledger: FlakyLedger, clock: ManualClock, make_recorder: Callable[..., Recorder]) -> Recorder:
    return make_recorder(ledger, clock=clock)


@pytest.fixture
def worker() -> Presence:
    """This process, as a worker with 8 threads."""
    return Presence.here(threads=8, queues=["default"], started_at=0.0)


@pytest.fixture
def held_elsewhere() -> Callable[..., AbstractContextManager[None]]:
    """Holds locks in another thread: a re-entrant one lets its own thread in again, in a forked child too."""

    @contextmanager
    def hold(*locks: Any) -> Iterator[None]:
        held, release = threading.Event(), threading.Event()

        def work() -> None:
            for lock in locks:
                lock.acquire()
            held.set()
            release.wait(60)
            for lock in locks:
                lock.release()

        holder = threading.Thread(target=work)
        holder.start()
        assert held.wait(20)
        try:
            yield
        finally:
            release.set()
            holder.join()

    return hold
