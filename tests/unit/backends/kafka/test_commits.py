"""Only what is settled without a gap is committed, and what lies beyond is told to the next owner, no more."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.backends.kafka import commits
from littleq.backends.kafka.commits import MARK_CHARACTERS, Mark, Prefix, Settled, decoded


@st.composite
def partitions(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Offsets of a partition, gaps and all, and those of them that are settled, in any order."""
    offsets = sorted(draw(st.sets(st.integers(0, 60), min_size=1, max_size=30)))
    settled = draw(st.permutations(offsets))
    return offsets, settled[: draw(st.integers(0, len(offsets)))]


@given(partitions())
def test_a_commit_never_passes_an_open_offset(case: tuple[list[int], list[int]]) -> None:
    offsets, settled = case
    prefix = Prefix(offsets[0])
    for offset in offsets:
        assert prefix.read(offset)
    for number, offset in enumerate(settled, 1):
        assert prefix.settle(offset)
        left = set(offsets) - set(settled[:number])
        assert prefix.position == min(left, default=offsets[-1] + 1)
        assert prefix.window == sum(each >= prefix.position for each in offsets)
        assert prefix.beyond == sum(each > prefix.position for each in settled[:number])


@given(partitions())
def test_the_mark_says_what_is_settled_and_nothing_else(case: tuple[list[int], list[int]]) -> None:
    """Said of an open one, it would never run: the job were lost."""
    offsets, settled = case
    prefix = Prefix(offsets[0])
    for offset in offsets:
        prefix.read(offset)
    for offset in settled:
        prefix.settle(offset)
    runs = prefix.runs()
    mark = decoded(Mark(stamp=5, runs=tuple(runs[: len(runs) // 2 * 2])).encoded())
    assert mark is not None
    before = Settled(prefix.position, mark.runs)
    beyond = {offset for offset in offsets if offset in before}
    assert beyond == {offset for offset in settled if offset > prefix.position}
    assert not any(offset in before for offset in range(offsets[-1] + 1, offsets[-1] + 50))


def test_interleaved_reads_and_acks() -> None:
    prefix = Prefix(100)
    assert (prefix.position, prefix.end) == (100, 100)
    assert prefix.read(100) and prefix.read(101) and prefix.read(102)
    assert not prefix.read(101), "it came before"
    assert prefix.settle(102) and not prefix.settle(102), "once is enough"
    assert not prefix.settle(7), "never read"
    assert (prefix.position, prefix.beyond, prefix.window) == (100, 1, 3)
    prefix.settle(100)
    assert (prefix.position, prefix.end) == (101, 103)
    prefix.settle(101)
    assert (prefix.position, prefix.window) == (103, 0)


def test_a_mark_that_finds_no_room_says_less() -> None:
    runs = (1, 1) * 5000
    text = Mark(1_700_000_000_000, 9, 8, 7, runs).encoded()
    assert len(text) <= MARK_CHARACTERS
    found = decoded(text)
    assert found is not None and 0 < len(found.runs) < len(runs)
    assert found.runs == runs[: len(found.runs)]
    assert found[:4] == (1_700_000_000_000, 9, 8, 7)


@pytest.mark.parametrize(
    "text", [None, "", "lq1", "lq1:1:2:3", "lq2:1:1:1:1:", "lq1:1:1:1:1:1", "lq1:-1:1:1:1:", "lq1:!:::::"]
)
def test_what_others_write_beside_their_commits_is_no_mark(text: str | None) -> None:
    assert decoded(text) is None


def test_examples() -> None:
    assert doctest.testmod(commits).failed == 0
