"""What a process holds of a queue: order within a key, epochs, and who may be handed out twice."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from littleq.backends.kafka.commits import Mark
from littleq.backends.kafka.shelf import UNCOMMITTED, WINDOW, Part, Record, Shelf


def record(part: Part, offset: int, key: str = "", stamp: int = 0) -> Record:
    return Record(part, offset, b"", key.encode() or None, stamp or 1000 + offset)


def shelf_with(part: Part, *records: Record) -> Shelf:
    shelf = Shelf()
    shelf.parts[part.partition] = part
    for each in records:
        shelf.receive(each)
    return shelf


@given(
    st.lists(st.sampled_from(["", "a", "b"]), min_size=1, max_size=25),
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200),
)
def test_jobs_of_a_key_run_one_after_the_other(keys: list[str], steps: list[tuple[int, bool]]) -> None:
    """Whatever ends when, is given back or settled: in their order, no two at a time, none twice, none never."""
    part = Part(0, 0)
    shelf = shelf_with(part, *(record(part, offset, key) for offset, key in enumerate(keys)))
    held: list[Record] = []
    done: dict[str, list[int]] = defaultdict(list)

    def step(which: int, settled: bool) -> None:
        if which < len(held):
            ended = held.pop(which)
            shelf.ended(ended, settled=settled)
            if settled:
                done[keys[ended.offset]].append(ended.offset)
        elif (found := shelf.next()) is not None:
            held.append(found)
        busy = [each.key for each in held if each.key is not None]
        assert len(busy) == len(set(busy))
        assert set(held) == shelf.held
        assert part.prefix is not None
        finished = {offset for offsets in done.values() for offset in offsets}
        assert part.prefix.position == min(set(range(len(keys))) - finished, default=len(keys))

    for which, settled in steps:
        step(which, settled)
    while held or shelf.waiting:
        step(0 if held else 1, True)
    assert sorted(offset for offsets in done.values() for offset in offsets) == list(range(len(keys)))
    assert all(done[key] == sorted(done[key]) for key in "ab")


def test_acks_of_an_assignment_that_is_over_count_nowhere() -> None:
    old = Part(0, 0)
    shelf = shelf_with(old, *(record(old, offset) for offset in range(3)))
    late = shelf.next()
    assert late is not None
    shelf.drop(old)
    new = Part(0, 0)
    shelf.parts[0] = new
    shelf.receive(record(new, 0))
    shelf.ended(late, settled=True)
    again = shelf.next()
    assert again is not None and again.part is new and again.offset == 0
    assert new.prefix is not None and new.prefix.position == 0
    assert shelf.next() is None, "the others went with their assignment"


def test_a_key_stays_busy_while_an_old_job_of_it_runs() -> None:
    old = Part(0, 0)
    shelf = shelf_with(old, record(old, 0, "k"))
    late = shelf.next()
    shelf.drop(old)
    new = Part(0, 0)
    shelf.parts[0] = new
    shelf.receive(record(new, 0, "k"))
    assert late is not None and shelf.next() is None
    shelf.ended(late, settled=True)
    assert shelf.next() is not None


def test_what_the_owner_before_us_had_settled_does_not_run_again() -> None:
    part = Part(0, 10, Mark(stamp=1010, handed=5, runs=(1, 2, 1, 1)))
    shelf = shelf_with(part, *(record(part, offset) for offset in range(10, 17)))
    handed = []
    while (found := shelf.next()) is not None:
        handed.append(found.offset)
    assert handed == [10, 13, 15, 16]


def test_a_mark_beside_another_record_is_not_believed() -> None:
    """The topic was made anew, or somebody reset the group: what it calls settled is another job."""
    for first, stamp in ((10, 999), (11, 1011)):
        part = Part(0, 10, Mark(stamp=1010, runs=(1, 5)))
        shelf = shelf_with(
            part, record(part, first, stamp=stamp), *(record(part, each) for each in range(12, 15))
        )
        found = []
        while (each := shelf.next()) is not None:
            found.append(each.offset)
        assert found == [first, 12, 13, 14]


def test_only_what_may_have_been_handed_out_before_is_redelivered() -> None:
    def flags(part: Part, *offsets: int) -> list[bool]:
        records = [record(part, offset) for offset in offsets]
        shelf_with(part, *records)
        return [each.redelivered for each in records]

    marked = Part(0, 10, Mark(stamp=1010, handed=5))
    assert flags(marked, 10, 14 + UNCOMMITTED, 15 + UNCOMMITTED) == [True, True, False]
    assert flags(Part(0), 7, 6 + UNCOMMITTED, 7 + UNCOMMITTED) == [True, True, False], (
        "nothing was ever committed"
    )
    assert flags(Part(0, 10), 10, 9 + WINDOW, 10 + WINDOW) == [True, True, False], "the server keeps no marks"


def test_no_more_is_handed_out_than_a_crash_may_double() -> None:
    part = Part(0, 0)
    shelf = shelf_with(part, *(record(part, offset) for offset in range(UNCOMMITTED + 5)))
    handed = 0
    while (found := shelf.next()) is not None:
        shelf.ended(found, settled=True)
        handed += 1
    assert handed == UNCOMMITTED
    part.handed_since = 0  # the server has confirmed a commit
    assert shelf.next() is not None


def test_the_mark_tells_who_waits() -> None:
    part = Part(0, 5)
    shelf = shelf_with(part, *(record(part, offset) for offset in range(5, 12)))
    held = [shelf.next() for _ in range(4)]
    assert held[1] is not None and held[3] is not None
    shelf.ended(held[1], settled=True)
    assert part.mark(shelf.held) == (5, Mark(stamp=1005, held=3, next=4, handed=4, runs=(1, 1)))
