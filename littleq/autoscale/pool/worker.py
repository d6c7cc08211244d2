"""A Dramatiq worker that lets go at once of what it has not begun."""

from __future__ import annotations

import time
from collections import defaultdict
from queue import Empty
from typing import TYPE_CHECKING, Any

from dramatiq import Worker
from dramatiq.common import join_all
from dramatiq.errors import BrokerConnectionError

from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.consumer import RedisConsumer
from littleq.middleware import Presence

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

#: How long a consumer may take to notice that it is to stop, in milliseconds: above its longest wait on an idle queue.
CONSUMER_MS = 2500


class ElasticWorker(Worker):
    """Stops in another order than Dramatiq's.

    Dramatiq's keeps fetching while the running jobs finish, and gives back what it prefetched when the last of them
    has: as long as the grace period jobs wait that any other worker could run. This one stops fetching and gives back
    first, to the head of the queue, and then waits. Only on LittleQ's RedisBroker, whose consumers take acks after
    they have been closed and whose signs of life come from another process; elsewhere it stops as Dramatiq does.
    """

    @property
    def busyness(self) -> tuple[int, int]:
        """Jobs that run, and jobs that run or are prefetched."""
        held = self.work_queue.unfinished_tasks
        return max(0, held - self.work_queue.qsize()), held

    def stop(self, timeout: int = 600_000) -> None:
        """As Dramatiq's; `timeout` in milliseconds, for all of it."""
        began = time.monotonic()
        for middleware in self.broker.middleware:
            if isinstance(middleware, Presence):  # it serves nobody any more, however long its last job takes
                middleware.recorder.leave()
        if isinstance(self.broker, RedisBroker):
            self._let_go()
        super().stop(max(0, timeout - round((time.monotonic() - began) * 1000)))

    def _let_go(self) -> None:
        for worker in self.workers:
            worker.stop()
        for consumer in self.consumers.values():
            consumer.stop()
            if isinstance(consumer.consumer, RedisConsumer):
                consumer.consumer.prefetch = 0  # what is given back must not be fetched again on the way out
        self._give_back()
        join_all(self.consumers.values(), CONSUMER_MS)
        self._give_back()  # what a consumer handed over before it saw that it was to stop
        for consumer in self.consumers.values():
            if not consumer.is_alive():
                consumer.close()  # and from now on each ack is sent at once

    def _give_back(self) -> None:
        by_queue: dict[str, list[MessageProxy]] = defaultdict(list)
        while True:
            try:
                message: Any = self.work_queue.get_nowait().message
            except Empty:
                break
            by_queue[message.queue_name].append(message)
            self.work_queue.task_done()
        for queue, messages in by_queue.items():
            try:
                self.consumers[queue].requeue_messages(messages)
            except BrokerConnectionError as error:  # they come back when this process has ended
                self.logger.warning(
                    "Queue %r: %d jobs are not given back yet: %s", queue, len(messages), error
                )
