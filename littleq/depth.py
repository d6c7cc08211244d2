"""How many jobs a queue holds, as the admission gate sees it while it lets jobs in.

Two meters with one interface: `take` decides and reserves in one step, `settle` tells how the enqueue ended.

    ExactDepth    reads the broker's memory; what is on its way in is added, so the bound is exact
    SampledDepth  reads the broker now and then; what this process let in since the sample began is added, so one
                  process alone never passes the limit. Others are seen with the next sample: N processes at λ_i
                  jobs/s overshoot by at most Σλ_i × the sample's age, bounded by `max_age_seconds`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from littleq.background import Background, survive_forks
from littleq.clock import Clock

T = TypeVar("T")

#: A queue nobody has sent to for this long is not sampled any more, in seconds.
FORGET_SECONDS = 60.0

ReadDepths = Callable[[Collection[str]], Mapping[str, int]]


class DepthMeter(Protocol):
    def take(self, queue: str, jobs: int, decide: Callable[[int], tuple[bool, T]]) -> T:
        """Call `decide` with the number of jobs in the queue; where it says yes, reserve room for `jobs`."""
        ...

    def settle(self, queue: str, jobs: int, *, entered: bool) -> None:
        """The enqueue of reserved jobs is over; `entered` tells whether they are in the queue."""
        ...


class ExactDepth:
    """For brokers in this process's memory."""

    def __init__(self, read: ReadDepths) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._on_the_way: Counter[str] = Counter()
        survive_forks(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._on_the_way.clear()

    def take(self, queue: str, jobs: int, decide: Callable[[int], tuple[bool, T]]) -> T:
        with self._lock:
            # A job that has entered and is not settled yet counts twice: never too few.
            yes, verdict = decide(self._read([queue])[queue] + self._on_the_way[queue])
            if yes:
                self._on_the_way[queue] += jobs
            return verdict

    def settle(self, queue: str, jobs: int, *, entered: bool) -> None:
        with self._lock:
            self._on_the_way[queue] -= jobs


class _Sample:
    """Last sample of one queue. `entered` counts this process's jobs for ever, `mark` those of them that were
    in the queue when the sample began; `on_the_way` are those whose enqueue is not over."""

    __slots__ = ("asked_at", "depth", "entered", "mark", "on_the_way", "taken_at")

    def __init__(self) -> None:
        self.depth = 0
        self.mark = 0
        self.entered = 0
        self.on_the_way = 0
        self.taken_at = float("-inf")
        self.asked_at = float("-inf")


class SampledDepth:
    """For brokers across a network.

    A background thread takes the samples while a queue is sent to; only the first send after a quiet minute
    reads the depth itself, once.
    """

    def __init__(
        self, read: ReadDepths, *, clock: Clock, interval_seconds: float, max_age_seconds: float
    ) -> None:
        self._read = read
        self._clock = clock
        self._max_age = max_age_seconds
        self._lock = threading.Lock()
        self._samples: dict[str, _Sample] = {}
        self._background = Background("littleq-depth", interval_seconds, self.sample)
        survive_forks(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._samples.clear()

    def take(self, queue: str, jobs: int, decide: Callable[[int], tuple[bool, T]]) -> T:
        sample = self._samples.get(queue)
        if sample is None:
            sample = self._samples.setdefault(queue, _Sample())
        now = sample.asked_at = self._clock.monotonic()
        if now - sample.taken_at > self._max_age:
            self._take_sample([queue])
        if self._background.idle:
            self._background.start()
        with self._lock:
            yes, verdict = decide(sample.depth + sample.entered - sample.mark)
            if yes:
                sample.entered += jobs
                sample.on_the_way += jobs
            return verdict

    def settle(self, queue: str, jobs: int, *, entered: bool) -> None:
        with self._lock:
            sample = self._samples.get(queue)
            if sample is None:  # a fork in between
                return
            sample.on_the_way -= jobs
            if not entered:
                sample.entered -= jobs

    def sample(self) -> None:
        """Read the depth of every queue in use; called by the background thread."""
        since = self._clock.monotonic() - FORGET_SECONDS
        in_use = [queue for queue, sample in list(self._samples.items()) if sample.asked_at >= since]
        if in_use:
            self._take_sample(in_use)

    def _take_sample(self, queues: list[str]) -> None:
        with self._lock:
            # A job on its way may miss the sample: it counts beside it, at worst twice, never not at all.
            marks = {
                queue: self._samples[queue].entered - self._samples[queue].on_the_way for queue in queues
            }
        began = self._clock.monotonic()
        depths = self._read(queues)
        with self._lock:
            for queue in queues:
                sample = self._samples[queue]
                sample.depth, sample.mark, sample.taken_at = depths[queue], marks[queue], began
