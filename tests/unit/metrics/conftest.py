"""Hand-made ledgers and brokers, and a page as a table to look values up in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric as Family

from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.base import (
    EMPTY_QUEUE,
    Batch,
    LedgerSnapshot,
    LedgerUnavailable,
    Presence,
    QueueLedger,
    Record,
)
from littleq.ledger.decisions import document
from littleq.metrics.collector import FleetCollector
from littleq.metrics.sources import Source
from littleq.policies.scaling import Observation, ScalingSettings, decide

Scraped = dict[str, float]

#: The fake ledger's clock.
NOW = 1_700_000_000.0


def key(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name


def table(families: Iterable[Family]) -> Scraped:
    """`{'sla_queue_depth{queue="q"}': 3.0, …}`; no series may come twice."""
    found: Scraped = {}
    for family in families:
        for sample in family.samples:
            series = key(sample.name, sample.labels)
            assert series not in found, f"{series} is there twice"
            found[series] = sample.value
    return found


@pytest.fixture(name="table")
def table_fixture() -> Callable[[Iterable[Family]], Scraped]:
    return table


def worker(name: str, threads: int, *queues: str) -> Presence:
    return Presence(writer=name, host="h", pid=1, threads=threads, queues=queues, started_at=0.0)


@pytest.fixture(name="worker")
def worker_fixture() -> Callable[..., Presence]:
    return worker


@dataclass
class FakeLedger:
    """A ledger that says what it is told to, or is down."""

    queues: dict[str, QueueLedger] = field(default_factory=dict)
    workers: tuple[Presence, ...] = ()
    decided: dict[str, Record] = field(default_factory=dict)
    error: Exception | None = None
    reads: int = 0

    def apply(self, batch: Batch) -> None:
        raise LedgerUnavailable("a scrape only reads")

    def retire(self, writer: str) -> None:
        self.workers = tuple(each for each in self.workers if each.writer != writer)

    def snapshot(self, queues: Collection[str] | None = None) -> LedgerSnapshot:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return LedgerSnapshot(NOW, dict(self.queues), self.workers)

    def records(
        self, queues: Collection[str] | None = None, *, states: bool = False
    ) -> tuple[float, dict[str, Record]]:
        if self.error is not None:
            raise self.error
        return NOW, dict(self.decided)

    def decide(self, queue: str, age: float, events: Mapping[str, int], **seen: Any) -> None:
        """Publish what the policy makes of a first look at the queue, `age` seconds ago."""
        settings = ScalingSettings(sla_seconds=1.0, service_time=0.5, threads_per_worker=2)
        decision, _ = decide(settings, Observation(**{"now": NOW, "offered": 0.0, **seen}))
        self.decided[queue] = Record(
            document(decision, settings, events), state=None, decided_at=NOW - age, holder="h:1"
        )

    def know(self, queue: str, **changes: object) -> None:
        self.queues[queue] = replace(self.queues.get(queue, EMPTY_QUEUE), **changes)  # type: ignore[arg-type]


@dataclass
class FakeInspector:
    """A broker that says what it is told to, or is down."""

    tables: dict[str, TruthTable] = field(default_factory=dict)
    error: Exception | None = None
    reads: int = 0
    scans: int = 0

    def queues(self) -> set[str]:
        self.scans += 1
        return set(self.tables)

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return {queue: self.tables.get(queue, TruthTable(queue)) for queue in queues}

    def strangers(self, queue: str) -> int:
        raise AssertionError("a scrape must not scan a queue")


@dataclass
class Fleet:
    """A collector over a fake ledger and a fake broker."""

    config: Config = field(
        default_factory=lambda: Config(queues={"realtime": SLAQueueConfig("realtime", sla_seconds=1.0)})
    )
    ledger: FakeLedger = field(default_factory=FakeLedger)
    inspector: FakeInspector = field(default_factory=FakeInspector)

    def __post_init__(self) -> None:
        self.collector = FleetCollector(
            self.config,
            Source("ledger", lambda: self.ledger),
            Source("broker", lambda: self.inspector),
        )

    def scrape(self) -> Scraped:
        return table(self.collector.collect())


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()
