"""An SQS server for tests: moto's, as a process of its own on a free port, and apps on it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dramatiq
import pytest
from dramatiq import Message, Worker

from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger
from littleq.stack import install
from tests.brokers.leash import Leashed
from tests.conftest import free_port, unavailable

START_SECONDS = 30.0
#: What moto takes for credentials: anything.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "very-secret-key-of-a-test"}


class MotoServer:
    """One moto server; its data is in its memory."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, **options: Any) -> str:
        """Of an SQS broker; a poll is short, so that workers end soon."""
        options = {"endpoint": self.endpoint, "wait": 1, **options}
        return "sqs://eu-west-1?" + "&".join(f"{name}={value}" for name, value in options.items())

    def start(self) -> MotoServer:
        program = Path(sys.executable).with_name("moto_server")
        if not program.exists():
            unavailable("moto_server is not here: pip install 'moto[server]'")
        log = (self.folder / "moto.log").open("ab")
        self.process = Leashed(
            [str(program), "-H", "127.0.0.1", "-p", str(self.port)], stdout=log, stderr=log
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urlopen(f"{self.endpoint}/moto-api/", timeout=5):
                    return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    pytest.fail(f"moto_server did not start: {(self.folder / 'moto.log').read_text()}")
                time.sleep(0.05)

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(START_SECONDS)


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """The session's server. Never stop it in a test: make another one."""
    server = MotoServer(tmp_path_factory.mktemp("moto")).start()
    yield server
    server.stop()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials for moto, and none of this machine's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class SQSApp:
    """A broker of ours with the stack, as one process of a fleet would have it."""

    def __init__(self, url: str, *queues: SLAQueueConfig, **broker_options: Any) -> None:
        from littleq.backends.sqs import SQSBroker, sqs_backend
        from littleq.backends.sqs.inspector import SQSInspector

        self.broker = SQSBroker(url=url, **broker_options)
        config = Config(queues={queue.name: queue for queue in queues}, exporter_enabled=False)
        install(self.broker, config, ledger=MemoryLedger())
        dramatiq.set_broker(self.broker)
        self.backend = sqs_backend(self.broker)
        self.inspector = SQSInspector(self.broker, fresh_seconds=0)
        self.workers: list[Worker] = []
        self.requests: list[str] = []
        clients = self.broker.clients
        for client in (clients.quick, clients.patient, clients.steady, clients.hasty):
            client.meta.events.register("before-call.sqs", self._count)

    def _count(self, model: Any, **_: Any) -> None:
        self.requests.append(model.name)

    def actor(self, fn: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(fn, broker=self.broker, **options)  # type: ignore[call-overload]

    def broker_proxy(self, message: Message[Any]) -> Any:
        """A message as a worker would hold it."""
        from littleq.backends.sqs.desk import Held, Job

        return Job(message, Held({"ReceiptHandle": "none", "Body": ""}, asked_at=0.0, visibility=1.0))

    def work(self, threads: int = 2, **options: Any) -> Worker:
        worker = Worker(self.broker, worker_timeout=50, worker_threads=threads, **options)
        worker.start()
        self.workers.append(worker)
        return worker

    def truth(self, queue: str = "q") -> TruthTable:
        return self.inspector.truth([queue])[queue]

    def idle(self, queue: str = "q") -> bool:
        truth = self.truth(queue)
        return truth.number_in_system + truth.delayed == 0

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
        self.broker.close()


@pytest.fixture
def sqs_app(moto_server: MotoServer, aws: None) -> Iterator[Callable[..., SQSApp]]:
    """Makes apps on the session's server. They share the queues of a namespace that is the test's own."""
    made: list[SQSApp] = []
    namespace = f"t{uuid.uuid4().hex[:8]}"

    def make(*queues: SLAQueueConfig, url: str | None = None, **options: Any) -> SQSApp:
        options = {"namespace": namespace, "visibility": 4, **options}
        made.append(SQSApp(url or moto_server.url(), *queues, **options))
        return made[-1]

    yield make
    for app in made:
        app.close()
