"""Workers die, in processes of their own: somebody outside notices, and their jobs go on at the head of the queue."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message
from redis import Redis

from littleq.backends import backend_for
from littleq.backends.redis.broker import RedisBroker
from tests.support import ROOT, eventually

#: A worker process with one thread, a prefetch of four, and a watcher. Jobs tell that they began.
WORKER = """
import os, sys, time
import dramatiq, dramatiq.worker
dramatiq.worker.QUEUE_PREFETCH = 4
from littleq.backends.redis.broker import RedisBroker

broker = RedisBroker(url=os.environ["URL"], heartbeat_timeout=int(os.environ["TIMEOUT"]), max_deliveries=3)
dramatiq.set_broker(broker)
log = os.open(os.environ["LOG"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

@dramatiq.actor(queue_name="q", actor_name="work")
def work(what, number):
    os.write(log, b"%d %d\\n" % (os.getpid(), number))
    if what == "sleep":
        time.sleep(60)
    elif what == "gil":
        # One C call that never lets go of the interpreter's lock.
        sum(range(int(os.environ["GIL"])))
    elif what == "die":
        os.kill(os.getpid(), 9)
    os.write(log, b"%d -%d\\n" % (os.getpid(), number))

worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=200)
broker.watch.start()
print(broker.broker_id, broker.watch.pid, flush=True)  # first: a job may kill this process at once
worker.start()
sys.stdin.readline()
worker.stop()
broker.close()
"""


class WorkerProcess:
    def __init__(self, url: str, log: Path, timeout: int = 15_000, gil: int = 1) -> None:
        environment = {"URL": url, "LOG": str(log), "TIMEOUT": str(timeout), "GIL": str(gil)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=ROOT,
            env={**os.environ, **environment},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.worker_id, watcher = self.process.stdout.readline().split()
        self.watcher = int(watcher)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def kill_with_its_watcher(self) -> None:
        os.kill(self.watcher, signal.SIGKILL)
        self.kill()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def start(valkey_url: str, redis_client: Any, log: Path) -> Iterator[Callable[..., WorkerProcess]]:
    made: list[WorkerProcess] = []

    def start(**options: Any) -> WorkerProcess:
        made.append(WorkerProcess(valkey_url, log, **options))
        return made[-1]

    yield start
    for worker in made:
        worker.process.kill()
        worker.process.communicate()
        eventually(lambda pid=worker.watcher: is_gone(pid), what="the watcher's end")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def ignores(pid: int, name: signal.Signals) -> bool:
    (mask,) = re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) >> (name - 1) & 1)


@pytest.fixture
def producer(valkey_url: str) -> RedisBroker:
    return RedisBroker(client=Redis.from_url(valkey_url), middleware=[], watch=False)


def send(producer: RedisBroker, what: str, *numbers: int) -> None:
    for number in numbers:
        producer.enqueue(Message("q", "work", (what, number), {}, {}))


def lines(log: Path) -> list[tuple[int, int]]:
    return [tuple(map(int, line.split())) for line in log.read_text().splitlines()]  # type: ignore[misc]


def queued(producer: RedisBroker) -> list[int]:
    ids = producer.client.lrange("dramatiq:q", 0, -1)
    stored = producer.client.hmget("dramatiq:q.msgs", ids) if ids else []
    return [Message.decode(data).args[1] for data in stored]


def truth(producer: RedisBroker) -> Any:
    return backend_for(producer).inspector.truth(["q"])["q"]


def test_a_killed_worker_s_jobs_are_back_at_the_head_within_a_second(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    worker = start()
    send(producer, "sleep", 1, 2, 3, 4, 5, 6)
    eventually(lambda: lines(log) and producer.client.llen("dramatiq:q") == 2)
    worker.kill()
    killed = time.monotonic()
    eventually(lambda: queued(producer) == [1, 2, 3, 4, 5, 6], what="recovery, in order")
    assert time.monotonic() - killed < 1.0
    assert producer.client.zscore("dramatiq:__heartbeats__", worker.worker_id) is None
    assert truth(producer).imbalance == 0


def test_a_waiting_worker_takes_them_on_at_once(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    worker, other = start(), start()
    send(producer, "sleep", 1)
    eventually(lambda: lines(log))
    first = {worker.process.pid: worker, other.process.pid: other}.pop(lines(log)[0][0])
    first.kill()
    killed = time.monotonic()
    eventually(lambda: len(lines(log)) == 2)
    assert time.monotonic() - killed < 2.0
    assert {number for _, number in lines(log)} == {1}


def test_a_job_that_keeps_the_interpreter_to_itself_is_not_run_twice(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    """Longer than the heartbeat timeout: the watcher gives the signs of life."""
    busy = start(timeout=1000, gil=150_000_000)
    send(producer, "gil", 1)
    eventually(lambda: lines(log))
    idle = start(timeout=1000)
    eventually(lambda: (busy.process.pid, -1) in lines(log), seconds=90)
    began = time.monotonic()
    eventually(lambda: truth(producer).accounts.done == 1)
    assert time.monotonic() - began < 20
    assert [number for _, number in lines(log)] == [1, -1]
    assert idle.process.poll() is None


def test_a_watcher_that_is_killed_is_replaced(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    worker = start(timeout=2000)
    os.kill(worker.watcher, signal.SIGKILL)

    if not Path(f"/proc/{worker.process.pid}/task").exists():
        pytest.skip("finds children by /proc")
    eventually(lambda: _child_of(worker) is not None, what="another watcher")
    send(producer, "sleep", 1)
    eventually(lambda: lines(log))
    worker.kill()
    killed = time.monotonic()
    eventually(lambda: queued(producer) == [1])
    assert time.monotonic() - killed < 1.9  # the heartbeat alone would take longer


def _child_of(worker: WorkerProcess) -> int | None:
    """A watcher of the worker's other than the one that it began with. A thread started it: look at all of them."""
    for task in Path(f"/proc/{worker.process.pid}/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            if pid != worker.watcher and not is_gone(pid):
                return pid
    return None


def test_a_dead_machine_s_jobs_are_back_within_the_heartbeat_timeout(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    """Nobody sends and nobody fetches them: a watcher of another worker notices."""
    worker = start(timeout=3000)
    send(producer, "sleep", 1)
    eventually(lambda: lines(log))
    producer.pause("q")
    start(timeout=3000)
    os.kill(worker.watcher, signal.SIGKILL)
    worker.kill()
    killed = time.monotonic()
    eventually(lambda: queued(producer) == [1])
    assert 1.0 < time.monotonic() - killed < 3.5
    assert truth(producer).orphaned == 0


def test_a_signal_for_the_worker_does_not_end_its_watcher(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    worker = start()
    eventually(lambda: ignores(worker.watcher, signal.SIGTERM), what="the watcher to be up")
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(worker.watcher, name)
    send(producer, "sleep", 1)
    eventually(lambda: lines(log))
    assert not is_gone(worker.watcher)
    worker.kill()
    eventually(lambda: queued(producer) == [1], seconds=1)


def test_a_worker_that_ends_leaves_nothing_behind(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    worker = start()
    send(producer, "sleep-not", 1)
    eventually(lambda: truth(producer).accounts.done == 1)
    worker.process.communicate("stop\n", timeout=20)
    assert worker.process.returncode == 0
    eventually(lambda: is_gone(worker.watcher))
    assert producer.client.zcard("littleq:dramatiq:q:waiting") == 0
    assert [key for key in producer.client.keys("*") if b"running" in key or b"__acks__" in key] == []


def test_a_job_that_kills_its_workers_is_poison_and_its_neighbours_are_not(
    start: Callable[..., WorkerProcess], producer: RedisBroker, log: Path
) -> None:
    send(producer, "die", 1)
    send(producer, "quick", 2, 3, 4)  # prefetched with it each time
    for attempt in range(3):
        worker = start()
        worker.process.wait(timeout=20)
        eventually(
            lambda: truth(producer).in_flight + truth(producer).orphaned == 0, what=f"burial {attempt}"
        )
    assert [number for _, number in lines(log) if number == 1] == [1, 1, 1]
    (letter,) = backend_for(producer).dead_letters.letters("q")
    assert (letter.args, letter.death["reason"], letter.death["attempts"]) == (("die", 1), "poison", 3)
    start()
    eventually(lambda: truth(producer).accounts.done == 3)
    assert truth(producer).imbalance == 0
    assert producer.client.exists("littleq:dramatiq:q:deliveries") == 0
