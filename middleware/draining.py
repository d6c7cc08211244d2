"""Stops a worker as `littleq.lifecycle.drain` says, whoever runs it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dramatiq import Middleware

from littleq.lifecycle.drain import Drain, in_background, in_words
from littleq.lifecycle.endings import say_why

if TYPE_CHECKING:
    from dramatiq import Broker, Worker

#: Until a second signal counts as one, in seconds: systemd tells each process of a unit, and Dramatiq's main process
#: tells its workers once more.
SECOND_SIGNAL_SECONDS = 2.0
#: What an end in order may take once nothing runs, in seconds: consumers, acks and counts each have their timeouts.
ORDERLY_SECONDS = 10.0
_DRAMATIQ = "dramatiq.cli"


class Draining(Middleware):
    """Lets go of what has not begun, before Dramatiq waits for what runs; in Dramatiq's process at the signal itself.

    Dramatiq looks every second whether it was told to stop, and goes on fetching until then and beyond. Where its own
    handler is in force, this one goes before it: nothing is fetched from that instant on. What outlasts
    `--worker-shutdown-timeout` is handed back, where Dramatiq would leave it to the heartbeat timeout; the exit code is
    1 then. A second signal within two seconds is the same one; later, it cuts the wait short, unless there is nothing
    to wait for: a worker that runs no job is about to end in order.

    Before `Presence` and `Pulse` in the stack: its `after_worker_shutdown` runs after theirs, and may end the process.
    """

    def __init__(self) -> None:
        self._drain: Drain | None = None
        self._is_dramatiqs = False
        self._told_at: float | None = None

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._drain, self._told_at, self._is_dramatiqs = Drain(worker), None, False
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            handler = None if number is None else signal.getsignal(number)
            if callable(handler) and getattr(handler, "__module__", "") == _DRAMATIQ:
                self._is_dramatiqs = True
                signal.signal(number, self._handler(handler))  # type: ignore[arg-type]

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        if self._drain is not None:
            self._drain.let_go()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        drain, self._drain = self._drain, None
        if drain is None or not self._is_dramatiqs:
            return  # whoever runs the worker decides what becomes of the process
        if drain.is_busy:
            drain.cut_short("the grace period was over")
        say_why(f"Drained: every job that ran is done, {in_words(drain.given_back)} went back to the queue.")

    def _handler(self, dramatiqs: Callable[..., Any]) -> Callable[..., Any]:
        def handle(number: int, frame: Any) -> None:
            now, drain = time.monotonic(), self._drain
            if self._told_at is None:
                self._told_at = now
                if drain is not None:
                    drain.begin()
                    in_background(drain.let_go)
                dramatiqs(number, frame)
            elif now - self._told_at < (
                ORDERLY_SECONDS if drain is not None and not drain.running else SECOND_SIGNAL_SECONDS
            ):
                return
            elif drain is not None:
                drain.cut_short("a second signal came")
            else:
                dramatiqs(number, frame)

        return handle
