"""Apps on a real server: brokers, workers in this process and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker as DramatiqRedisBroker

from littleq.backends import backend_for
from littleq.backends.base import TruthTable
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.urls import redis_client
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger
from littleq.stack import install

ROOT = Path(__file__).parents[1]


def eventually(check: Callable[[], Any], seconds: float = 20.0, what: str = "it") -> Any:
    """Poll until `check` gives something true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {seconds} s; last: {found!r}")
        time.sleep(0.02)


class App:
    """One of Dramatiq's RedisBrokers with the stack, as one process of a fleet would have it."""

    def __init__(self, url: str, config: Config, **broker_options: Any) -> None:
        self.broker = self.make_broker(url, **broker_options)
        install(self.broker, config, ledger=MemoryLedger())
        dramatiq.set_broker(self.broker)
        self.backend = backend_for(self.broker)
        self.workers: list[Worker] = []

    def make_broker(self, url: str, **broker_options: Any) -> DramatiqRedisBroker:
        # Every command does maintenance: what Dramatiq does by chance happens at once.
        broker_options = {"maintenance_chance": 1_000_000, **broker_options}
        return DramatiqRedisBroker(client=redis_client(url), **broker_options)

    def actor(self, fn: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(fn, broker=self.broker, **options)  # type: ignore[call-overload]

    def work(self, threads: int = 2, **options: Any) -> Worker:
        worker = Worker(self.broker, worker_timeout=50, worker_threads=threads, **options)
        worker.start()
        self.workers.append(worker)
        return worker

    def truth(self, queue: str = "q") -> TruthTable:
        return self.backend.inspector.truth([queue])[queue]

    def idle(self, queue: str = "q") -> bool:
        truth = self.truth(queue)
        return truth.number_in_system + truth.delayed == 0

    def everyone_else_is_dead(self) -> None:
        """Age the heartbeat of every other process: what a heartbeat timeout would do, at once."""
        heartbeats = f"{self.broker.namespace}:__heartbeats__"
        for worker in self.broker.client.zrange(heartbeats, 0, -1):
            if worker.decode() != self.broker.broker_id:
                self.broker.client.zadd(heartbeats, {worker: 0})

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
        self.broker.close()


class OurApp(App):
    """The same with LittleQ's RedisBroker."""

    def make_broker(self, url: str, **broker_options: Any) -> DramatiqRedisBroker:
        self.name = f"app-{id(self)}"
        client = redis_client(url, client_name=self.name)
        return RedisBroker(client=client, **{"watch": False, **broker_options})

    def everyone_else_is_dead(self) -> None:
        super().everyone_else_is_dead()
        self.broker.beat()

    @property
    def client(self) -> Any:
        return self.broker.client

    def calls(self, command: str) -> int:
        """How often the server has run a command."""
        found = self.client.info("commandstats").get(f"cmdstat_{command}", {})
        return int(found.get("calls", 0))

    @contextmanager
    def round_trips(self) -> Iterator[list[str]]:
        """The scripts that this app's broker asks for meanwhile: others may use the server at the same time."""
        asked: list[str] = []
        with self.client.monitor() as watched:
            yield asked
            self.client.echo("that is all")
            own = {found["addr"] for found in self.client.client_list() if found["name"] == self.name}
            while "that is all" not in (seen := watched.next_command())["command"]:
                sender = f"{seen['client_address']}:{seen['client_port']}"
                if seen["command"].startswith("EVALSHA") and sender in own:
                    asked.append(seen["command"])

    def until(self, check: Callable[[], Any], seconds: float = 20.0) -> Any:
        return eventually(check, seconds, what="that")


@pytest.fixture
def our_app(valkey_url: str, redis_client: Any) -> Iterator[Callable[..., OurApp]]:
    made: list[OurApp] = []

    def make(*queues: SLAQueueConfig, **options: Any) -> OurApp:
        config = Config(url=valkey_url, queues={queue.name: queue for queue in queues})
        made.append(OurApp(valkey_url, config, **options))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def make_app(valkey_url: str, redis_client: Any) -> Iterator[Callable[..., App]]:
    made: list[App] = []

    def make(*queues: SLAQueueConfig, **options: Any) -> App:
        app = App(valkey_url, Config(url=valkey_url, queues={q.name: q for q in queues}), **options)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def dramatiq_processes(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `dramatiq MODULE` in a process group of its own; killed at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"dramatiq-{len(started)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "dramatiq", module, "--path", str(tmp_path), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()
