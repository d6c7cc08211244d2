"""Counts where the jobs of a StubBroker went."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from functools import wraps
from typing import TYPE_CHECKING, Any

from dramatiq.common import q_name

from littleq import job, passage
from littleq.backends.base import Accounts

if TYPE_CHECKING:
    from dramatiq import Message
    from dramatiq.broker import Consumer, MessageProxy
    from dramatiq.brokers.stub import StubBroker


class StubAccounts:
    """The accounts of one broker: `keep` wraps the broker's own doors, the only ways in and out of its queues."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @classmethod
    def of(cls, broker: StubBroker) -> StubAccounts:
        found = broker.__dict__.get("littleq_accounts")
        if found is None:
            found = broker.littleq_accounts = cls()  # type: ignore[attr-defined]
        assert isinstance(found, cls)
        return found

    def count(self, queue: str, account: str, jobs: int = 1) -> None:
        with self._lock:
            self._counts[q_name(queue)][account] += jobs

    def read(self, queue: str) -> Accounts:
        with self._lock:
            return Accounts(**self._counts[queue])

    def keep(self, broker: StubBroker) -> None:
        """Count from now on."""
        enqueue, consume, flush, flush_all = broker.enqueue, broker.consume, broker.flush, broker.flush_all

        @wraps(enqueue)
        def counting_enqueue(message: Message[Any], *, delay: int | None = None) -> Message[Any]:
            message = enqueue(message, delay=delay)
            errand = passage.current.get()
            joins = (
                errand.errand == "retry" and errand.held is not None and not job.is_known(errand.held.options)
            )
            if errand.errand == "send" or joins:
                self.count(message.queue_name, "admitted")
            return message

        @wraps(consume)
        def counting_consume(queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
            return self._watch(queue_name, consume(queue_name, prefetch, timeout))

        @wraps(flush)
        def counting_flush(queue_name: str) -> None:
            self.count(queue_name, "purged", broker.queues[queue_name].qsize())
            flush(queue_name)

        @wraps(flush_all)
        def counting_flush_all() -> None:
            for queue_name, letters in broker.dead_letters_by_queue.items():
                self.count(queue_name, "purged", len(letters))
            flush_all()

        broker.enqueue = counting_enqueue  # type: ignore[method-assign]
        broker.consume = counting_consume  # type: ignore[method-assign]
        broker.flush = counting_flush  # type: ignore[method-assign]
        broker.flush_all = counting_flush_all  # type: ignore[method-assign]

    def _watch(self, queue_name: str, consumer: Consumer) -> Consumer:
        ack = consumer.ack

        def counting_ack(message: MessageProxy) -> None:
            # A delayed job that is due, and one that was scheduled again, go on living.
            goes_on = job.read(message.options).get("waiting_due") or job.noted(message, "rescheduled")
            if not goes_on and job.is_known(message.options):
                self.count(queue_name, "skipped" if job.noted(message, "skipped") else "done")
            ack(message)

        consumer.ack = counting_ack  # type: ignore[method-assign]
        return consumer
