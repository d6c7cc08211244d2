"""A fleet in driven time, for tests of the controller: jobs flow, workers serve them, a pool obeys what is published.

Everything the controller reads is real (a ledger, batches, presences) but the broker, whose truth is computed; a test
may put a real one in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from littleq.autoscale.controller import LEASE, Controller, Tick
from littleq.backends.base import Backend, TruthTable
from littleq.backends.stub.capabilities import CAPABILITIES
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.base import Batch, Ledger, LedgerUnavailable, Presence, Record
from littleq.ledger.decisions import Published, read_decisions
from littleq.ledger.memory import MemoryLedger
from littleq.testing import ManualClock

#: Of the fleet below: service time, threads of a worker, and seconds from "asked for" to "takes jobs".
SERVICE_SECONDS, THREADS, STARTUP_SECONDS = 0.2, 4, 10.0

BUSY = SLAQueueConfig(
    "q",
    sla_seconds=2.0,
    max_workers=40,
    threads_per_worker=THREADS,
    startup_seconds=STARTUP_SECONDS,
    admission="off",
)


class Unreliable:
    """Something that can be away, or do something before or after each call."""

    def __init__(self, inner: Any, error: Exception) -> None:
        self.inner, self._error = inner, error
        self.is_away = False
        self.calls: list[str] = []
        self.at: Callable[[str], None] = lambda _point: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.is_away:
                raise self._error
            self.at(f"before {name}")
            answer = method(*args, **kwargs)
            self.at(f"after {name}")
            return answer

        return call


class Fleet:
    """One busy queue, its workers and its ledger; a second lasts as long as the test wants.

    Attributes:
        rate: jobs/s that are sent.
        obeys: whether its pool does.
        published: the workers that were wanted, at each look of the pool at a decision that is not stale.
    """

    def __init__(
        self, queue: SLAQueueConfig = BUSY, *, rate: float = 60.0, workers: int = 5, **settings: Any
    ) -> None:
        self.clock = ManualClock()
        self.config = Config(queues={queue.name: queue}, **{"decide_seconds": 5.0, **settings})
        self.queue = queue
        self.memory = MemoryLedger(self.clock)
        self.ledger = Unreliable(self.memory, LedgerUnavailable("away"))
        self.broker = Unreliable(self, ConnectionError("away"))
        self.rate, self.obeys = rate, True
        self.backlog = self.delayed = 0.0
        self.names = [f"w{k}" for k in range(workers)]
        self._made = workers
        self._starting: list[float] = []
        self._sequences: dict[str, int] = {}
        self.published: list[int] = []
        self._remember_another_queue()

    def controller(self, holder: str | None = None, **settings: Any) -> Controller:
        backend = Backend(
            name="fluid",
            inspector=self.broker,
            dead_letters=None,  # type: ignore[arg-type]  # a controller has nothing to do with it
            exact_depth=True,
            is_transient=lambda _error: True,
            extend=lambda _config: None,
            capabilities=CAPABILITIES,
            **settings,
        )
        ledger: Ledger = self.ledger  # type: ignore[assignment]  # it has what its inner one has
        return Controller(self.config, ledger, backend, self.clock, holder)

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        running = min(self.backlog, len(self.names) * THREADS)
        ready = round(self.backlog - running)
        return {
            queue: TruthTable(
                queue,
                ready=ready,
                in_flight=round(running),
                delayed=round(self.delayed),
                oldest_age=ready / self.rate if ready and self.rate else None,
            )
            for queue in queues
        }

    def run(self, seconds: float, *controllers: Controller) -> list[Tick]:
        """Let time pass; every second jobs flow, workers report, and each controller ticks."""
        ticks = []
        for _ in range(round(seconds)):
            self._second()
            ticks += [controller.tick() for controller in controllers]
            self.obey()
        return ticks

    def _second(self) -> None:
        self.clock.advance(1.0)
        now = self.clock.now()
        ready, self._starting = (
            [at for at in self._starting if at <= now],
            [at for at in self._starting if at > now],
        )
        self.hire(len(ready))
        self.backlog += self.rate
        served = min(self.backlog, len(self.names) * THREADS / SERVICE_SECONDS)
        late = served if self.backlog - served > self.queue.sla_seconds * max(served, 1.0) else 0.0
        self.backlog -= served
        counts = {
            "offered:default": self.rate,
            "service:count": served,
            "service:sum": served * SERVICE_SECONDS,
            "service:sumsq": served * SERVICE_SECONDS**2 * 1.5,
            "wait:count": served,
            "breached": late,
        }
        self._report("producer", counts, None)
        for name in self.names:
            self._report(name, {}, Presence(name, "h", 1, THREADS, (self.queue.name,), 0.0))

    def _report(self, writer: str, counts: Mapping[str, float], presence: Presence | None) -> None:
        self._sequences[writer] = sequence = self._sequences.get(writer, 0) + 1
        if not self.ledger.is_away:
            self.memory.apply(Batch(writer, sequence, {self.queue.name: counts}, presence))

    def hire(self, workers: int) -> None:
        self.names += [f"w{self._made + k}" for k in range(workers)]
        self._made += workers

    def lose(self, workers: int) -> None:
        """They are killed: nothing retires them from the ledger."""
        del self.names[:workers]

    def obey(self) -> None:
        """As a pool does: what is stale or not there changes nothing."""
        found = self.decision()
        if found is None or found.is_stale:
            return
        self.published.append(found.desired_workers)
        if not self.obeys:
            return
        more = found.desired_workers - len(self.names) - len(self._starting)
        if more > 0:
            self._starting += [self.clock.now() + STARTUP_SECONDS] * more
        while more < 0 and self._starting:
            self._starting.pop()
            more += 1
        for name in self.names[len(self.names) + min(0, more) :]:
            self.memory.retire(name)
        del self.names[len(self.names) + min(0, more) :]

    def decision(self) -> Published | None:
        """What is published now."""
        if self.ledger.is_away:
            return None
        return read_decisions(self.memory).get(self.queue.name)

    def _remember_another_queue(self) -> None:
        """A ledger without any decision is a new one, which controllers do not trust yet."""
        lease = self.memory.lease(LEASE, "of old", 1.0)
        assert lease is not None
        self.memory.publish(lease, {"old": Record({}, None)})
        self.memory.release(lease)
        self.clock.advance(10.0)

    def empty_the_ledger(self) -> None:
        self.ledger.inner = self.memory = MemoryLedger(self.clock)
        self._sequences.clear()
