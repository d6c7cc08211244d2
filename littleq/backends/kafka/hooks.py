"""What the broker must know of Dramatiq's worker: where handed out jobs wait for a thread."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import TYPE_CHECKING, Any

from dramatiq import Middleware

from littleq.backends.kafka.consumer import KafkaMessage
from littleq.backends.kafka.shelf import Record

if TYPE_CHECKING:
    from dramatiq import Broker


class WorkerHooks(Middleware):
    """Declares `partition_key`, an option of messages and actors, and can take back jobs that did not begin."""

    def __init__(self) -> None:
        self._work_queues: set[Any] = set()

    @property
    def actor_options(self) -> set[str]:
        return {"partition_key"}

    def after_consumer_thread_boot(self, broker: Broker, thread: Any) -> None:
        self._work_queues.add(thread.work_queue)

    def recall(self, is_wanted: Callable[[Record], bool]) -> list[Record]:
        """Take the jobs of these records back from the threads of this process. Their places in the queue stay."""
        found: list[Record] = []
        for work_queue in list(self._work_queues):
            kept = []
            while True:
                try:
                    item = work_queue.get_nowait()
                except Empty:
                    break
                message = item.message
                if isinstance(message, KafkaMessage) and is_wanted(message.record):
                    found.append(message.record)
                    work_queue.task_done()
                else:
                    kept.append(item)
            for item in kept:
                work_queue.put(item)
                work_queue.task_done()
        return found
