"""The ledger in memory, to the second: what the conformance suite can only bracket on a running server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.ledger.base import RECENT_SLOTS, SLOT_SECONDS, Batch, Presence, recent_window, slot_shares
from littleq.ledger.memory import MemoryLedger
from littleq.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """Monotonic 1000 s: a slot begins."""
    clock = ManualClock()
    clock.advance(1000.0)
    return clock


@pytest.fixture
def ledger(clock: ManualClock) -> MemoryLedger:
    return MemoryLedger(clock)


def test_a_queue_first_seen_12_s_ago_has_a_window_of_10_s(ledger: MemoryLedger, clock: ManualClock) -> None:
    """Seen at 1000, read at 1012: the complete slots are those from 1000 to 1010."""
    for sequence in range(1, 13):  # 2 jobs a second
        ledger.apply(Batch("w", sequence, {"default": {"offered:default": 2}}))
        clock.advance(1.0)
    found = ledger.snapshot().queue("default")
    assert (found.recent, found.recent_seconds) == ({"offered:default": 20}, 10.0)


@pytest.mark.parametrize(
    ("age", "width"),
    [(0.0, 0.0), (4.9, 0.0), (5.0, 5.0), (9.9, 5.0), (10.0, 10.0), (59.0, 55.0), (60.0, 60.0), (900.0, 60.0)],
)
def test_the_window_grows_by_slots_up_to_a_minute(
    ledger: MemoryLedger, clock: ManualClock, age: float, width: float
) -> None:
    ledger.apply(Batch("w", 1, {"default": {"done": 1}}))
    clock.advance(age)
    assert ledger.snapshot().queue("default").recent_seconds == width


def test_the_first_slot_counts_from_when_the_queue_was_seen(ledger: MemoryLedger, clock: ManualClock) -> None:
    """Seen at 1003, read at 1015: the window is that of 1003 to 1015, 12 s."""
    clock.advance(3.0)
    ledger.apply(Batch("w", 1, {"default": {"done": 6}}))
    clock.advance(12.0)
    found = ledger.snapshot().queue("default")
    assert (found.recent, found.recent_seconds) == ({"done": 6}, 12.0)


def test_a_job_alone_at_the_end_of_a_slot_makes_no_window(ledger: MemoryLedger, clock: ManualClock) -> None:
    """Seen at 1004.999, read at 1005: 1 job in 1 ms is not 1000 jobs/s."""
    clock.advance(4.999)
    ledger.apply(Batch("w", 1, {"default": {"offered:default": 1}}))
    clock.advance(0.001)
    assert ledger.snapshot().queue("default").recent_seconds == 0.0


def test_a_batch_collected_across_a_boundary_is_shared_between_the_slots(
    ledger: MemoryLedger, clock: ManualClock
) -> None:
    clock.advance(60.25)
    ledger.apply(Batch("w", 1, {"default": {"done": 8}}, span_seconds=1.0))
    clock.advance(
        4.75
    )  # 1065: three quarters were done before 1060, and the slot of the rest is complete too
    assert ledger.snapshot().queue("default").recent == {"done": 8}
    clock.advance(55.0)  # 1120: the window begins at 1060
    assert ledger.snapshot().queue("default").recent == {"done": 2}
    clock.advance(5.0)
    assert ledger.snapshot().queue("default").recent == {}
    assert ledger.snapshot().queue("default").totals == {"done": 8}


def test_a_step_of_the_wall_clock_changes_neither_rates_nor_presence(
    ledger: MemoryLedger, clock: ManualClock
) -> None:
    presence = Presence("w", "host", 1, threads=8, queues=("default",), started_at=0.0)
    ledger.apply(Batch("w", 1, {"default": {"done": 5}}, presence=presence))
    clock.advance(5.0)
    clock.step_wall(-7200.0)
    snapshot = ledger.snapshot()
    assert snapshot.taken_at == clock.now()
    assert snapshot.servers("default") == 8
    assert (snapshot.queue("default").recent, snapshot.queue("default").recent_seconds) == ({"done": 5}, 5.0)


def test_old_slots_are_dropped(ledger: MemoryLedger, clock: ManualClock) -> None:
    for sequence in range(1, 1001):
        ledger.apply(Batch("w", sequence, {"default": {"done": 1}}))
        clock.advance(SLOT_SECONDS)
    assert len(ledger._queues["default"].slots) <= RECENT_SLOTS + 1
    assert ledger.snapshot().queue("default").totals == {"done": 1000}


def test_a_snapshot_does_not_change_when_the_ledger_does(ledger: MemoryLedger, clock: ManualClock) -> None:
    ledger.apply(Batch("w", 1, {"default": {"done": 1}}, settings={"default": {"sla_seconds": 1.0}}))
    clock.advance(5.0)
    before = ledger.snapshot()
    ledger.apply(Batch("w", 2, {"default": {"done": 1}}, settings={"default": {"sla_seconds": 2.0}}))
    assert before.queue("default").totals == {"done": 1}
    assert before.queue("default").settings == {"sla_seconds": 1.0}


def test_a_fork_while_another_thread_holds_the_lock_does_not_deadlock(
    ledger: MemoryLedger,
    in_fork: Callable[[Callable[[], Any]], Any],
    held_elsewhere: Callable[..., AbstractContextManager[None]],
) -> None:
    def child() -> float:
        ledger.apply(Batch("w", 1, {"default": {"done": 1}}))
        return ledger.snapshot().queue("default").totals["done"]

    with held_elsewhere(ledger._lock):
        assert in_fork(child) == 1
    assert ledger.snapshot().queue("default").totals == {}


moments = st.integers(min_value=-1_000_000_000, max_value=1_000_000_000_000).map(lambda ms: ms / 1000)
spans = st.floats(min_value=0.0, max_value=55.0)


@given(moments, spans, st.floats(min_value=0.0, max_value=4.0))
def test_shares_of_the_last_minute_sum_up_to_1(now: float, span: float, age: float) -> None:
    ended = now - age
    shares = list(slot_shares(ended - span, ended, now))
    assert sum(share for _, share in shares) == pytest.approx(1.0, rel=1e-3 if span < 1e-3 else 1e-6)
    assert all(0.0 < share <= 1.0 + 1e-6 for _, share in shares)
    assert len({slot for slot, _ in shares}) == len(shares)


@given(moments, st.floats(min_value=0.0, max_value=1e6))
def test_the_window_is_a_minute_at_most_and_ends_with_a_complete_slot(now: float, age: float) -> None:
    slots, width = recent_window(now - age, now)
    assert width == 0.0 or SLOT_SECONDS <= width <= RECENT_SLOTS * SLOT_SECONDS
    assert width <= age + 1e-3
    if width:
        assert now - SLOT_SECONDS < slots.stop * SLOT_SECONDS <= now
        assert len(slots) == RECENT_SLOTS
