"""Topics: made where they are missing, compared with what a queue needs where they exist."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]
from dramatiq.logging import get_logger

from littleq.backends.kafka.forks import leak
from littleq.backends.kafka.names import LONGEST_NAME, Names
from littleq.backends.kafka.outages import kafka_error
from littleq.backends.kafka.urls import Address
from littleq.background import survive_forks
from littleq.errors import ConfigurationError

#: How long the server may take for a question of an administrator's, in seconds.
ANSWER_SECONDS: Final = 5.0
#: A log is deleted in pieces of this age, in ms: what is done goes soon after its retention.
SEGMENT_MS: Final = 6 * 3_600_000
#: For how long the number of partitions is known, and how long at the least where a topic is missing, in seconds.
KNOWN_SECONDS, MISSING_SECONDS = 10.0, 0.5
#: Cleaning of a log that forgets by key: the last word on each letter stays for ever.
_COMPACTED: Final = {"cleanup.policy": "compact"}
#: What deletes jobs silently.
_CLEANS: Final = ("retention.ms", "retention.bytes", "cleanup.policy")


class Topics:
    """The topics of one namespace, as this process knows them."""

    def __init__(self, address: Address, names: Names) -> None:
        self.logger = get_logger(__name__, type(self))
        self.names = names
        self._address = address
        self._start_afresh()
        survive_forks(self)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._admin: AdminClient | None = None
        self._known: set[str] = set()
        self._counted: tuple[float, dict[str, int]] = float("-inf"), {}

    def after_fork_in_child(self) -> None:
        leak(self._admin)
        self._start_afresh()

    @property
    def admin(self) -> AdminClient:
        """The process's client for questions about topics and groups."""
        if self._admin is None:
            self._admin = AdminClient(self._address.admin())
        return self._admin

    def ensure(self, queue: str) -> None:
        """Make the topics of a queue that are missing, and say what is wrong with the others. Once per process.

        Raises:
            KafkaException: the server does not answer, or does not let us.
            ConfigurationError: the queue's name makes a topic's name too long.
        """
        if queue in self._known:
            return
        with self._lock:
            if queue in self._known:
                return
            wanted = self._wanted(queue)
            there = self.partitions_by_topic()
            missing = [topic for name, topic in wanted.items() if name not in there]
            self._make(missing)
            self._known.add(queue)
        if found := [name for name in wanted if name in there]:
            # Beside the caller, who may be a send: it is only said.
            threading.Thread(
                target=self._check, args=(queue, found), name="littleq-kafka-topics", daemon=True
            ).start()

    def forget(self) -> None:
        """Look again, at the next use, whether the topics are there."""
        with self._lock:
            self._known.clear()

    def partitions_by_topic(self) -> dict[str, int]:
        """Every topic of the server, with its number of partitions."""
        found = self.admin.list_topics(timeout=ANSWER_SECONDS).topics
        counted = {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}
        self._counted = time.monotonic(), counted
        return counted

    def counted(self, topics: Iterable[str]) -> dict[str, int]:
        """Partitions of these topics, as known for some seconds: all of a server's are a long answer."""
        at, known = self._counted
        age = time.monotonic() - at
        missing = any(topic not in known for topic in topics)
        return self.partitions_by_topic() if age > (MISSING_SECONDS if missing else KNOWN_SECONDS) else known

    def partitions(self, topic: str) -> int:
        """Partitions of one topic; 0: there is none."""
        return self.counted([topic]).get(topic, 0)

    def queues(self) -> set[str]:
        return set(self.names.queues(set(self.partitions_by_topic())))

    def _wanted(self, queue: str) -> dict[str, NewTopic]:
        settings = self._address.topics
        names = self.names
        common = {} if settings.min_insync is None else {"min.insync.replicas": str(settings.min_insync)}
        keep = -1 if settings.retention < 0 else settings.retention * 1000
        queue_config = {
            **common,
            "cleanup.policy": "delete",
            "retention.ms": str(keep),
            "retention.bytes": "-1",
            "segment.ms": str(SEGMENT_MS),
        }
        longest = max(names.delays(queue), key=len)
        if len(longest) > LONGEST_NAME:
            raise ConfigurationError(
                f"queue {queue!r} needs a topic {longest!r}, and a name has {LONGEST_NAME} characters at most: "
                "take a shorter one."
            )
        copies = settings.replication
        wanted = [NewTopic(names.topic(queue), settings.partitions, copies, config=queue_config)]
        wanted += [NewTopic(each, 1, copies, config=queue_config) for each in names.delays(queue)]
        wanted += [NewTopic(names.dead(queue), 1, copies, config={**common, **_COMPACTED})]
        return {each.topic: each for each in wanted}

    def _make(self, topics: list[NewTopic]) -> None:
        if not topics:
            return
        for name, made in self.admin.create_topics(topics, operation_timeout=ANSWER_SECONDS).items():
            try:
                made.result(2 * ANSWER_SECONDS)
            except TimeoutError:
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"topic {name} was not made")
                ) from None
            except KafkaException as error:
                found = kafka_error(error)
                if found is None or found.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            else:
                self.logger.info("Topic %r has been made.", name)

    def _check(self, queue: str, topics: list[str]) -> None:
        """Say what would lose jobs. A server that does not tell is believed."""
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        try:
            answers = self.admin.describe_configs(resources, request_timeout=ANSWER_SECONDS)
            found = {each.name: _values(answer.result(ANSWER_SECONDS)) for each, answer in answers.items()}
        except Exception as error:  # no right to ask, or a server that cannot tell
            self.logger.info("Queue %r: topics could not be checked: %s", queue, error)
            return
        dead = self.names.dead(queue)
        for topic, settings in found.items():
            for problem in problems(settings, is_dead=topic == dead):
                self.logger.warning("Topic %r: %s", topic, problem)


def problems(settings: dict[str, str], *, is_dead: bool) -> list[str]:
    """What a topic's settings would do to jobs. Settings that are not told are not judged.

    >>> problems({"cleanup.policy": "delete", "retention.ms": "604800000"}, is_dead=True)
    ['cleanup.policy is delete, so that dead letters vanish after retention.ms: set it to compact.']
    """
    policy = settings.get("cleanup.policy")
    found = []
    if is_dead:
        if policy is not None and policy != "compact":
            found.append(
                f"cleanup.policy is {policy}, so that dead letters vanish after retention.ms: set it to compact."
            )
        return found
    if policy is not None and "compact" in policy:
        found.append(
            f"cleanup.policy is {policy}, which drops all but the last job of each key: set it to delete."
        )
    size = settings.get("retention.bytes", "-1")
    if not size.startswith("-"):
        found.append(f"retention.bytes is {size}, which deletes jobs that wait: set it to -1.")
    return found


def _values(configs: Any) -> dict[str, str]:
    return {
        name: str(configs[name].value)
        for name in _CLEANS
        if name in configs and configs[name].value is not None
    }
