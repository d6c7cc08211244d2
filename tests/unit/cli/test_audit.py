"""`littleq audit`: the conservation law, and what breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from littleq.backends.base import Accounts, TruthTable

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
