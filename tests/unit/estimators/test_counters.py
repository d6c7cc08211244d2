"""How much a counter grew: resets and missing readings included."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.estimators import counters
from littleq.estimators.counters import increase


def test_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(counters)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(
    ("before", "now", "grew"),
    [
        (10.0, 25.0, 15.0),
        (10.0, 10.0, 0.0),
        (0.0, 0.0, 0.0),
        (10.0, 4.0, 4.0),  # reset, and 4 since
        (10.0, 0.0, 0.0),
        (None, 4.0, None),
        (4.0, None, None),
        (None, None, None),
    ],
)
def test_growth_by_hand(before: float | None, now: float | None, grew: float | None) -> None:
    assert increase(before, now) == grew


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_counter_never_shrinks_nor_grows_by_more_than_it_shows(before: int, now: int) -> None:
    grew = increase(before, now)
    assert grew is not None
    assert 0 <= grew <= now
