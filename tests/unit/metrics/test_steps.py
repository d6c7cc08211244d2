"""The ladder is made for the HPA's tolerance: whatever the number, it is enough, and no change is ignored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from littleq.metrics.steps import stepped

WORKERS = st.integers(min_value=0, max_value=100_000)


def is_ignored(value: int, replicas: int) -> bool:
    """As the HPA computes it, with the tolerance of a cluster that nobody has set up."""
    return abs(value / replicas - 1.0) <= 0.1


@given(WORKERS)
def test_it_is_enough_and_at_most_a_ninth_too_many(workers: int) -> None:
    assert workers <= stepped(workers) <= workers + workers / 9


@given(WORKERS, WORKERS)
def test_no_change_from_one_rung_to_another_is_ignored(before: int, after: int) -> None:
    first, second = stepped(before), stepped(after)
    assert first in (second, 0) or not is_ignored(second, first)


@given(WORKERS)
def test_a_rung_stays_and_more_workers_never_mean_a_lower_one(workers: int) -> None:
    assert stepped(stepped(workers)) == stepped(workers) <= stepped(workers + 1)


@given(st.integers(min_value=1, max_value=100_000))
def test_the_rungs_are_as_close_as_they_may_be(workers: int) -> None:
    """The one below would be ignored on the way down if it were one higher."""
    rung, above = stepped(workers), stepped(stepped(workers) + 1)
    assert is_ignored(rung, above - 1) or above == rung + 1
