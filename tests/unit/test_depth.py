"""The depth meters never count too few."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from littleq.depth import SampledDepth
from littleq.testing import ManualClock


class Queue:
    """A queue across a network; `depth` is what a sample would read."""

    def __init__(self) -> None:
        self.depth = 0

    def read(self, queues: Collection[str]) -> Mapping[str, int]:
        return dict.fromkeys(queues, self.depth)


def meter(queue: Queue, clock: ManualClock) -> SampledDepth:
    return SampledDepth(queue.read, clock=clock, interval_seconds=3600, max_age_seconds=1)


def seen(depth: SampledDepth, jobs: int = 1, *, admit: bool = False) -> int:
    return depth.take("q", jobs, lambda counted: (admit, counted))


def test_what_this_process_let_in_counts_until_it_is_sampled() -> None:
    queue, clock = Queue(), ManualClock()
    depth = meter(queue, clock)
    for number in range(3):
        assert seen(depth, admit=True) == number
        depth.settle("q", 1, entered=True)
    assert seen(depth) == 3
    queue.depth = 2  # one has been taken since
    clock.advance(2)
    assert seen(depth) == 2


def test_a_job_on_its_way_is_not_lost_between_two_samples() -> None:
    """Reserved, not yet enqueued, and missed by the sample: it counts beside it."""
    queue, clock = Queue(), ManualClock()
    depth = meter(queue, clock)
    assert seen(depth, 90, admit=True) == 0
    clock.advance(2)
    assert seen(depth) == 90
    queue.depth = 90
    depth.settle("q", 90, entered=True)
    assert seen(depth) >= 90
    clock.advance(2)
    assert seen(depth) == 90


def test_a_send_that_failed_leaves_no_trace() -> None:
    queue, clock = Queue(), ManualClock()
    depth = meter(queue, clock)
    seen(depth, admit=True)
    depth.settle("q", 1, entered=False)
    assert seen(depth) == 0
