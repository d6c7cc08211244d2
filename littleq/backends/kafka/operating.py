"""What an operator, or a test, asks of a broker on Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException
from dramatiq import Broker
from dramatiq.errors import QueueJoinTimeout

from littleq.backends.kafka.lags import LATEST, Lags
from littleq.backends.kafka.topics import ANSWER_SECONDS, Topics
from littleq.errors import BackendError

if TYPE_CHECKING:
    from littleq.backends.kafka.dead_letters import KafkaDeadLetters
    from littleq.config import Config

#: How often `join` looks, in seconds.
LOOK_SECONDS = 0.1
#: How long a ping may take, in seconds.
PING_SECONDS = 2.0


class Operated(Broker):
    """The part of `KafkaBroker` that only looks at the server, or deletes.

    Attributes:
        topics: the topics of its namespace.
        lags: how far its groups are behind.
        dead_letters: the dead letters of its queues.
        dead_retention: seconds for which they are kept, where the configuration says so.
    """

    topics: Topics
    lags: Lags
    dead_letters: KafkaDeadLetters
    dead_retention: Mapping[str, float] = MappingProxyType({})
    _tell: Callable[[str, int], object] | None = None

    def configure(self, config: Config) -> None:
        """Take over what the configuration says about queues. Called by `littleq.install`."""
        self.dead_retention = {
            queue.name: queue.dead_retention_seconds
            for queue in config.queues.values()
            if queue.dead_retention_seconds is not None
        }

    def expire_dead_letters(self, queue_name: str) -> int:
        """Delete the letters of a queue that died longer ago than it keeps them; how many. They count as purged."""
        keep = self.dead_retention.get(queue_name)
        expired = 0 if keep is None else self.dead_letters.expire(queue_name, keep)
        if expired and self._tell is not None:
            self._tell(queue_name, expired)
        return expired

    def tell_purged(self, tell: Callable[[str, int], object]) -> None:
        """Whom to tell of letters that have expired."""
        self._tell = tell

    def partitions(self, queue_name: str) -> int | None:
        """How many processes can work on a queue at a time; None: its topic is not there yet, or the server is away."""
        try:
            return self.topics.partitions(self.topics.names.topic(queue_name)) or None
        except KafkaException:
            return None

    def flush(self, queue_name: str) -> None:
        """Drop the jobs of a queue that are ready, delayed or dead. What workers hold already they finish.

        Raises:
            BackendError: the server cannot delete records.
        """
        names = self.topics.names
        topics = [names.topic(queue_name), *names.delays(queue_name), names.dead(queue_name)]
        ends = self.lags.ends(topics, LATEST)
        for place, answer in self.topics.admin.delete_records(
            ends, request_timeout=ANSWER_SECONDS, operation_timeout=ANSWER_SECONDS
        ).items():
            try:
                answer.result(2 * ANSWER_SECONDS)
            except KafkaException as error:
                raise BackendError(
                    f"the Kafka server did not delete the records of topic {place.topic!r} ({error.args[0].str()}): "
                    "let jobs run, or delete the topic."
                ) from None

    def flush_all(self) -> None:
        for queue_name in self.queues:
            self.flush(queue_name)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until no job of a queue is ready, held or delayed. For tests: it asks the server ten times a second."""
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        while True:
            lag = self.lags.read([queue_name])[queue_name]
            if lag.jobs == 0 and lag.delayed == 0:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(LOOK_SECONDS)

    def ping(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            KafkaException: it gives none within two seconds.
        """
        admin = self.topics.admin
        try:
            admin.describe_cluster(request_timeout=PING_SECONDS / 2).result(PING_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError._UNSUPPORTED_FEATURE, KafkaError._TIMED_OUT):
                raise
            admin.list_topics(timeout=PING_SECONDS / 2)  # a server that has no word for the other
