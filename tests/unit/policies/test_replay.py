"""How many dead letters may go back: a table, and the bounds that hold for all numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.policies.replay import replay_room


@pytest.mark.parametrize(
    ("queue_limit", "servers", "number_in_system", "share", "jobs"),
    [
        (20, 2, 0, 0.5, 10),
        (20, 2, 10, 0.5, 0),
        (20, 2, 25, 0.5, 0),
        (20, 2, 15, 1.0, 5),
        (10, 0, 0, 0.3, 3),  # 10 × 0.3 is a little less than 3 in binary
        (4, 4, 2, 0.5, 2),  # free servers start a job at once, whatever the share
        (3, 8, 0, 0.5, 3),  # but never more than the limit
        (1, 0, 0, 0.5, 1),  # an empty queue takes one
        (0.4, 0, 0, 0.5, 1),
        (1, 0, 1, 0.5, 0),
    ],
)
def test_room_is_the_share_of_the_limit_that_is_free(
    queue_limit: float, servers: int, number_in_system: int, share: float, jobs: int
) -> None:
    found = replay_room(
        queue_limit=queue_limit, servers=servers, number_in_system=number_in_system, share=share
    )
    assert found == jobs


@given(st.floats(0, 1e6), st.integers(0, 1000), st.integers(0, 10**6), st.floats(0.001, 1))
def test_replays_never_fill_more_than_the_limit(limit: float, servers: int, depth: int, share: float) -> None:
    jobs = replay_room(queue_limit=limit, servers=servers, number_in_system=depth, share=share)
    assert jobs >= 0
    assert jobs == 0 or depth + jobs <= max(1, limit)
    assert depth > 0 or jobs > 0
