"""Work beside the jobs: one daemon thread that runs a task every so often, in whichever process uses it.

A thread does not survive a fork, and a lock that another thread held at that moment stays locked in the child
for ever. So nothing starts at import, the first use starts the thread, and `survive_forks` gives objects a
fresh start in each child.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from littleq.errors import LittleQError

if TYPE_CHECKING:
    from multiprocessing.util import Finalize

logger = logging.getLogger(__name__)

#: How long `stop` waits for a task that is running, in seconds: above what two attempts of a client with 2 s
#: timeouts take.
STOP_SECONDS = 5.0


class Forkable(Protocol):
    """An object with locks or threads of its own."""

    def after_fork_in_child(self) -> None:
        """Replace every lock and forget every thread: they belong to the parent."""
        ...


_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()
_hooked = False
_at_exit: dict[Callable[[], object], tuple[Callable[[], None], Finalize | None]] = {}


def survive_forks(thing: Forkable) -> None:
    """Call `thing.after_fork_in_child()` in every process that this one forks, as long as `thing` lives."""
    global _hooked
    _forkables.add(thing)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_start_afresh)


def _start_afresh() -> None:
    for thing in list(_forkables):
        thing.after_fork_in_child()


def at_process_exit(function: Callable[[], object]) -> None:
    """Call `function` once when this process ends, also where `multiprocessing` made it.

    Register in the process that means it: before Python 3.13 a child that `multiprocessing` forks skips
    `atexit`, and since then it forgets what its parent had registered. A process that is killed calls
    nothing.
    """

    def once() -> None:
        not_at_process_exit(function)
        function()

    not_at_process_exit(function)
    atexit.register(once)
    finalizer: Finalize | None = None
    if "multiprocessing.process" in sys.modules:
        from multiprocessing import parent_process, util  # noqa: PLC0415 - free where it is loaded already

        if parent_process() is not None:
            finalizer = util.Finalize(None, once, exitpriority=0)
    _at_exit[function] = once, finalizer


def not_at_process_exit(function: Callable[[], object]) -> None:
    """Undo `at_process_exit`."""
    once, finalizer = _at_exit.pop(function, (None, None))
    if once is not None:
        atexit.unregister(once)
    if finalizer is not None:
        finalizer.cancel()


class _Run:
    """One thread and the signals to it. Each start has its own, so no thread takes another's signals."""

    __slots__ = ("signal", "stopping", "thread")

    def __init__(self, name: str, loop: Callable[[_Run], None]) -> None:
        self.signal = threading.Event()
        self.stopping = False
        self.thread = threading.Thread(target=loop, args=(self,), name=name, daemon=True)


class Background:
    """Runs `task()` every `interval_seconds` in a daemon thread, from the first `start` or `wake` on.

    An exception from the task never ends the thread; it is logged once per outage. A forked child has no
    thread until it calls `start` or `wake` itself.

    Args:
        name: of the thread, and in the log.
        interval_seconds: pause between two runs, > 0. May be changed; the next pause obeys.
        task: what to run.

    Attributes:
        idle: whether no thread runs; cheap to read, for hot paths.
    """

    def __init__(self, name: str, interval_seconds: float, task: Callable[[], object]) -> None:
        self.interval_seconds = interval_seconds
        self.idle = True
        self._name = name
        self._task = task
        self._failing = False
        self._lock = threading.Lock()
        self._run: _Run | None = None
        survive_forks(self)

    def start(self) -> None:
        """Start the thread unless it runs already; its first task comes after one interval."""
        if self.idle:
            self._launch()

    def wake(self) -> None:
        """Run the task now, in the thread."""
        self.start()
        run = self._run
        if run is not None:
            run.signal.set()

    def stop(self, run_once_more: bool = False) -> None:
        """End the thread, waiting up to 5 s for a task that runs; `start` may follow.

        Args:
            run_once_more: run the task a last time, in the calling thread.
        """
        with self._lock:
            run, self._run, self.idle = self._run, None, True
        if run is not None:
            run.stopping = True
            run.signal.set()
            if run.thread is not threading.current_thread():
                run.thread.join(STOP_SECONDS)
        if run_once_more:
            self._attempt()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._run, self.idle, self._failing = None, True, False

    def _launch(self) -> None:
        with self._lock:
            if not self.idle:
                return
            run = _Run(self._name, self._loop)
            try:
                run.thread.start()
            except RuntimeError as error:
                # The interpreter is shutting down, or the system has no thread left: the caller's work is
                # worth more than ours, and the next call tries again.
                logger.debug("%s: no thread: %s", self._name, error)
                return
            self._run, self.idle = run, False

    def _loop(self, run: _Run) -> None:
        try:
            while True:
                run.signal.wait(self.interval_seconds)
                run.signal.clear()
                if run.stopping:
                    return
                self._attempt()
        finally:
            with self._lock:  # ended by more than an Exception: the next use starts a new thread
                if self._run is run:
                    self._run, self.idle = None, True

    def _attempt(self) -> None:
        try:
            self._task()
        except Exception as error:
            if not self._failing:
                self._failing = True
                # A sentence of ours says it all; anything else may be a bug.
                logger.log(
                    logging.WARNING if isinstance(error, LittleQError) else logging.ERROR,
                    "%s fails%s; it is tried again every %g s",
                    self._name,
                    f" ({error})" if isinstance(error, LittleQError) else "",
                    self.interval_seconds,
                    exc_info=not isinstance(error, LittleQError),
                )
        else:
            if self._failing:
                self._failing = False
                logger.info("%s works again", self._name)
