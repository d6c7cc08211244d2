"""How many workers a pool had, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Meter:
    """The processes of one queue over time: from the start of each to its end, whether it takes jobs or not.

    Attributes:
        times, counts: monotonic seconds, and the processes that there were from then on.
    """

    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def note(self, now: float, count: int) -> None:
        """There are so many now."""
        self.times.append(now)
        self.counts.append(count)

    def between(self, begins: float, ends: float) -> Meter:
        """The same for a part of the time."""
        part = Meter([begins], [self.at(begins)])
        for time, count in zip(self.times, self.counts, strict=True):
            if begins < time < ends:
                part.note(time, count)
        part.note(ends, part.counts[-1])
        return part

    @property
    def worker_seconds(self) -> float:
        """What it cost."""
        return sum(
            (after - before) * count
            for before, after, count in zip(self.times, self.times[1:], self.counts, strict=False)
        )

    @property
    def mean(self) -> float:
        """Workers, on average."""
        elapsed = self.times[-1] - self.times[0] if self.times else 0.0
        return self.worker_seconds / elapsed if elapsed > 0 else 0.0

    @property
    def span(self) -> tuple[int, int]:
        """The fewest and the most."""
        return (min(self.counts), max(self.counts)) if self.counts else (0, 0)

    def at(self, moment: float) -> int:
        """How many there were at a moment; 0 before the first note."""
        found = [count for time, count in zip(self.times, self.counts, strict=True) if time <= moment]
        return found[-1] if found else 0
