"""Which pods are annotated with what, and which are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.autoscale.pods.costs import (
    MOST_PATCHES,
    MOST_WHEN_SHRINKING,
    Pod,
    changes,
    host_of,
    rung,
    running_by_host,
)


def pod(name: str, cost: int | None = 0, queue: str = "q") -> Pod:
    return Pod(name, name, queue, cost)


@pytest.mark.parametrize(
    ("cost", "running", "calm", "shrinking"),
    [
        (0, 0, None, None),
        (0, 1, 1, 1),
        (0, 7, 4, 7),
        (4, 7, None, 7),  # the same rung
        (8, 5, None, 5),  # one step down
        (8, 3, 2, 3),
        (2, 5, None, 5),  # one step up
        (2, 9, 8, 9),
        (1, 0, 0, 0),  # idle now: that is what counts
        (5, 5, None, None),
        (None, 0, 0, 0),  # somebody wrote what is no number
        (-3, 0, 0, 0),
    ],
)
def test_an_annotation_changes_when_it_misleads(
    cost: int | None, running: int, calm: int | None, shrinking: int | None
) -> None:
    one = pod("a", cost)
    for queues, wanted in (((), calm), (("q",), shrinking)):
        found = changes([one], {"a": running}, queues)
        assert found == ([] if wanted is None else [(one, wanted)])


def test_only_the_queue_that_shrinks_is_counted_exactly() -> None:
    pods = [pod("a", 4, "q"), pod("b", 4, "other")]
    assert changes(pods, {"a": 5, "b": 5}, ["q"]) == [(pods[0], 5)]


def test_a_round_is_bounded_and_begins_with_what_matters() -> None:
    steps = [pod(f"step-{n}", 8) for n in range(60)]
    idle, urgent = pod("idle", 4), pod("urgent", 1, "small")
    running = {**{one.host: 2 for one in steps}, "urgent": 2}
    found = changes([*steps, idle, urgent], running)
    assert len(found) == MOST_PATCHES
    assert found[0] == (idle, 0)
    found = changes([*steps, idle, urgent], running, ["small"])
    assert len(found) == MOST_WHEN_SHRINKING
    assert found[:2] == [(urgent, 2), (idle, 0)]


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 300), max_size=30),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 300), max_size=30),
)
def test_rounds_settle_and_then_idle_pods_are_the_cheapest(
    costs: dict[str, int], running: dict[str, int]
) -> None:
    """However wrong the annotations were, a few rounds mend them, and nobody idle outranks somebody busy."""
    pods = {name: pod(name, cost) for name, cost in costs.items()}
    for _ in range(3):
        for one, cost in changes(list(pods.values()), running):
            pods[one.name] = pod(one.name, cost)
    assert changes(list(pods.values()), running) == []
    for one in pods.values():
        assert (one.cost == 0) == (running.get(one.host, 0) == 0)
    for one, cost in changes(list(pods.values()), running, ["q"]):
        pods[one.name] = pod(one.name, cost)
    assert all(one.cost == running.get(one.host, 0) for one in pods.values())


@given(st.integers(1, 10**6))
def test_a_rung_is_the_power_of_two_below(running: int) -> None:
    assert rung(running) <= running < 2 * rung(running)
    assert rung(running).bit_count() == 1


def test_hosts_are_pods_and_processes_of_a_host_add_up() -> None:
    assert host_of("p" * 80) == "p" * 63
    assert running_by_host({"pod-1:1:aa": 2, "pod-1:9:bb": 3, "pod-2:1:cc": 1}) == {"pod-1": 5, "pod-2": 1}
