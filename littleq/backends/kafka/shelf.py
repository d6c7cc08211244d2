"""What a process holds of a queue: records that it read, handed out, and must not hand out yet.

Pure: it knows neither a client of Kafka's nor Dramatiq. One thread owns it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Final

from littleq.backends.kafka.commits import Mark, Prefix, Settled

#: Most records of a partition that are handed out between two confirmed commits: what a crash can double at most, once
#: more what ran at that moment.
UNCOMMITTED: Final = 1000
#: Most records of a partition that are held in the books past one that is not settled. Where the server does not keep
#: marks, a crash doubles what of them was settled.
WINDOW: Final = 10_000
#: Records that wait in memory: up to the first number they are taken in batches, then one with each look at the server.
#: At the second reading pauses, and goes on at the first: a pause throws away what librdkafka has fetched.
FULL, BRIM = 250, 1000

Key = tuple[int, bytes]


class Part:
    """One partition in one assignment of it.

    Attributes:
        alive: whether it is still ours; what ends later counts nowhere.
        handed_since: records handed out since the last confirmed commit was sent.
    """

    __slots__ = (
        *(
            "_before",
            "_before_stamp",
            "_committed",
            "_flagged",
            "_handed_to",
            "alive",
            "handed_since",
            "held",
        ),
        *("open", "partition", "prefix", "said", "said_at"),
    )

    def __init__(self, partition: int, committed: int | None = None, mark: Mark | None = None) -> None:
        self.partition = partition
        self.alive = True
        self.prefix: Prefix | None = None if committed is None else Prefix(committed)
        self.open: dict[int, Record] = {}
        self.held = self.handed_since = self._handed_to = 0
        self.said: tuple[int, str] | None = None  # what the server confirmed last
        self.said_at = 0.0
        self._committed = committed
        self._before = Settled(committed or 0, () if mark is None else mark.runs)
        self._before_stamp = 0 if mark is None else mark.stamp
        # No commit was ever confirmed, or one without a mark: then all that a window holds may have been handed out.
        known = UNCOMMITTED if committed is None else WINDOW if mark is None else mark.handed + UNCOMMITTED
        self._flagged = known + (committed or 0)

    def receive(self, record: Record) -> bool:
        """A record came; False: it is settled, or came before."""
        offset = record.offset
        if self.prefix is None:
            self.prefix = Prefix(offset)
            self._flagged += offset
        if self._before_stamp and (offset, record.stamp) != (self._committed, self._before_stamp):
            self._before = Settled(0)  # of a topic that was made anew, or of somebody's own reset
        self._before_stamp = 0
        if not self.prefix.read(offset):
            return False
        if offset in self._before:
            self.prefix.settle(offset)
            return False
        record.redelivered = offset < self._flagged
        self.open[offset] = record
        return True

    def settle(self, record: Record) -> None:
        if self.alive and self.prefix is not None and self.open.get(record.offset) is record:
            del self.open[record.offset]
            self.prefix.settle(record.offset)

    def hand_out(self, record: Record) -> None:
        self.held += 1
        self.handed_since += 1
        self._handed_to = max(self._handed_to, record.offset + 1)

    def mark(self, held: Iterable[Record]) -> tuple[int, Mark] | None:
        """What to commit: the offset, and what is said beside it; None: nothing is known yet."""
        if self.prefix is None:
            return None
        at = self.prefix.position
        head = self.open.get(at)
        away = {record.offset for record in held if record.part is self}
        following = min((offset for offset in self.open if offset not in away), default=self.prefix.end)
        runs = tuple(self.prefix.runs())
        return at, Mark(
            stamp=0 if head is None else head.stamp,
            held=len(away),
            next=following - at,
            handed=max(0, self._handed_to - at),
            runs=runs if len(runs) % 2 == 0 else runs[:-1],
        )


class Record:
    """One record, from its arrival until it is settled."""

    __slots__ = ("key", "offset", "part", "raw", "redelivered", "stamp")

    def __init__(self, part: Part, offset: int, raw: bytes, key: bytes | None, stamp: int) -> None:
        self.part, self.offset, self.raw, self.stamp = part, offset, raw, stamp
        self.key: Key | None = None if key is None else (part.partition, key)
        self.redelivered = False

    @property
    def name(self) -> str:
        """Unique in its topic, and the same whoever reads it: a dead letter's id."""
        return f"{self.part.partition}-{self.offset}-{self.stamp:x}"


class Shelf:
    """The records of one queue.

    Two jobs of one key are never held at a time: a job with a key is handed out when the one before it has ended.

    Attributes:
        parts: partitions that are assigned to this process.
        held: what was handed out and has not ended, of partitions that are gone too: it takes threads.
    """

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        self.held: set[Record] = set()
        self._ready: deque[Record] = deque()
        self._active: set[Key] = set()
        self._behind: defaultdict[Key, deque[Record]] = defaultdict(deque)

    @property
    def waiting(self) -> int:
        """Records in memory that nobody holds."""
        return len(self._ready) + self.behind

    @property
    def behind(self) -> int:
        """Records that wait for another one of their key."""
        return sum(map(len, self._behind.values())) if self._behind else 0

    @property
    def is_full(self) -> bool:
        return self.waiting >= FULL

    @property
    def is_brimful(self) -> bool:
        return self.waiting >= BRIM

    def receive(self, record: Record) -> None:
        if record.part.receive(record):
            self._ready.append(record)

    def next(self) -> Record | None:
        """The next record that may be handed out: it is held from now on. None: there is none now."""
        while self._ready:
            if self._ready[0].part.handed_since >= UNCOMMITTED:
                return None  # until the server has confirmed a commit
            record = self._ready.popleft()
            if record.key is not None:
                if record.key in self._active:
                    self._behind[record.key].append(record)
                    continue
                self._active.add(record.key)
            record.part.hand_out(record)
            self.held.add(record)
            return record
        return None

    def ended(self, record: Record, *, settled: bool) -> None:
        """A held record is settled, or given back: it comes first then."""
        self.held.discard(record)
        record.part.held -= 1
        following: Record | None = None
        if record.key is not None:
            self._active.discard(record.key)
            if settled or not record.part.alive:
                following = self._after(record.key)
        if settled:
            record.part.settle(record)
        elif record.part.alive:
            following = record
        if following is not None:
            self._ready.appendleft(following)

    def drop(self, part: Part) -> None:
        """The partition is not ours any more."""
        part.alive = False
        if self.parts.get(part.partition) is part:
            del self.parts[part.partition]
        self._ready = deque(record for record in self._ready if record.part.alive)
        for key, records in list(self._behind.items()):
            left = deque(record for record in records if record.part.alive)
            if left:
                self._behind[key] = left
            else:
                del self._behind[key]
        part.open.clear()

    def give_back(self, records: Iterable[Record]) -> None:
        """Held records that nobody began: they are handed out again, in their order."""
        for record in sorted(records, key=lambda each: (each.part.partition, each.offset), reverse=True):
            self.ended(record, settled=False)

    def _after(self, key: Key) -> Record | None:
        records = self._behind.get(key)
        if not records:
            return None
        following = records.popleft()
        if not records:
            del self._behind[key]
        return following
