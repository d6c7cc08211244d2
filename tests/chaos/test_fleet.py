"""A fleet on our RedisBroker under load: workers killed, whole machines killed, the server killed, the network cut.

Nothing admitted is lost, the audit holds at each step, and no job waits in limbo for longer than docs/redis.md says.

CHAOS_ROUNDS (default 4) is how many workers are killed, CHAOS_OUTAGE_SECONDS (default 4) how long the network is cut.
`make chaos` runs 20 and 30.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from littleq.backends import backend_for
from littleq.backends.base import TruthTable
from littleq.backends.redis.broker import RedisBroker
from littleq.cli.root import run
from tests.chaos.test_chaos import OUTAGE_SECONDS, ROUNDS, Producer, Server
from tests.proxy import Proxy
from tests.support import eventually

HEARTBEAT_SECONDS = 4.0
#: Documented: a second where the process died, the heartbeat timeout where its watcher died too. Some of this
#: machine's noise on top; far enough from the other bound to tell the two apart.
LIMBO_SECONDS = {"process": 2.0, "machine": HEARTBEAT_SECONDS + 1.0}

#: A job says that it ran before it is acked, fails at its first attempt now and then, and is never cured now and then.
APP = """
import os, time
import dramatiq, littleq
from dramatiq.middleware import CurrentMessage, Middleware
from littleq.backends.redis.broker import RedisBroker

broker = RedisBroker(
    url=os.environ["BROKER_URL"], heartbeat_timeout=int(os.environ["HEARTBEAT_MS"]), max_deliveries=1000
)
littleq.install(broker)
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
log = os.open(os.environ["RAN"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

class Tell(Middleware):
    def after_worker_boot(self, broker, worker):
        with open(os.environ["WHO"] + ".new", "w") as who:
            who.write(f"{broker.broker_id} {broker.watch.pid}")
        os.replace(os.environ["WHO"] + ".new", os.environ["WHO"])

broker.add_middleware(Tell())

@dramatiq.actor(queue_name="q", actor_name="work")
def work(number):
    time.sleep(0.002)
    os.write(log, b"%d\\n" % number)
    first = not CurrentMessage.get_current_message().options.get("retries")
    if number % 50 == 0 or (number % 10 == 0 and first):
        raise RuntimeError(number)
"""

CONFIG = (
    '[exporter]\nenabled = false\n[queues.q]\nadmission = "off"\nmax_retries = 1\n'
    "min_backoff_seconds = 0.05\nmax_backoff_seconds = 0.1\nretry_budget = 1\n"
)


class Fleet:
    """Three `dramatiq` with a worker process each."""

    def __init__(self, start: Callable[..., subprocess.Popen[bytes]], folder: Path, url: str) -> None:
        self._start, self._folder, self._url = start, folder, url
        self._number = 0
        self.masters: dict[Path, subprocess.Popen[bytes]] = {}

    def add(self) -> None:
        self._number += 1
        who = self._folder / f"who-{self._number}"
        self.masters[who] = self._start(
            *("chaos_app", "--processes", "1", "--threads", "4"),
            BROKER_URL=self._url,
            LITTLEQ_URL=self._url,
            HEARTBEAT_MS=str(round(HEARTBEAT_SECONDS * 1000)),
            RAN=str(self._folder / "ran"),
            WHO=str(who),
        )
        eventually(who.exists, what="the worker to boot")

    def kill_one(self, rng: random.Random, *, with_its_watcher: bool) -> str:
        """Kill one at random, and say who it was."""
        who = rng.choice(sorted(self.masters))
        worker_id, watcher = who.read_text().split()
        if with_its_watcher:
            os.kill(int(watcher), signal.SIGKILL)
        os.killpg(self.masters[who].pid, signal.SIGKILL)
        self.masters.pop(who).wait()
        return worker_id

    def ran(self) -> set[int]:
        path = self._folder / "ran"
        return {int(line) for line in path.read_text().split()} if path.exists() else set()

    def progresses(self, jobs: int) -> None:
        before = len(self.ran())
        eventually(lambda: len(self.ran()) > before + jobs, seconds=30, what="progress")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "broker")
    yield made
    made.kill()


def test_a_fleet_survives_everything(
    server: Server, dramatiq_processes: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "chaos_app.py").write_text(APP)
    (tmp_path / "littleq.toml").write_text(CONFIG)
    network = Proxy(server.server.port)
    fleet = Fleet(dramatiq_processes, tmp_path, network.url)
    producer = Producer(network.url)
    observer = RedisBroker(url=server.url, watch=False)
    inspector = backend_for(observer).inspector
    rng = random.Random(time.time_ns())
    for _ in range(3):
        fleet.add()
    producer.start()

    for number in range(ROUNDS):
        fleet.progresses(rng.randrange(20, 120))
        is_machine = number % 4 == 3
        dead = fleet.kill_one(rng, with_its_watcher=is_machine)
        killed = time.monotonic()
        held = f"dramatiq:__acks__.{dead}.q"
        eventually(
            lambda held=held, dead=dead: (
                not observer.client.exists(held)
                and observer.client.zscore("dramatiq:__heartbeats__", dead) is None
            ),
            what="the recovery of what it held",
        )
        assert time.monotonic() - killed < LIMBO_SECONDS["machine" if is_machine else "process"]
        assert inspector.truth(["q"])["q"].imbalance == 0
        fleet.add()

    fleet.progresses(50)
    server.kill()
    server.start()
    fleet.progresses(50)
    assert inspector.truth(["q"])["q"].imbalance == 0
    network.cut()
    time.sleep(OUTAGE_SECONDS)  # the disaster itself: nothing to wait for
    network.open()
    fleet.progresses(50)

    producer.stopping.set()
    producer.join()

    def settled() -> TruthTable | None:
        truth = inspector.truth(["q"])["q"]
        return truth if truth.number_in_system + truth.delayed == 0 else None

    truth = eventually(settled, seconds=60, what="an empty queue")
    assert truth.imbalance == 0, truth
    assert producer.admitted <= fleet.ran(), "admitted jobs that never ran"
    assert fleet.ran() <= producer.admitted | producer.doubtful
    admitted = truth.accounts.admitted
    assert len(producer.admitted) <= admitted <= len(producer.admitted) + len(producer.doubtful)
    assert truth.dead >= len([number for number in producer.admitted if number % 50 == 0])
    assert run(["audit", "--redis", server.url]) == 0
    for master in fleet.masters.values():
        master.terminate()
    for master in fleet.masters.values():
        assert master.wait(timeout=30) == 0
    network.close()
