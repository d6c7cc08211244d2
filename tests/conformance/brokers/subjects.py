"""The brokers under test: what the suite must know of each that is no capability."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from littleq.backends import build_broker
from littleq.backends.redis.urls import redis_client

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config


#: What moto takes for credentials: anything. What there is of this machine's is not looked at.
MOTO_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "very-secret-key-of-a-test",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Subject:
    """A kind of broker, and a server of it.

    Attributes:
        settings: of `Config`: every timeout of the broker is short.
        long_seconds: more than each of these timeouts.
        machine_recovery: seconds within which what a dead machine held is back, by these settings.
        max_deliveries: what `SLAQueueConfig.max_deliveries` says, or what the broker holds to where it does not ask.
        shared: whether another process sees the same queues.
        window: jobs that may run twice when a process with four threads is killed: what it holds, unless its pages say
            otherwise.
        chaos_jobs: what the short form of the chaos sends.
        environment: variables of all its processes.
    """

    settings: ClassVar[Mapping[str, Any]] = {}
    long_seconds: ClassVar[float] = 4.0
    machine_recovery: ClassVar[float] = 2.0
    max_deliveries: ClassVar[int] = 2
    shared: ClassVar[bool] = True
    window: ClassVar[int] = 16
    chaos_jobs: ClassVar[int] = 1500
    environment: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url

    @classmethod
    def at_hand(cls, name: str, request: pytest.FixtureRequest) -> Subject:
        """At the session's server."""
        raise NotImplementedError

    @classmethod
    def broker(cls, config: Config) -> Broker:
        return build_broker(config)

    def inject(self, broker: Any, queue: str, data: bytes) -> None:
        """Put something into a queue that is no message."""
        raise NotImplementedError

    @contextmanager
    def own(self, folder: Path) -> Iterator[tuple[Subject, Any]]:
        """A server that may be killed: `kill()` and `start()`."""
        raise NotImplementedError


class Stub(Subject):
    shared = False

    @classmethod
    def at_hand(cls, name: str, request: pytest.FixtureRequest) -> Subject:  # noqa: ARG003
        return cls(name, "stub://")


class Redis(Subject):
    settings: ClassVar[Mapping[str, Any]] = {"heartbeat_timeout_seconds": 2.0}
    window = 64 + 8  # acks go out with the next fetch

    @classmethod
    def at_hand(cls, name: str, request: pytest.FixtureRequest) -> Subject:
        return cls(name, request.getfixturevalue("valkey_url"))

    def inject(self, broker: Any, queue: str, data: bytes) -> None:
        broker.client.hset(f"{broker.namespace}:{queue}.msgs", "no-message", data)
        broker.client.rpush(f"{broker.namespace}:{queue}", "no-message")

    @contextmanager
    def own(self, folder: Path) -> Iterator[tuple[Subject, Any]]:
        from tests.servers import Server, need

        server = Server(need("valkey-9"), folder, tcp=True, appendonly="yes", appendfsync="always").start()
        try:
            yield type(self)(self.name, server.url), server
        finally:
            server.kill()


class DramatiqsRedis(Redis):
    """Dramatiq's RedisBroker with the stack; what it does by chance it does at each command."""

    settings: ClassVar[Mapping[str, Any]] = {"heartbeat_timeout_seconds": 1.0}
    max_deliveries = 5
    machine_recovery = 1.0

    @classmethod
    def broker(cls, config: Config) -> Broker:
        from dramatiq.brokers.redis import RedisBroker

        return RedisBroker(
            client=redis_client(config.url),
            heartbeat_timeout=round(config.heartbeat_timeout_seconds * 1000),
            maintenance_chance=1_000_000,
        )


class Rabbitmq(Subject):
    long_seconds = 6.0
    heartbeat: ClassVar[str] = "&heartbeat=2"

    @classmethod
    def at_hand(cls, name: str, request: pytest.FixtureRequest) -> Subject:
        return cls(name, request.getfixturevalue("rabbit").url + cls.heartbeat)

    def inject(self, broker: Any, queue: str, data: bytes) -> None:
        import pika

        connection = pika.BlockingConnection(pika.URLParameters(self.url.partition("?")[0]))
        connection.channel().basic_publish("", queue, data)
        connection.close()

    @contextmanager
    def own(self, folder: Path) -> Iterator[tuple[Subject, Any]]:
        from tests.brokers.rabbitmq import RabbitServer

        server = RabbitServer(folder / "rabbit")
        try:
            yield type(self)(self.name, server.start().url + self.heartbeat), server
        finally:
            server.kill()


class SQS(Subject):
    """On moto's server, which keeps all in its memory: it is frozen where others are killed."""

    settings: ClassVar[Mapping[str, Any]] = {"heartbeat_timeout_seconds": 4.0}
    window = 32  # deletes go out ten at a time
    chaos_jobs = 200  # moto takes some ten a second
    long_seconds = 8.0
    environment = MOTO_CREDENTIALS

    @classmethod
    def at_hand(cls, name: str, request: pytest.FixtureRequest) -> Subject:
        return cls(name, request.getfixturevalue("moto_server").url())

    def inject(self, broker: Any, queue: str, data: bytes) -> None:
        place = broker.addresses.place(queue)
        broker.clients.quick.send_message(QueueUrl=place.url, MessageBody=data.decode(errors="replace"))

    @contextmanager
    def own(self, folder: Path) -> Iterator[tuple[Subject, Any]]:
        from tests.brokers.sqs import MotoServer

        server = MotoServer(folder).start()
        try:
            yield type(self)(self.name, server.url()), Frozen(server.process)
        finally:
            server.stop()


class Kafka(Subject):
    """On tansu, with its topics in its memory: it is frozen where others are killed."""

    long_seconds = 8.0
    machine_recovery = 6.0
    window = (
        200  # what is done between two commits, a tenth of a second; tansu forgets what else a commit says
    )

    @classmethod
    def at_hand(cls, name: str, request: pytest.FixtureRequest) -> Subject:
        return cls(name, request.getfixturevalue("kafka_url") + "&max.poll.interval.ms=4000")

    def inject(self, broker: Any, queue: str, data: bytes) -> None:
        from confluent_kafka import Producer

        producer = Producer(broker.address.producer())
        producer.produce(broker.topics.names.topic(queue), data)
        assert producer.flush(10) == 0

    @contextmanager
    def own(self, folder: Path) -> Iterator[tuple[Subject, Any]]:
        from tests.brokers.kafka import Tansu

        server = Tansu(folder).start()
        try:
            yield type(self)(self.name, server.url), Frozen(server.process)
        finally:
            server.kill()


class Frozen:
    """Stands for a server that cannot be started again with its data: it answers nothing for a while."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def kill(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # the outage itself: nothing to wait for

    def start(self) -> None:
        self._process.send_signal(signal.SIGCONT)


SUBJECTS: dict[str, type[Subject]] = {
    "stub": Stub,
    "redis": Redis,
    "dramatiqs-redis": DramatiqsRedis,
    "rabbitmq": Rabbitmq,
    "sqs": SQS,
    "kafka": Kafka,
}
