"""What the demo sends, and when: a real trace and a burst to `realtime`, a trickle to `batch`.

Open loop: a send happens when it is due, whatever became of the ones before it.
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import actors
from actors.flaky import LATENCY_SECONDS
from actors.pictures import photo
from examples.demo.fleet import PROCESSES, ROOT, THREADS
from examples.demo.stopping import Stopped, StopSwitch
from littleq.cli.arrivals import Trace, poisson, read_trace, steady
from littleq.cli.producer import Plan, run
from littleq.cli.tally import Tally

if TYPE_CHECKING:
    from littleq.cli.jobs import Job

TRACE = ROOT / "examples" / "traces" / "llm_conv.csv"

#: Different photos: each has to be rendered before the first thumbnail, a third of a second of CPU.
PHOTOS = 4
#: Thumbnails that are timed before anything is sent.
TIMED = 7
#: Share of what the workers can do that the trace asks for; the rest is for retries, `batch` and the burst.
TRACE_SHARE = 0.5
#: Bounds of that, as shares of the promised rate: what is promised is never passed by much, and on a machine
#: that is busy with other things the measurement may be far too low.
LEAST, MOST = 0.5, 0.9
#: The burst: this many times the promised rate, but at least so many times what the workers can do.
BURST_OVER_PROMISE, BURST_OVER_CAPACITY = 10.0, 2.0
BURST_SECONDS = 3.0
#: When the burst begins, as a share of the whole.
BURST_AT = 0.5
TRICKLE_RATE = 3.0


@dataclass(frozen=True)
class Machine:
    """What this machine can do.

    Attributes:
        thumbnail_seconds: wall time of one thumbnail, with nothing else running in the demo.
        capacity: jobs of `realtime` per second that the workers can do at most.
    """

    thumbnail_seconds: float
    capacity: float


def render_photos(switch: StopSwitch) -> None:
    """Make the photos that the thumbnails are made from, so that no job has to."""
    for number in range(PHOTOS):
        switch.check()
        photo(number)


def measure(switch: StopSwitch) -> Machine:
    """Time a few thumbnails. Half of the jobs are thumbnails, which need a CPU; the others only wait.

    The median, since on a machine that does other things as well one of them may take ten times as long.
    """
    times = []
    for number in range(TIMED):
        switch.check()
        began = time.perf_counter()
        actors.thumbnail.fn(number % PHOTOS)
        times.append(time.perf_counter() - began)
    seconds = statistics.median(times)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    by_cpu = cpus / (seconds / 2)
    by_threads = PROCESSES * THREADS / ((seconds + LATENCY_SECONDS) / 2)
    return Machine(seconds, min(by_cpu, by_threads))


def realtime_jobs() -> Iterator[Job]:
    """Thumbnails and calls of the partner who fails one in five, in turn."""
    for number in itertools.count():
        yield actors.thumbnail, (number % PHOTOS,), {}
        yield actors.call_partner, (number,), {}


def batch_jobs() -> Iterator[Job]:
    """Rows, of which one in twenty cannot be read, a checksum, and now and then a file to compress."""
    rows = itertools.count()
    for number in itertools.count():
        yield actors.import_row, (next(rows),), {}
        yield actors.checksum, (number,), {}
        yield actors.import_row, (next(rows),), {}
        yield actors.compress if number % 3 == 1 else actors.import_row, (next(rows),), {}


@dataclass
class Source:
    """A stream of sends to one queue, and what became of them."""

    name: str
    plan: Plan
    jobs: Iterator[Job]
    tally: Tally


@dataclass
class Load:
    """All that is sent during a demo of `seconds`.

    Attributes:
        speed_up: how many times faster than recorded the trace is played.
        burst_at: when the burst begins, in seconds from the start; it takes `BURST_SECONDS`.
    """

    seconds: float
    trace: Source
    burst: Source
    trickle: Source
    speed_up: float
    burst_at: float
    _threads: list[threading.Thread] = field(default_factory=list)
    _failure: BaseException | None = None
    _ended: bool = False

    @property
    def sources(self) -> tuple[Source, ...]:
        """Everyone who sends."""
        return self.trace, self.burst, self.trickle

    def outcomes(self) -> dict[str, Counter[str]]:
        """What became of all sends so far, by queue."""
        queues: dict[str, Counter[str]] = {}
        for source in self.sources:
            now = dict(source.tally.outcomes)  # a copy in one step: its thread adds to it meanwhile
            queues.setdefault(source.tally.queue, Counter()).update(now)
        return queues

    def start(self, switch: StopSwitch) -> None:
        """Begin to send, each source on a thread of its own."""
        for source in self.sources:
            # Daemons: nothing waits for them if we fail.
            thread = threading.Thread(target=self._send, args=(source, switch), name=source.name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def is_over(self) -> bool:
        """Whether all is sent. Raises what a thread failed with: a bug, since a failed send is none."""
        if self._failure is not None:
            raise self._failure
        return not any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Send nothing any more."""
        self._ended = True
        for thread in self._threads:
            thread.join(5)

    def _send(self, source: Source, switch: StopSwitch) -> None:
        def sleep(seconds: float) -> None:
            if self._ended:
                raise Stopped
            switch.sleep(seconds)

        try:
            run(source.plan, source.jobs, source.tally, sleep=sleep)
        except Stopped:
            pass
        except BaseException as failure:
            self._failure = failure


def make_load(seconds: float, promised_rate: float, machine: Machine) -> Load:
    """The traffic of a demo.

    Args:
        seconds: how long it lasts.
        promised_rate: λ that `realtime` is declared to take. The trace is played a little below that, or
            slower if this machine could not.
    """
    rng = random.Random(1961)  # Little's proof; the same demo every time
    wanted = min(MOST * promised_rate, max(LEAST * promised_rate, TRACE_SHARE * machine.capacity))
    trace = head(read_trace(TRACE), seconds * wanted)
    speed_up = trace.seconds(1.0) / seconds
    replay = Plan(trace.arrivals(rng, speed_up), trace.total, trace.total / seconds)
    rate = max(BURST_OVER_PROMISE * promised_rate, BURST_OVER_CAPACITY * machine.capacity)
    size = round(rate * BURST_SECONDS)
    burst_at = BURST_AT * seconds
    burst = Plan((burst_at + due for due in itertools.islice(steady(1 / rate), size)), size, rate)
    dues = list(itertools.takewhile(lambda due: due < seconds, poisson(TRICKLE_RATE, rng)))
    trickle = Plan(iter(dues), len(dues), TRICKLE_RATE)
    return Load(
        seconds=seconds,
        trace=Source("trace", replay, realtime_jobs(), Tally("realtime")),
        burst=Source("burst", burst, realtime_jobs(), Tally("realtime")),
        trickle=Source("trickle", trickle, batch_jobs(), Tally("batch")),
        speed_up=speed_up,
        burst_at=burst_at,
    )


def head(trace: Trace, arrivals: float) -> Trace:
    """The beginning of a trace, as many bins as it takes for so many arrivals."""
    sums = itertools.accumulate(count for _, count in trace.bins)
    bins = sum(1 for total in sums if total < arrivals) + 1
    return replace(trace, bins=trace.bins[:bins])
