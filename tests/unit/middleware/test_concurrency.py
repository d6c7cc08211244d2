"""A process holds no more of a queue than its bound, and nobody waits for a permit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from littleq.config import SLAQueueConfig

Make = Callable[..., Any]


class Meter:
    """Counts how many jobs run at once, and holds them until told."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.go = threading.Event()
        self.full = threading.Event()

    def job(self, full_at: int) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == full_at:
                self.full.set()
        self.go.wait(10)
        with self.lock:
            self.running -= 1


def test_parallelism_is_bounded_and_no_attempt_is_spent(make_stack: Make) -> None:
    """Hazard 14: a rate limiter would raise and burn retries."""
    meter = Meter()
    stack = make_stack(SLAQueueConfig("q", admission="off", concurrency=2))
    actor = stack.actor(lambda: meter.job(full_at=2), actor_name="a", queue_name="q")
    for _ in range(8):
        actor.send()
    worker = stack.work(threads=6)
    assert meter.full.wait(10)
    truth = stack.truth("q")
    assert (truth.in_flight, truth.ready) == (2, 6)  # what the bound leaves, another process can take
    meter.go.set()
    stack.broker.join("q", timeout=10_000)
    worker.stop()
    assert meter.most == 2
    counts = stack.counts("q")
    assert (counts["started"], counts["done"]) == (8, 8)


def test_other_queues_have_the_free_threads(make_stack: Make) -> None:
    meter, ran = Meter(), threading.Event()
    stack = make_stack(SLAQueueConfig("slow", admission="off", concurrency=1))
    slow = stack.actor(lambda: meter.job(full_at=1), actor_name="slow", queue_name="slow")
    fast = stack.actor(ran.set, actor_name="fast", queue_name="fast")
    for _ in range(5):
        slow.send()
    worker = stack.work(threads=2)
    assert meter.full.wait(10)
    fast.send()
    assert ran.wait(10)  # one slow job runs, four wait; none of them sits on a thread
    assert meter.most == 1
    meter.go.set()
    stack.broker.join("slow", timeout=10_000)
    worker.stop()


def test_delay_queues_are_not_capped(make_stack: Make) -> None:
    stack = make_stack(SLAQueueConfig("q", admission="off", concurrency=1))
    stack.actor(lambda: None, actor_name="a", queue_name="q")
    assert stack.broker.consume("q", prefetch=16).prefetch == 1
    assert stack.broker.consume("q.DQ", prefetch=8000).prefetch == 8000
