"""What a move tells ledgers: only those that keep the accounts of an end, and never a job that stays in one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from littleq.config import Config
from littleq.ledger import MemoryLedger
from littleq.ledger.fields import total
from littleq.moving import counting
from littleq.moving.counting import End, count

REDIS, RABBIT = "redis://a", "amqp://b"


@pytest.fixture
def ledgers(monkeypatch: pytest.MonkeyPatch) -> dict[str, MemoryLedger]:
    found: dict[str, MemoryLedger] = {}

    def opened(config: Config) -> MemoryLedger:
        return found.setdefault(config.ledger_url or config.url, MemoryLedger())

    monkeypatch.setattr(counting, "open_ledger", opened)
    return found


def end(url: str, ledger_url: str | None = None) -> End:
    kept = "exact" if url.startswith("redis") else "ledger"
    backend: Any = SimpleNamespace(capabilities=SimpleNamespace(accounts=SimpleNamespace(value=kept)))
    return End(Config(url=url, ledger_url=ledger_url), backend)


def counted(ledger: MemoryLedger) -> tuple[float, float]:
    totals = ledger.snapshot(["q"]).queue("q").totals
    return total(totals, "bypassed"), total(totals, "purged")


def test_a_broker_with_accounts_of_its_own_needs_no_ledger(ledgers: dict[str, MemoryLedger]) -> None:
    count(end(REDIS), end("redis://b"), "q", 5, move="m", number=1)
    assert ledgers == {}


def test_jobs_enter_the_ledger_of_the_broker_that_has_one_once(ledgers: dict[str, MemoryLedger]) -> None:
    for _ in range(2):
        count(end(REDIS), end(RABBIT, "redis://c"), "q", 5, move="m", number=1)
    assert counted(ledgers["redis://c"]) == (5, 0)
    assert list(ledgers) == ["redis://c"]


def test_jobs_leave_the_ledger_of_the_broker_that_had_them(ledgers: dict[str, MemoryLedger]) -> None:
    count(end(RABBIT, "redis://c"), end(REDIS), "q", 5, move="m", number=1)
    assert counted(ledgers["redis://c"]) == (0, 5)


def test_with_one_ledger_for_both_ends_the_jobs_are_still_in_it(ledgers: dict[str, MemoryLedger]) -> None:
    count(end(REDIS), end(RABBIT, REDIS), "q", 5, move="m", number=1)
    count(end(RABBIT, REDIS), end("kafka://d", REDIS), "q", 5, move="m", number=2)
    assert ledgers == {}


def test_a_ledger_in_the_memory_of_other_processes_is_none(ledgers: dict[str, MemoryLedger]) -> None:
    count(end(RABBIT), end("kafka://d"), "q", 5, move="m", number=1)
    assert ledgers == {}
