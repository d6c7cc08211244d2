"""`littleq audit`: the conservation law, and what breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from littleq.backends.base import Accounts, TruthTable
from littleq.cli import audit as command
from littleq.cli.options import Session
from littleq.config import Config
from littleq.ledger.base import Batch, Presence
from littleq.ledger.memory import MemoryLedger
from littleq.testing import ManualClock

Littleq = Callable[..., Any]

BALANCED = TruthTable(
    "mail",
    ready=3,
    in_flight=2,
    delayed=1,
    dead=4,
    orphaned=1,
    accounts=Accounts(1000, done=980, skipped=8, purged=1),
)
LOST = TruthTable("mail", ready=3, accounts=Accounts(admitted=10, done=5))
WITH_STRANGERS = TruthTable("mail", ready=5, accounts=Accounts(admitted=10, done=7))


def test_it_holds(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [BALANCED]
    answer = littleq("audit")
    assert answer.code == 0
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["1,000", "admitted"] in lines
    assert ["=", "3", "ready"] in lines
    assert ["+", "2", "in", "flight"] in lines
    assert ["+", "1", "purged"] in lines
    assert ["holds"] in lines
    assert answer.out.endswith("The conservation law holds in 1 queue.\n")
    assert backend.inspector.scans == 0


def test_every_term_is_shown_and_they_add_up(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [BALANCED]
    words = [line.split() for line in littleq("audit").out.splitlines()]
    terms = {" ".join(w[2:]): int(w[1].replace(",", "")) for w in words if w and w[0] in ("=", "+")}
    assert sum(terms.values()) == 1000
    assert set(terms) == {"ready", "in flight", "orphaned", "delayed", "dead", "done", "skipped", "purged"}


def test_lost_jobs_are_exit_code_1(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [LOST]
    answer = littleq("audit")
    assert answer.code == 1
    assert "DOES NOT HOLD: 8 accounted for, 2 missing" in answer.out
    assert "does not hold in mail" in answer.out


def test_strangers_are_left_out(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [WITH_STRANGERS]
    backend.inspector.stranger_counts["mail"] = 2
    answer = littleq("audit")
    assert answer.code == 0
    assert "-            2  strangers, which never passed LittleQ" in answer.out
    assert backend.inspector.scans == 1


def test_strangers_do_not_excuse_a_loss(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [WITH_STRANGERS]
    backend.inspector.stranger_counts["mail"] = 3
    answer = littleq("audit", "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["queues"]["mail"]["difference"] == 1


def test_too_many_jobs_are_as_wrong_as_too_few(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [WITH_STRANGERS]
    answer = littleq("audit")
    assert answer.code == 1
    assert "2 too many" in answer.out


def test_strangers_that_move_between_two_reads_are_read_again(littleq: Littleq, backend: Any) -> None:
    """The table has five jobs, two of them strangers; the scan comes when one has left. Then both agree."""
    backend.inspector.tables["mail"] = [
        WITH_STRANGERS,
        TruthTable("mail", ready=4, accounts=Accounts(admitted=10, done=7)),
    ]
    backend.inspector.stranger_counts["mail"] = 1
    assert littleq("audit").code == 0
    assert backend.inspector.scans == 2


def test_a_loss_is_not_looked_at_for_ever(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [LOST]
    littleq("audit")
    assert backend.inspector.scans == 3


def test_one_bad_queue_spoils_the_answer(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables |= {"mail": [BALANCED], "batch": [LOST]}
    assert littleq("audit").code == 1
    assert littleq("audit", "--queue", "mail").code == 0


def test_json_has_all_numbers(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [BALANCED]
    answer = json.loads(littleq("audit", "--json").out)
    assert answer["holds"] is True
    mail = answer["queues"]["mail"]
    assert mail["accounts"] == {"admitted": 1000, "done": 980, "skipped": 8, "purged": 1}
    assert (mail["ready"], mail["dead"], mail["difference"], mail["strangers"]) == (3, 4, 0, None)


def test_approximate_terms_are_marked(littleq: Littleq, backend: Any) -> None:
    table = TruthTable("mail", ready=3, accounts=Accounts(admitted=3), approximate=frozenset({"ready"}))
    backend.inspector.tables["mail"] = [table]
    assert "~3  ready" in littleq("audit").out


def test_a_broker_without_accounts_cannot_be_checked(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=3)]
    answer = littleq("audit")
    assert answer.code == 2
    assert "keeps no accounts" in answer.err
    assert json.loads(littleq("audit", "--json").out)["holds"] is None


def test_no_queue_is_no_fault(littleq: Littleq, backend: Any) -> None:
    answer = littleq("audit")
    assert (answer.code, answer.out) == (0, "No queue yet: nothing was admitted.\n")


@pytest.mark.parametrize("args", [("--queue", "mial"), ("--queue",), ("mail",)])
def test_bad_input_is_exit_code_2(littleq: Littleq, backend: Any, args: tuple[str, ...]) -> None:
    backend.inspector.tables["mail"] = [BALANCED]
    answer = littleq("audit", *args)
    assert answer.code == 2
    assert answer.err.count("\n") == 1


# --- where the ledger keeps the accounts ---


@pytest.fixture
def told(backend: Any, monkeypatch: pytest.MonkeyPatch) -> MemoryLedger:
    """The ledger of a broker without accounts: 1,000 jobs were sent to mail, 20 minutes ago; 990 done, 4 skipped."""
    backend.keep_no_accounts()
    clock = ManualClock()
    ledger = MemoryLedger(clock)
    worker = Presence("w1", host="h", pid=1, threads=4, queues=("mail",), started_at=1.0)
    service = {"service:count": 990, "service:sum": 99.0}
    counts = {"admitted:default": 900, "deferred:default": 60, "bypassed:critical": 40, "shed:default": 7}
    ledger.apply(Batch("w1", 1, {"mail": {**counts, "done": 990, "skipped": 4, **service}}, worker))
    clock.advance(1200.0)
    opened = Session(Config(url="stub://"), None, backend, ledger)  # type: ignore[arg-type]
    for module in ("audit", "selection", "queue"):
        monkeypatch.setattr(f"littleq.cli.{module}.session", lambda *_: opened)
    monkeypatch.setattr(command.examine_by_ledger, "__kwdefaults__", {"killed": 0, "pause": lambda _: None})
    return ledger


def test_the_ledgers_accounts_are_checked_and_said_to_be_its_own(
    littleq: Littleq, backend: Any, told: MemoryLedger
) -> None:
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=4, dead=2, approximate=frozenset({"ready"}))]
    answer = littleq("audit")
    assert answer.code == 0
    lines = [line.split() for line in answer.out.splitlines()]
    for line in (["~1,000", "admitted"], ["=", "~4", "ready"], ["+", "2", "dead"], ["+", "~990", "done"]):
        assert line in lines
    assert "holds within 0 jobs" in answer.out
    assert "are the ledger's, up to flush_seconds (1 s) old." in answer.out


def test_what_a_killed_worker_had_not_told_is_allowed_when_it_is_said(
    littleq: Littleq, backend: Any, told: MemoryLedger
) -> None:
    """Eight threads of 0.1 s each finish 80 jobs a second, and hold two each."""
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=1)]
    answer = littleq("audit")
    assert answer.code == 1
    assert "DOES NOT HOLD: 995 accounted for, 5 missing, of 0 that the ledger may be off" in answer.out
    assert "up to 96 jobs each, which --killed N allows for" in answer.out
    assert littleq("audit", "--killed", "1").code == 0
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=103)]
    assert littleq("audit", "--killed", "1").code == 1


def test_running_processes_are_allowed_a_flush(littleq: Littleq, backend: Any, told: MemoryLedger) -> None:
    told.apply(Batch("w2", 1, {"mail": {"admitted:default": 6000}}))
    told._clock.advance(10.0)  # type: ignore[attr-defined]
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=6026)]
    found = json.loads(littleq("audit", "--json").out)["queues"]["mail"]
    assert found["holds"] is True
    assert found["difference"] == -20
    assert found["tolerance"] >= 100
    assert found["per_death"] >= 16
    assert "accounts" in found["approximate"]


def test_strangers_are_left_out_here_too(littleq: Littleq, backend: Any, told: MemoryLedger) -> None:
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=9)]
    assert littleq("audit").code == 1
    backend.inspector.stranger_counts["mail"] = 3
    assert littleq("audit").code == 0


def test_a_queue_that_is_on_its_way_is_read_again(littleq: Littleq, backend: Any, told: MemoryLedger) -> None:
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=1), TruthTable("mail", ready=6)]
    assert littleq("audit").code == 0


def test_purged_letters_are_counted_where_the_broker_does_not(
    littleq: Littleq, backend: Any, told: MemoryLedger, make_letter: Callable[..., Any]
) -> None:
    backend.bury(*(make_letter(number) for number in range(6)))
    backend.inspector.tables["mail"] = [TruthTable("mail", dead=6)]
    assert littleq("audit").code == 0
    assert littleq("dlq", "purge", "--all", "--yes").code == 0
    backend.inspector.tables["mail"] = [TruthTable("mail")]
    assert told.snapshot().queue("mail").totals["purged"] == 6
    assert littleq("audit").code == 0


def test_purged_letters_are_not_counted_twice_where_it_does(
    littleq: Littleq, backend: Any, two_accidents: Any
) -> None:
    opened: list[Any] = []
    assert littleq("dlq", "purge", "--all", "--yes").code == 0
    from littleq.cli import selection

    opened.append(selection.session(None, None))
    assert dict(opened[0].ledger.snapshot().queues) == {}


def test_a_ledger_in_memory_is_no_witness(
    littleq: Littleq, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.keep_no_accounts()
    backend.inspector.tables["mail"] = [BALANCED]
    opened = Session(Config(url="amqp://me:hunter2@rabbit"), None, backend, MemoryLedger())  # type: ignore[arg-type]
    monkeypatch.setattr("littleq.cli.audit.session", lambda *_: opened)
    answer = littleq("audit")
    assert answer.code == 2
    assert "amqp:// keeps none and ledger_url is not set" in answer.err
    assert answer.err.count("\n") == 1
    assert "hunter2" not in answer.err
