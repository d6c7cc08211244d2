"""Lets `littleq health` see whether a worker lives and takes jobs."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from dramatiq import Middleware
from dramatiq.middleware import TimeLimit

from littleq.background import Background
from littleq.health import pulse as pulses
from littleq.health.pulse import JOB_SLOTS, Field, State

if TYPE_CHECKING:
    from dramatiq import Broker, Worker
    from dramatiq.broker import MessageProxy

logger = logging.getLogger(__name__)

#: Between two beats, in seconds.
BEAT_SECONDS = 1.0
#: A broker whose last answer is older than this is asked for one, in seconds. Consumers get one a second, unless all
#: threads are busy.
ASK_SECONDS = 2.0
#: A job may take so much longer than its time limit, in seconds: the limit is looked at once a second, and the job may
#: clean up.
MARGIN_SECONDS = 60.0
_JOB = int(Field.JOB)  # an enum as an index costs more than the rest of a store


class Pulse(Middleware):
    """Writes the pulse of this worker process.

    Each job costs a few stores in shared memory: until when it may hold the process (its time limit; for ever where it
    has none), and that it has ended. The rest is told once a second by a thread: that the interpreter runs, that the
    consumers' loops turn, when the broker answered last.

    Its place in the stack does not matter. Fails open: without a pulse file the worker works, and says so once.

    Args:
        ask: asks the broker for a sign of life, and raises if it gives none; None: there is nothing to ask.
    """

    def __init__(self, *, ask: Callable[[], object] | None = None) -> None:
        self._ask = ask
        self._worker: Worker | None = None
        self._background = Background("littleq-pulse", BEAT_SECONDS, self._beat)
        self._turned: dict[str, bool] = {}
        self._missed: dict[str, float] = {}
        self._beat_at = self._answered_at = 0.0
        self._forget()

    def _forget(self) -> None:
        self._pulse = pulses.Pulse.unseen()
        self._head, self._jobs = self._pulse.head, self._pulse.jobs
        self._slots: dict[int, int] = {}  # by thread
        self._allowances: dict[str, float] = {}  # by actor

    @property
    def running(self) -> int:
        """Jobs that run in this process now."""
        return sum(1 for until in self._jobs[: len(self._slots)] if until > 0)

    def after_process_boot(self, broker: Broker) -> None:
        """Where `dramatiq` starts a process: modules are still to be imported."""
        self._begin()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._begin()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._worker, self._beat_at = worker, time.monotonic()
        self._beat()
        self._pulse.enter(State.RUNNING)
        self._background.start()

    def after_consumer_thread_boot(self, broker: Broker, thread: Any) -> None:
        """Dramatiq calls `handle_delayed_messages` at each turn of a consumer's loop, whatever the broker."""
        queue, turn, turned = thread.queue_name, thread.handle_delayed_messages, self._turned

        @wraps(turn)
        def turning() -> None:
            turned[queue] = True
            turn()

        turned[queue] = True
        thread.handle_delayed_messages = turning

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        thread = threading.get_ident()
        slot = self._slots.get(thread)
        if slot is None:
            slot = self._slots.setdefault(thread, min(len(self._slots), JOB_SLOTS - 1))
        plain = message._message  # a proxy looks each attribute up twice
        limit = plain.options.get("time_limit")
        name = plain.actor_name
        allowance = self._allowances.get(name) if limit is None else limit / 1000 + MARGIN_SECONDS
        if allowance is None:
            allowance = self._allowances[name] = _allowance(broker, name)
        now = time.monotonic()
        self._jobs[slot] = now + allowance
        self._head[_JOB] = now

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        slot = self._slots.get(threading.get_ident())
        if slot is not None:
            self._jobs[slot] = 0.0
            self._head[_JOB] = time.monotonic()

    after_skip_message = after_process_message

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self.stopping()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._background.stop()
        self._worker = None
        pulses.end()
        self._forget()

    def stopping(self) -> None:
        """The worker is to stop: it is not ready any more. Safe in a signal handler."""
        if self._pulse.state is not State.STOPPING:
            self._pulse.enter(State.STOPPING)

    def _begin(self) -> None:
        self._pulse = pulses.start()
        self._head, self._jobs = self._pulse.head, self._pulse.jobs

    def _beat(self) -> None:
        worker, head = self._worker, self._head
        if worker is None:
            return
        now = time.monotonic()
        # What was asleep, or waited for the interpreter, has not been stuck meanwhile.
        step, self._beat_at = min(now - self._beat_at, 2 * BEAT_SECONDS), now
        head[Field.BEAT] = now
        consumers = tuple(worker.consumers.items())
        longest, name = 0.0, ""
        for queue, _ in consumers:
            missed = 0.0 if self._turned.get(queue) else self._missed.get(queue, 0.0) + step
            self._turned[queue], self._missed[queue] = False, missed
            if missed > longest:
                longest, name = missed, queue
        away = [
            (since, queue)
            for queue, thread in consumers
            if (since := getattr(thread.consumer, "away_since", None))
        ]
        since, away_name = min(away, default=(0.0, ""))
        self._pulse.name_stuck(away_name or name)
        head[Field.STUCK], head[Field.AWAY] = longest, since
        head[Field.CONSUMERS] = len(consumers)
        head[Field.DEAD_CONSUMERS] = sum(not thread.is_alive() for _, thread in consumers)
        head[Field.THREADS] = len(worker.workers)
        head[Field.DEAD_THREADS] = sum(not thread.is_alive() for thread in worker.workers)
        self._listen(consumers, now)

    def _listen(self, consumers: Any, now: float) -> None:
        """When the broker answered last: a consumer, or us."""
        answers = [getattr(thread.consumer, "answered_at", 0.0) for _, thread in consumers]
        answered = max(answers, default=0.0)
        if self._ask is None:
            answered = now
        elif now - max(answered, self._answered_at) > ASK_SECONDS:
            try:
                self._ask()
            except Exception as error:  # whatever the client raises: the consumers log it
                logger.debug("The broker does not answer: %s", error)
            else:
                answered = self._answered_at = time.monotonic()
        self._head[Field.ANSWERED] = max(answered, self._answered_at)


def _allowance(broker: Broker, actor_name: str) -> float:
    """How long a job of this actor may keep the process by its time limit, in seconds."""
    limiter = next((m for m in broker.middleware if isinstance(m, TimeLimit)), None)
    if limiter is None:
        return math.inf
    actor = broker.actors.get(actor_name)
    limit = limiter.time_limit if actor is None else actor.options.get("time_limit", limiter.time_limit)
    return float(limit) / 1000 + MARGIN_SECONDS
