"""RabbitMQ servers of a test's own, each a node with its own files and ports, and apps on them."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pika
import pytest

from littleq.backends.rabbitmq import RabbitmqBroker
from littleq.config import Config, SLAQueueConfig
from tests.brokers.leash import Leashed
from tests.conftest import free_port, unavailable
from tests.support import App

#: Not the wrapper in sbin, which changes the user.
BIN = Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 90.0

_numbers = itertools.count()


class RabbitServer:
    """One node in `folder`. It may be killed, and started again with what is on its disk."""

    def __init__(self, folder: Path, **settings: str) -> None:
        if not (BIN / "rabbitmq-server").exists():
            unavailable("rabbitmq-server is not here: apt-get install rabbitmq-server")
        self.folder = folder
        self.port, self.web_port = free_port(), free_port()
        for name in ("mnesia", "log"):
            (folder / name).mkdir(parents=True)
        (folder / "plugins").write_text("[rabbitmq_management].\n")
        lines = {
            "listeners.tcp.default": f"127.0.0.1:{self.port}",
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": str(self.web_port),
            "disk_free_limit.absolute": "1MB",
            "log.console": "false",
            **settings,
        }
        (folder / "rabbit.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        # What the server counts it tells at once, not every five seconds; what takes too long it notices at once too.
        quick = (
            "{quorum_tick_interval, 300}, {collect_statistics_interval, 300}, {channel_tick_interval, 300}"
        )
        (folder / "advanced.config").write_text(f"[{{rabbit, [{quick}]}}].\n")
        self.environment = {
            **os.environ,
            "RABBITMQ_NODENAME": f"lq{os.getpid()}x{next(_numbers)}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbit.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            # Two cores are shared with everything else: schedulers that wait do not spin.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/?management=http://127.0.0.1:{self.web_port}"

    def start(self, *, wait: bool = True) -> RabbitServer:
        with (self.folder / "out").open("ab") as log:
            self.process = Leashed(
                [BIN / "rabbitmq-server"], env=self.environment, stdout=log, stderr=log, cwd=self.folder
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                pika.BlockingConnection(pika.URLParameters(f"amqp://127.0.0.1:{self.port}")).close()
                return
            except pika.exceptions.AMQPError as error:
                if time.monotonic() > deadline or self.process is None or self.process.poll() is not None:
                    pytest.fail(f"RabbitMQ did not start ({error}): {(self.folder / 'out').read_text()}")
                time.sleep(0.1)

    def kill(self) -> None:
        """As the machine's power does."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def run(self, *command: str) -> str:
        """`rabbitmqctl`."""
        done = subprocess.run(
            [BIN / "rabbitmqctl", "-q", *command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    @contextmanager
    def channel(self, vhost: str = "%2F") -> Iterator[Any]:
        """A channel of an operator's, with confirms."""
        connection = pika.BlockingConnection(pika.URLParameters(f"amqp://127.0.0.1:{self.port}/{vhost}"))
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
        if connection.is_open:
            connection.close()

    def clear(self) -> None:
        """Delete all queues and exchanges."""
        with self.channel() as channel:
            names = self.run("list_queues", "name", "--no-table-headers").split()
            for name in names:
                channel.queue_delete(name)


class RabbitApp(App):
    """One process of a fleet."""

    def make_broker(self, url: str, **broker_options: Any) -> Any:
        return RabbitmqBroker(url=url, **broker_options)

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
        self.broker.close()


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A server of the session's. Never stop it in a test: start another one."""
    server = RabbitServer(tmp_path_factory.mktemp("rabbit"))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def queue() -> str:
    """A queue of the test's own: the server is everybody's."""
    return f"q{next(_numbers)}"


@pytest.fixture
def rabbit_app(rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RabbitApp]]:
    made: list[RabbitApp] = []

    def make(*queues: SLAQueueConfig, url: str = rabbit.url, **options: Any) -> RabbitApp:
        if url == rabbit.url:  # which nobody kills
            monkeypatch.setattr("littleq.backends.rabbitmq.topology.NEWBORN_SECONDS", 0)
        config = Config(url=url, queues={each.name: each for each in queues}, flush_seconds=0.2)
        made.append(RabbitApp(url, config, **options))
        return made[-1]

    yield make
    for app in made:
        app.close()
    dramatiq.broker.global_broker = None  # type: ignore[attr-defined]
