"""Which offsets of a partition may be committed, and what is said beside them.

Kafka keeps one number per partition and group: everything below it is done. Jobs end in any order, so the number is
the first offset that is not settled (`Prefix`). What is settled beyond it would come again after a crash; so a commit
carries a `Mark`, which the next owner of the partition and everybody who inspects it can read. A server that does not
keep it loses nothing but that.

Pure: values in, values out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple

#: Longest mark, in characters: servers keep 4096 bytes by default (`offset.metadata.max.bytes`).
MARK_CHARACTERS: Final = 3500
_VERSION: Final = "lq1"
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Prefix:
    """The settled offsets of one partition, in one assignment of it.

    Args:
        start: the first offset that will be read, or any before it.

    An offset that never comes (compacted, or a transaction's own) holds nothing up. Not thread-safe.
    """

    __slots__ = ("_next", "_open", "_order")

    def __init__(self, start: int) -> None:
        self._next = start
        self._order: deque[int] = deque()
        self._open: set[int] = set()

    @property
    def position(self) -> int:
        """The offset to commit: every record before it is settled."""
        return self._order[0] if self._order else self._next

    @property
    def end(self) -> int:
        """The offset after the last one that was read."""
        return self._next

    @property
    def window(self) -> int:
        """Records that were read and cannot be committed yet, settled or not."""
        return len(self._order)

    @property
    def beyond(self) -> int:
        """Records that are settled and cannot be committed yet."""
        return len(self._order) - len(self._open)

    def read(self, offset: int) -> bool:
        """A record came; False: it had come before."""
        if offset < self._next:
            return False
        self._next = offset + 1
        self._order.append(offset)
        self._open.add(offset)
        return True

    def settle(self, offset: int) -> bool:
        """A record is done with; False: it was not open."""
        if offset not in self._open:
            return False
        self._open.remove(offset)
        order, waiting = self._order, self._open
        while order and order[0] not in waiting:
            order.popleft()
        return True

    def runs(self) -> list[int]:
        """From `position` on: how many offsets are open, then settled, then open, and so on."""
        runs: list[int] = []
        at = self.position
        for offset in sorted(self._open):
            if offset == at and runs:
                runs[-1] += 1
            else:
                runs += [1] if not runs else [offset - at, 1]
            at = offset + 1
        if runs and at < self._next:
            runs.append(self._next - at)
        return runs


class Mark(NamedTuple):
    """What is said beside a committed offset.

    Attributes:
        stamp: timestamp of the record at the committed offset, in ms: the runs count only for this very record.
            0: there is none.
        held: records that a process holds, prefetched or running.
        next: offset of the oldest record that nobody holds, relative to the committed one.
        handed: relative to the committed offset: none from here on was ever handed out when this was written.
        runs: see `Prefix.runs`.
    """

    stamp: int = 0
    held: int = 0
    next: int = 0
    handed: int = 0
    runs: tuple[int, ...] = ()

    @property
    def settled(self) -> int:
        """Offsets that are settled beyond the committed one."""
        return sum(self.runs[1::2])

    def encoded(self) -> str:
        """At most `MARK_CHARACTERS`: settled runs that find no room are left unsaid, and their jobs may come again."""
        text = ":".join((_VERSION, *(_base36(each) for each in self[:4])))
        words: list[str] = []
        room = MARK_CHARACTERS - len(text)
        for opened, settled in zip(self.runs[::2], self.runs[1::2], strict=False):
            pair = f"{_base36(opened)}.{_base36(settled)}"
            room -= len(pair) + 1
            if room < 0:
                break
            words.append(pair)
        return f"{text}:{'.'.join(words)}"


def decoded(metadata: str | None) -> Mark | None:
    """The mark in the metadata of a commit; None: there is none, or somebody else wrote it.

    >>> decoded(Mark(1700000000000, 3, 5, 8, (1, 2, 2)).encoded())
    Mark(stamp=1700000000000, held=3, next=5, handed=8, runs=(1, 2))
    >>> decoded("consumer-1"), decoded(None)
    (None, None)
    """
    version, *numbers = (metadata or "").split(":")
    if version != _VERSION or len(numbers) != 5:
        return None
    try:
        stamp, held, following, handed = (int(each, 36) for each in numbers[:4])
        runs = tuple(int(each, 36) for each in numbers[4].split(".") if each)
    except ValueError:
        return None
    if min(stamp, held, following, handed, *runs, 0) < 0 or len(runs) % 2:
        return None
    return Mark(stamp, held, following, handed, runs)


class Settled:
    """The offsets that an earlier owner had settled beyond its commit.

    >>> before = Settled(100, (1, 2, 3, 4))
    >>> [offset for offset in range(98, 112) if offset in before]
    [101, 102, 106, 107, 108, 109]
    """

    __slots__ = ("_starts",)

    def __init__(self, committed: int, runs: tuple[int, ...] = ()) -> None:
        self._starts: list[int] = []  # where runs begin: open, settled, open …, and where the last one ends
        at = committed
        for length in runs:
            self._starts.append(at)
            at += length
        if runs:
            self._starts.append(at)

    def __contains__(self, offset: int) -> bool:
        run = bisect_right(self._starts, offset)
        return run % 2 == 0 and 0 < run < len(self._starts)


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(max(0, number), 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits
