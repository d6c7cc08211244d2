"""The loop of a command that keeps processes running, and the signals that end it."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from littleq.autoscale.pool.supervisor import Supervisor
from littleq.health import pulse
from littleq.health.pulse import Field, Kind, State

logger = logging.getLogger("littleq.pool")

#: Longest time between two steps, in seconds.
STEP_SECONDS = 0.25


class Signals:
    """Remembers SIGINT, SIGTERM and SIGHUP, and wakes whoever waits; also when a child ends."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(self.reader, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: self.asked.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler: else the signal wakes nobody


def run(supervisor: Supervisor, signals: Signals, show: Callable[[], object] = lambda: None) -> int:
    """Step until told to stop and all has ended; the number of the first signal.

    The first signal stops all gracefully, the second at once.

    Args:
        show: called after each step.
    """
    served = 0
    own = pulse.start(Kind.SUPERVISOR)
    while not supervisor.is_over:
        if len(signals.asked) > served:
            served += 1
            if served == 1:
                logger.info("Stopping; once more to stop at once")
                own.enter(State.STOPPING)
                supervisor.stop()
            else:
                supervisor.kill()
        supervisor.step()
        own.head[Field.BEAT], own.head[Field.WANTED] = time.monotonic(), supervisor.wanted
        if own.state is State.STARTING:
            own.enter(State.RUNNING)
        show()
        _wait(supervisor, signals)
    pulse.end()
    return signals.asked[0] if signals.asked else 0


def _wait(supervisor: Supervisor, signals: Signals) -> None:
    """Until a process speaks, a signal comes, or the next step is due."""
    if supervisor.is_over:
        return
    with selectors.DefaultSelector() as selector:
        selector.register(signals.reader, selectors.EVENT_READ)
        for _, process in supervisor.processes:
            if process.is_listening:
                selector.register(process.line, selectors.EVENT_READ)
        selector.select(STEP_SECONDS)
    with suppress(BlockingIOError):
        os.read(signals.reader, 4096)
