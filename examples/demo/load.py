"""What the demo sends, and when: a recorded trace and a burst to `realtime`, a trickle to `batch`.

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
from actors.flaky import OUTAGE_SHARE
from actors.pictures import photo
from examples.demo.app import SLOW_PARTNER_SECONDS
from examples.demo.fleet import MOST_WORKERS, ROOT
from examples.demo.stopping import Stopped, StopSwitch
from littleq.cli.producer import Plan, run
from littleq.cli.tally import Tally
from littleq.simulation.arrivals import Trace, poisson, steady
from littleq.simulation.traces import read_trace

if TYPE_CHECKING:
    from littleq.cli.jobs import Job

TRACE = ROOT / "examples" / "traces" / "llm_conv.csv"

#: Different photos: each has to be rendered before the first thumbnail, a third of a second of CPU.
PHOTOS = 4
#: Thumbnails that are timed before anything is sent.
TIMED = 7
#: What the trace, and the burst on top of it, keep busy: so many workers. The burst needs most of the pool, for long
#: enough to be met by one that grows, and too long to be sat out by one that does not.
TRACE_WORKERS, BURST_WORKERS = 1.0, 5.0
#: When the burst begins and ends, as shares of the whole.
BURST_BEGINS, BURST_ENDS = 0.4, 0.6
#: In the middle of it, a flood of so many times what all workers can do: nothing but a refusal helps against that.
FLOOD_OVER_CAPACITY, FLOOD_SECONDS, FLOOD_AT = 5.0, 1.0, 0.52
TRICKLE_RATE = 3.0


@dataclass(frozen=True)
class Machine:
    """What this machine can do.

    Attributes:
        thumbnail_seconds: wall time of one thumbnail, with nothing else running in the demo.
        rate: jobs of `realtime` per second that one worker can do.
    """

    thumbnail_seconds: float
    rate: float

    @property
    def capacity(self) -> float:
        """The same of all workers that there may be."""
        return self.rate * MOST_WORKERS


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
    # Half of the jobs are calls, and one call in five is repeated.
    call = SLOW_PARTNER_SECONDS / (1 - OUTAGE_SHARE)
    by_thread = 1 / ((seconds + call) / 2)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    by_cpu = cpus / (seconds / 2) / MOST_WORKERS
    return Machine(seconds, min(by_thread, by_cpu))


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
        burst_at, burst_ends: when the burst begins and ends, in seconds from the start.
    """

    seconds: float
    trace: Source
    burst: Source
    flood: Source
    trickle: Source
    speed_up: float
    burst_at: float
    burst_ends: float
    _threads: list[threading.Thread] = field(default_factory=list)
    _failure: BaseException | None = None
    _ended: bool = False

    @property
    def sources(self) -> tuple[Source, ...]:
        """Everyone who sends."""
        return self.trace, self.burst, self.flood, self.trickle

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


def make_load(seconds: float, machine: Machine) -> Load:
    """The traffic of one turn, the same each time.

    Args:
        seconds: how long it lasts.
        machine: its rates are what keeps so many of its workers busy.
    """
    rng = random.Random(1961)  # Little's proof
    trace = head(read_trace(TRACE), seconds * TRACE_WORKERS * machine.rate)
    speed_up = trace.seconds(1.0) / seconds
    replay = Plan(trace.arrivals(rng, speed_up), trace.total, trace.total / seconds)
    begins, ends = BURST_BEGINS * seconds, BURST_ENDS * seconds
    dues = list(itertools.takewhile(lambda due: due < seconds, poisson(TRICKLE_RATE, rng)))
    return Load(
        seconds=seconds,
        trace=Source("trace", replay, realtime_jobs(), Tally("realtime")),
        burst=_evenly("burst", begins, ends, BURST_WORKERS * machine.rate),
        flood=_evenly(
            *("flood", FLOOD_AT * seconds, FLOOD_AT * seconds + FLOOD_SECONDS),
            FLOOD_OVER_CAPACITY * machine.capacity,
        ),
        trickle=Source("trickle", Plan(iter(dues), len(dues), TRICKLE_RATE), batch_jobs(), Tally("batch")),
        speed_up=speed_up,
        burst_at=begins,
        burst_ends=ends,
    )


def _evenly(name: str, begins: float, ends: float, rate: float) -> Source:
    size = round((ends - begins) * rate)
    dues = (begins + due for due in itertools.islice(steady(1 / rate), size))
    return Source(name, Plan(dues, size, rate), realtime_jobs(), Tally("realtime"))


def head(trace: Trace, arrivals: float) -> Trace:
    """The beginning of a trace, as many bins as it takes for so many arrivals."""
    sums = itertools.accumulate(count for _, count in trace.bins)
    bins = sum(1 for total in sums if total < arrivals) + 1
    return replace(trace, bins=trace.bins[:bins])
