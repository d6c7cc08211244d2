"""Warns of jobs that may take longer than the server lets a worker hold one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dramatiq import Middleware
from dramatiq.logging import get_logger
from dramatiq.middleware import TimeLimit

from littleq.backends.rabbitmq.outages import ERRORS

if TYPE_CHECKING:
    from dramatiq import Broker, Worker

    from littleq.backends.rabbitmq.broker import RabbitmqBroker

#: The server's default: it closes the channel of a consumer that holds a job for longer, in milliseconds.
CONSUMER_TIMEOUT_MS: Final = 30 * 60_000
#: From this version on a queue may have a timeout of its own, and ours have.
QUEUES_MAY_SAY: Final = (3, 12)


class LongJobs(Middleware):
    """Looks at the time limits of actors when a worker starts. Its place in the stack does not matter."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker
        self._logger = get_logger(__name__, type(self))

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        limits = {name: self._limit(broker, name) for name in broker.actors}
        long = {name for name, limit in limits.items() if limit > CONSUMER_TIMEOUT_MS}
        if not long:
            return
        try:
            version = self._broker.server_version()
            queues = {broker.actors[name].queue_name for name in long}
            theirs = {queue for queue in queues if not self._broker.topology.is_ours(queue)}
        except ERRORS:  # the server is away: its consumers say so
            return
        if version >= QUEUES_MAY_SAY and not theirs:
            return
        self._logger.warning(
            "Jobs of %s may take longer than 30 minutes. By default RabbitMQ gives a job to another worker then: set "
            "consumer_timeout in rabbitmq.conf above their time limit. (RabbitMQ 3.12 and later need it only for "
            "queues that plain Dramatiq declared.)",
            ", ".join(sorted(long)),
        )

    @staticmethod
    def _limit(broker: Broker, actor_name: str) -> float:
        limiter = next((m for m in broker.middleware if isinstance(m, TimeLimit)), None)
        default = float("inf") if limiter is None else limiter.time_limit
        return float(broker.actors[actor_name].options.get("time_limit", default))


def version_of(said: object) -> tuple[int, ...]:
    """A version in numbers.

    >>> version_of("3.12.0-rc.1"), version_of("4.0.5")
    ((3, 12), (4, 0))
    """
    return tuple(int(number) for number in re.findall(r"\d+", str(said))[:2])
