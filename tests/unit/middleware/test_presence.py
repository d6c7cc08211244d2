"""The ledger knows which workers live."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from dramatiq import Worker

Make = Callable[..., Any]


def test_a_worker_is_present_from_boot_to_shutdown(make_stack: Make) -> None:
    stack = make_stack()
    stack.actor(lambda: None, actor_name="a", queue_name="q")
    stack.actor(lambda: None, actor_name="b", queue_name="other")
    worker = Worker(stack.broker, queues={"q"}, worker_threads=3, worker_timeout=20)
    worker.start()
    stack.counts("q")
    (presence,) = stack.ledger.snapshot().workers
    assert (presence.pid, presence.threads, presence.queues) == (os.getpid(), 3, ("q",))
    assert stack.ledger.snapshot().servers("q") == 3
    assert stack.ledger.snapshot().servers("other") == 0
    worker.stop()
    assert stack.ledger.snapshot().workers == ()


def test_a_queue_that_is_declared_later_is_served_too(make_stack: Make) -> None:
    stack = make_stack()
    worker = Worker(stack.broker, worker_threads=1, worker_timeout=20)
    worker.start()
    stack.actor(lambda: None, actor_name="late", queue_name="late")
    stack.counts("late")
    assert stack.ledger.snapshot().servers("late") == 1
    worker.stop()
