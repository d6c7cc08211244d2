"""What holds no connection: delays, batches, the desk."""

from __future__ import annotations

import time

import pytest
from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from littleq.backends.sqs.delays import HOLD_SECONDS, Delays, due_in
from littleq.backends.sqs.desk import Desk, Held, Job
from littleq.backends.sqs.dispatch import labels
from littleq.backends.sqs.outages import SQSError
from littleq.backends.sqs.wire import LARGEST_BYTES, Parcel, batches, body_of, decoded, dedup_of


@given(delay=st.floats(0, 3_000_000), longest=st.integers(1, 900), late=st.floats(0, 0.9))
def test_a_chain_of_hops_ends_at_the_due_time(delay: float, longest: int, late: float) -> None:
    """Whatever the delay; each hop arrives up to a second late, never early."""
    delays, now, hops = Delays(longest), 0.0, 0
    delay = min(delay, 200.0 * longest)
    seconds = delays.seconds(delay)
    while True:
        now += seconds + (late if seconds else 0)
        step = delays.step(delay - now)
        if step != "hop":
            break
        seconds = delays.seconds(delay - now)
        assert 1 <= seconds <= longest
        hops += 1
    assert now <= delay + 1 or step == "run"
    started = max(now, delay)
    assert delay <= started <= delay + late + 1e-6
    if step == "hold":
        assert 0 < delay - now < HOLD_SECONDS
    assert hops <= delay / min(longest, 1.0) + 1


def test_what_is_no_due_time_is_due() -> None:
    assert due_in({"eta": 5000}, 3.0) == 2.0
    assert due_in({"eta": 5000}, 9.0) == 0.0
    for odd in ({}, {"eta": None}, {"eta": "soon"}, {"eta": True}):
        assert due_in(odd, 0.0) == 0.0


@given(st.lists(st.integers(1, LARGEST_BYTES), max_size=40))
def test_batches_keep_order_and_fit(sizes: list[int]) -> None:
    parcels = [Parcel("x" * size) for size in sizes]
    found = list(batches(parcels))
    assert [parcel for batch in found for parcel in batch] == parcels
    assert all(1 <= len(batch) <= 10 and sum(p.size for p in batch) <= LARGEST_BYTES for batch in found)


def test_a_body_is_what_dramatiq_sqs_reads() -> None:
    message = Message("q", "a", (1, "ü"), {}, {"x": 1})
    assert decoded(body_of(message)) == message
    with pytest.raises(Exception, match=r"."):
        decoded("no base64!")


def test_a_fifo_entry_has_a_group_and_an_id_and_no_delay() -> None:
    assert Parcel("b", delay=5).entry(fifo=True) == {
        "MessageBody": "b",
        "MessageGroupId": "dramatiq",
        "MessageDeduplicationId": dedup_of("b"),
    }
    assert Parcel("b", delay=5).entry(fifo=False) == {"MessageBody": "b", "DelaySeconds": 5}
    assert Parcel("b", group="tenant").entry(fifo=False)["MessageGroupId"] == "tenant"


def test_a_retry_carries_no_deduplication_id_of_the_apps() -> None:
    options = {"message_group_id": "g", "message_deduplication_id": "d"}
    assert labels(Message("q", "a", (), {}, options)) == ("g", "d")
    assert labels(Message("q", "a", (), {}, {**options, "retries": 1})) == ("g", None)
    with pytest.raises(SQSError, match="Option message_deduplication_id is 7"):
        labels(Message("q", "a", (), {}, {"message_deduplication_id": 7}))


def _job(name: str, group: str | None = None, visibility: float = 60.0) -> Job:
    attributes = {} if group is None else {"MessageGroupId": group}
    found = {"ReceiptHandle": name, "Body": "", "Attributes": attributes}
    held = Held(found, asked_at=time.monotonic(), visibility=visibility)
    return Job(Message("q", name, (), {}, {}), held)


def _names(jobs: list[Job]) -> list[str]:
    return [job.actor_name for job in jobs]


def test_a_desk_hands_out_in_order_up_to_its_room() -> None:
    desk = Desk(in_order=False)
    for name in "abc":
        desk.add(_job(name), 0)
    with desk.changed:
        first, second, none = (desk.take(2)[0] for _ in range(3))
    assert first is not None
    assert second is not None
    assert (_names([first, second]), none, desk.prefetched) == (["a", "b"], None, 1)
    desk.ended(first)
    with desk.changed:
        assert desk.take(2)[0] is not None


def test_what_is_not_held_any_more_is_not_handed_out() -> None:
    desk = Desk(in_order=False)
    old, gone, good = _job("old", visibility=-1), _job("gone"), _job("good")
    gone.held.is_gone = True
    for job in (old, gone, good):
        desk.keep([job.held])
        desk.add(job, 0)
    with desk.changed:
        assert desk.take(5)[0] is good
    assert set(desk.held) == {"good"}


def test_what_is_due_and_finds_no_room_goes_back() -> None:
    desk = Desk(in_order=False)
    desk.add(_job("runs"), 0)
    desk.add(_job("late"), 0.001)
    time.sleep(0.01)
    with desk.changed:
        runs, surplus, due_in_seconds = desk.take(1)
    assert runs is not None
    assert (_names([runs]), _names(surplus), due_in_seconds) == (["runs"], ["late"], None)


def test_of_a_group_one_runs_at_a_time() -> None:
    desk = Desk(in_order=True)
    for name, group in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")):
        desk.add(_job(name, group), 0)
    with desk.changed:
        a1, b1, none = (desk.take(5)[0] for _ in range(3))
    assert a1 is not None
    assert b1 is not None
    assert (_names([a1, b1]), none) == (["a1", "b1"], None)
    assert _names(desk.behind([a1])) == ["a2", "a3"]
    assert desk.prefetched == 0


def test_all_that_was_not_handed_out_is_found() -> None:
    desk = Desk(in_order=False)
    desk.add(_job("ready"), 0)
    desk.add(_job("waits"), 60)
    assert desk.waiting == 1
    assert _names(desk.unseen()) == ["ready", "waits"]
    assert (desk.prefetched, desk.waiting) == (0, 0)
