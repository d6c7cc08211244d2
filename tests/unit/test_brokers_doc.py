"""docs/brokers.md: its table is made from the brokers' own capabilities."""

from __future__ import annotations

from typing import get_args

import pytest

from littleq.backends import capabilities as kinds
from littleq.backends.table import ROWS, filled, known, table
from tests.support import ROOT


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "brokers.md").read_text()
    assert page == filled(page), "run make rendered"


def test_every_fact_is_a_row_and_every_broker_a_column() -> None:
    columns = list(known())
    assert all(each.facts().keys() == ROWS.keys() for each in columns)
    lines = table(columns).splitlines()
    assert len(lines) == 2 + len(ROWS) + 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(columns) + 2}
    assert len({each.broker for each in columns}) == 6


def test_what_a_program_asks_for_is_one_of_what_there_is() -> None:
    legal = {
        "bound": get_args(kinds.Bound),
        "order": get_args(kinds.Order),
        "move": get_args(kinds.Move),
        "poison": get_args(kinds.Poison),
        "accounts": get_args(kinds.Accounts),
        **dict.fromkeys(
            ("restart", "pause", "cancel", "due_times", "fleet_concurrency", "batch"), (True, False)
        ),
    }
    for each in known():
        for name, fact in each.facts().items():
            assert fact.says.endswith(".") and not fact.says[0].islower(), (each.broker, name)
            assert name not in legal or fact.value in legal[name], (each.broker, name, fact.value)
        assert each.delay.value > 0
        assert each.recovery.value is None or each.recovery.value > 0


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        filled("# Brokers\n")
