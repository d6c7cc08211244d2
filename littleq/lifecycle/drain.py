"""How a worker stops: first no job more, then back with what has not begun, then patience for what runs.

Dramatiq's own order is another: it keeps fetching while the running jobs finish, and gives back what it prefetched when
the last of them has. As long as the grace period jobs wait then that any other worker could run.

    begin      no further fetch from this instant; safe in a signal handler
    let_go     what is prefetched goes back to the head of its queue, consumers end
    (grace)    running jobs finish; each ack is sent at once
    hand_back  what still runs goes back to the head, uncharged: its end is nobody's fault

So it is where the broker's consumers can let go (`littleq.backends.base.LetsGo`). Those that take acks after they have
been closed are closed at once; others live on until the last job has ended, for acks, heartbeats and leases pass
through them. Where none can, as in tests in memory, a worker stops as Dramatiq does.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, runtime_checkable

from dramatiq.common import join_all
from dramatiq.errors import BrokerConnectionError

from littleq.backends.base import LetsGo
from littleq.health import pulse
from littleq.health.pulse import State
from littleq.lifecycle.endings import CUT_SHORT, say_why

if TYPE_CHECKING:
    from dramatiq import Worker
    from dramatiq.broker import MessageProxy
    from dramatiq.worker import ConsumerThread

logger = logging.getLogger(__name__)

#: How long a consumer may take to notice that it is to stop, in milliseconds: above its longest wait on an idle queue.
CONSUMER_MS = 2500
#: How long the broker may take to take back what is left, in seconds; after that the watcher does it.
HAND_BACK_SECONDS = 2.0
#: How long a consumer that lives on may take to hand over what it was about to, in seconds.
HAND_OVER_SECONDS = 0.05


@runtime_checkable
class Acquits(Protocol):
    """A middleware that charges running jobs with the death of their process."""

    def acquit(self) -> None:
        """This process is about to end by no fault of its jobs."""
        ...


def in_words(jobs: int) -> str:
    """A number of jobs.

    >>> in_words(1), in_words(3)
    ('1 job', '3 jobs')
    """
    return f"{jobs} job" if jobs == 1 else f"{jobs} jobs"


class Drain:
    """The stop of one worker. Every step may be repeated.

    Attributes:
        given_back: jobs that went back before they began.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker, self._broker = worker, worker.broker
        self._lock = threading.Lock()
        self._is_done = False
        self.given_back = 0

    @property
    def running(self) -> int:
        """Jobs that run."""
        queue = self._worker.work_queue
        return max(0, queue.unfinished_tasks - queue.qsize())

    @property
    def is_busy(self) -> bool:
        """Whether a worker thread has not ended."""
        return any(thread.is_alive() for thread in self._worker.workers)

    def begin(self) -> None:
        """Fetch nothing more. Takes no lock."""
        known = pulse.current()
        if known is not None and known.state is not State.STOPPING:
            known.enter(State.STOPPING)
        letting_go = self._letting_go()
        if not letting_go:
            return
        for worker_thread in tuple(self._worker.workers):
            worker_thread.stop()
        for thread, consumer in letting_go:
            if consumer.takes_acks_when_closed:
                thread.stop()
            consumer.fetch_no_more()  # what is given back must not be fetched again on the way out

    def let_go(self) -> None:
        """Give back what has not begun."""
        with self._lock:
            letting_go = self._letting_go()
            if self._is_done or not letting_go:
                return
            self.begin()
            self._give_back()
            closing = [thread for thread, consumer in letting_go if consumer.takes_acks_when_closed]
            if closing:
                join_all(closing, CONSUMER_MS)
            else:
                time.sleep(HAND_OVER_SECONDS)
            self._give_back()  # what a consumer handed over before it saw that it was to stop
            for thread in closing:
                if not thread.is_alive():
                    thread.close()  # and from now on each ack is sent at once
            self._is_done = True

    def hand_back(self) -> None:
        """Have the broker take back all that this process holds. What still runs here must not go on for long.

        Raises:
            Exception: it does not; what is held comes back when the process has ended.
        """
        for _, consumer in self._letting_go():
            consumer.hand_back()

    def cut_short(self, why: str) -> NoReturn:
        """End this process now. What it holds goes back, and no job is charged for it.

        Args:
            why: the end of a sentence that begins with "… jobs were handed back, for".
        """
        for middleware in self._broker.middleware:
            if isinstance(middleware, Acquits):
                middleware.acquit()  # first: from now on no end of ours charges anybody
        left = self.running
        # On a thread: the one that was interrupted for this may hold a lock of the client's.
        thread = threading.Thread(target=self._try_to_hand_back, name="littleq-hand-back", daemon=True)
        thread.start()
        thread.join(HAND_BACK_SECONDS)
        sentence = f"Cut short: {in_words(left)} went back to the queue, for {why}."
        logger.warning("%s", sentence)
        say_why(sentence)
        pulse.end()
        logging.shutdown()
        os._exit(CUT_SHORT)

    def _letting_go(self) -> list[tuple[ConsumerThread, LetsGo]]:
        found: list[tuple[ConsumerThread, LetsGo]] = []
        for thread in tuple(self._worker.consumers.values()):
            consumer: object = thread.consumer
            if isinstance(consumer, LetsGo):
                found.append((thread, consumer))
        return found

    def _try_to_hand_back(self) -> None:
        with suppress(Exception):  # the broker is away: whoever notices our end brings the jobs back
            self.hand_back()

    def _give_back(self) -> None:
        by_queue: dict[str, list[MessageProxy]] = defaultdict(list)
        while True:
            try:
                message: Any = self._worker.work_queue.get_nowait().message
            except Empty:
                break
            by_queue[message.queue_name].append(message)
            self._worker.work_queue.task_done()
        for queue, messages in by_queue.items():
            try:
                self._worker.consumers[queue].requeue_messages(messages)
                self.given_back += len(messages)
            except BrokerConnectionError as error:  # they come back when this process has ended
                logger.warning("Queue %r: %d jobs are not given back yet: %s", queue, len(messages), error)


def in_background(call: Callable[[], object]) -> None:
    """Do it beside the caller, who may be a signal handler."""
    threading.Thread(target=call, name="littleq-drain", daemon=True).start()
