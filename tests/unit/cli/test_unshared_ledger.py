"""Where the ledger can only be in the memory of each process, what would read it says so instead of showing nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from littleq.autoscale.pool.groups import server_problem
from littleq.cli.options import Session
from littleq.config import Config
from littleq.ledger.memory import MemoryLedger

Littleq = Callable[..., Any]

URLS = ["amqp://me:hunter2@rabbit:5672/shop", "sqs://eu-west-1", "kafka://a:9092?sasl.password=hunter2"]


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LITTLEQ_URL", "LITTLEQ_LEDGER_URL", "LITTLEQ_CONFIG"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize(
    "command", [("monitor", "--once"), ("exporter", "--port", "0"), ("explain",), ("scaler", "--port", "0")]
)
@pytest.mark.parametrize("url", URLS)
def test_a_reader_refuses_in_one_sentence(littleq: Littleq, command: tuple[str, ...], url: str) -> None:
    answer = littleq(*command, "--url", url)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("littleq: The ledger is in the memory of each process (")
    assert f"where `littleq {command[0]}` sees nothing of the others: set ledger_url" in answer.err
    assert answer.err.count("\n") == 1
    assert "hunter2" not in answer.err


def test_a_ledger_that_is_said_to_be_in_memory_is_none_either(
    littleq: Littleq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITTLEQ_LEDGER_URL", "memory://")
    answer = littleq("monitor", "--once", "--url", "redis://db")
    assert answer.code == 2
    assert "(ledger_url is memory://)" in answer.err


@pytest.mark.parametrize("url", URLS)
def test_neither_controller_nor_pool_runs_blind(url: str) -> None:
    """Both ask this, once they know the app's configuration."""
    problem = server_problem(StubBroker(), Config(url=url))
    assert problem is not None and "a controller sees nothing of the others" in problem
    assert server_problem(StubBroker(), Config(url=url, ledger_url="redis://db")) is None


@pytest.mark.parametrize("url", URLS)
def test_config_check_says_what_is_lost_and_is_not_an_error(littleq: Littleq, url: str) -> None:
    answer = littleq("config", "check", "--url", url)
    assert answer.code == 0
    (line,) = [line for line in answer.out.splitlines() if line.startswith("Ledger: ")]
    assert "the memory of each process by itself, lost at its end" in line
    for lost in ("metrics", "capacity", "autoscaling", "poison", "audit", "monitor"):
        assert lost in line
    assert 'ledger_url = "redis://…"' in line
    assert "hunter2" not in answer.out


@pytest.mark.parametrize("ledger", ["redis://db:6380", "embedded://"])
def test_config_check_with_a_ledger_that_is_shared(
    littleq: Littleq, monkeypatch: pytest.MonkeyPatch, ledger: str
) -> None:
    monkeypatch.setenv("LITTLEQ_LEDGER_URL", ledger)
    answer = littleq("config", "check", "--url", URLS[0])
    assert f"Ledger: {ledger} (ledger_url from LITTLEQ_LEDGER_URL)" in answer.out
    assert "autoscaling" not in answer.out


@pytest.mark.parametrize("url", ["amqp://me:hunter2@rabbit", "kafka://b?sasl.password=hunter2", "sqs://eu"])
def test_a_broker_is_no_place_for_a_ledger(
    littleq: Littleq, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LITTLEQ_LEDGER_URL", url)
    answer = littleq("config", "check")
    assert answer.code == 2
    assert "a broker that cannot keep a ledger: it must be a Redis or Valkey server" in answer.err
    assert answer.err.count("\n") == 1
    assert "hunter2" not in answer.err


@pytest.mark.parametrize("url", ["amqp://***@rabbit", "kafka://b?sasl.password=***"])
def test_a_url_that_was_copied_from_a_message_is_refused(littleq: Littleq, url: str) -> None:
    answer = littleq("config", "check", "--url", url)
    assert answer.code == 2
    assert "as messages hide a password" in answer.err


@pytest.mark.parametrize(
    "command",
    [("dlq", "replay", "--all", "--within-sla"), ("simulate", "--record", "r.csv", "--queue", "mail")],
)
def test_what_reads_the_fleet_on_the_way_refuses_too(
    littleq: Littleq,
    backend: Any,
    make_letter: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    backend.bury(make_letter(1))
    opened = Session(Config(url=URLS[0]), None, backend, MemoryLedger())  # type: ignore[arg-type]
    monkeypatch.setattr("littleq.cli.selection.session", lambda *_: opened)
    monkeypatch.setattr("littleq.cli.options.session", lambda *_: opened)
    answer = littleq(*command)
    assert answer.code == 2
    assert "The ledger is in the memory of each process" in answer.err
    assert backend.dead_letters.replayed == []
