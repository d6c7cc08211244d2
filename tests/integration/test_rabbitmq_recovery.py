"""Workers die, and jobs come back: processes of their own on a real RabbitMQ server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from littleq import job
from littleq.config import SLAQueueConfig
from tests.brokers.rabbitmq import RabbitApp, RabbitServer
from tests.support import eventually

MakeApp = Callable[..., RabbitApp]

#: Jobs that tell that they began, and that they ended.
APP = """
import os, sys, time
import dramatiq, dramatiq.worker
import littleq
from littleq import SLAQueueConfig
from littleq.backends.rabbitmq import RabbitmqBroker
from littleq.config import Config

dramatiq.worker.QUEUE_PREFETCH = 4
queue, url = os.environ["QUEUE"], os.environ["URL"]
broker = RabbitmqBroker(url=url)
config = Config(
    url=url,
    ledger_url=os.environ["LEDGER"],
    queues={queue: SLAQueueConfig(queue, admission="off", max_deliveries=3)},
)
littleq.install(broker, config)
dramatiq.set_broker(broker)
log = os.open(os.environ["LOG"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

@dramatiq.actor(queue_name=queue, actor_name="work")
def work(what, number):
    os.write(log, b"%d\\n" % number)
    if what == "sleep":
        time.sleep(0.02)
    elif what == "hang":
        time.sleep(60)
    elif what == "die":
        os.kill(os.getpid(), 9)
    os.write(log, b"-%d\\n" % number)
"""
#: A worker with one thread and a prefetch of four.
WORKER = (
    APP
    + """
worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=200)
worker.start()
sys.stdin.readline()
worker.stop()
broker.close()
"""
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


class Forked:
    """A worker process; a fork, so that it need not import everything."""

    def __init__(self, **environment: str) -> None:
        self._reader, writer = os.pipe()  # read from by the child, for its "stdin"; it ends with this process
        self._writer = writer
        self.pid = os.fork()
        if self.pid == 0:  # pragma: no cover - measured in no parent
            try:
                os.close(writer)
                os.environ.update(environment)
                sys.stdin = os.fdopen(self._reader)
                exec(compile(WORKER, "worker", "exec"), {"__name__": "worker"})
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(self._reader)
        self.status: int | None = None

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            _, self.status = os.waitpid(self.pid, 0)


@pytest.fixture
def start(rabbit: RabbitServer, valkey_url: str, queue: str, log: Path) -> Iterator[Callable[[], Forked]]:
    made: list[Forked] = []

    def start() -> Forked:
        made.append(Forked(URL=rabbit.url, QUEUE=queue, LOG=str(log), LEDGER=valkey_url))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        os.close(process._writer)


def events(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()]


def test_jobs_of_a_killed_worker_go_on_at_once_and_none_is_lost(
    rabbit_app: MakeApp, queue: str, log: Path, start: Callable[[], Forked]
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    actor = app.actor(lambda what, number: None, actor_name="work", queue_name=queue)
    for number in range(1, 101):
        actor.send("sleep", number)
    first, second = start(), start()
    eventually(lambda: len(events(log)) > 20)
    first.kill()
    eventually(lambda: set(range(-100, 0)) <= set(events(log)))
    eventually(lambda: app.idle(queue))
    began = Counter(number for number in events(log) if number > 0)
    # Prefetched ones had not begun; what ran when its worker died runs again, and perhaps one whose ack was on its way.
    assert sum(began.values()) - 100 <= 2
    assert second.poll() is None


def test_a_job_that_comes_again_is_known_to(
    rabbit_app: MakeApp, queue: str, log: Path, start: Callable[[], Forked]
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    actor = app.actor(lambda what, number: None, actor_name="work", queue_name=queue)
    actor.send("hang", 1)
    worker = start()
    eventually(lambda: events(log) == [1])
    actor.send("sleep", 2)
    eventually(lambda: app.truth(queue).ready == 0)
    worker.kill()
    eventually(lambda: app.truth(queue).ready == 2)
    consumer = app.broker.consume(queue, prefetch=4, timeout=500)
    found = [next(consumer), next(consumer)]
    assert [proxy.args[1] for proxy in found] == [1, 2]
    assert all(job.noted(proxy, "redelivered") for proxy in found)
    consumer.close()
    eventually(lambda: app.truth(queue).ready == 2)


def test_a_job_that_kills_its_workers_is_a_dead_letter_and_its_neighbours_run(
    rabbit_app: MakeApp,
    redis_client: object,
    queue: str,
    log: Path,
    start: Callable[[], Forked],
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    actor = app.actor(lambda what, number: None, actor_name="work", queue_name=queue)
    actor.send("die", 1)
    for number in (2, 3):
        actor.send("sleep", number)
    workers = [start()]

    def is_over() -> bool:
        if workers[-1].poll() is not None:
            workers.append(start())
        return app.truth(queue).dead == 1 and {-2, -3} <= set(events(log))

    eventually(is_over, 40)
    (letter,) = app.backend.dead_letters.letters(queue)
    assert (letter.args, letter.death["reason"]) == (("die", 1), "poison")
    assert Counter(events(log))[1] == 3
    eventually(lambda: app.idle(queue))


def test_a_worker_that_is_stopped_gives_back_what_it_has_not_begun(rabbit_app: MakeApp, queue: str) -> None:
    app, other = (rabbit_app(SLAQueueConfig(queue, admission="off")) for _ in range(2))
    began, go = [], threading.Event()

    def work(number: int) -> None:
        began.append(number)
        if not number:
            go.wait(30)

    actor = app.actor(work, actor_name="work", queue_name=queue)
    other.actor(work, actor_name="work", queue_name=queue)
    for number in range(4):
        actor.send(number)
    worker = app.work(threads=1)
    eventually(lambda: began == [0])
    consumer = worker.consumers[queue].consumer
    eventually(lambda: consumer.outstanding_message_count > 1)  # type: ignore[union-attr]
    consumer.fetch_no_more()  # type: ignore[union-attr]
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    time.sleep(0.1)
    go.set()
    stopping.join()
    assert began == [0]
    other.work(threads=1)
    eventually(lambda: sorted(began) == [0, 1, 2, 3])
    eventually(lambda: other.idle(queue))


def test_a_signal_ends_a_worker_process_in_order(
    rabbit_app: MakeApp,
    rabbit: RabbitServer,
    queue: str,
    tmp_path: Path,
    log: Path,
    dramatiq_processes: Callable[..., subprocess.Popen[bytes]],
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, admission="off"))
    actor = app.actor(lambda what, number: None, actor_name="work", queue_name=queue)
    (tmp_path / "signal_app.py").write_text(APP)
    environment = {"URL": rabbit.url, "QUEUE": queue, "LOG": str(log), "LEDGER": "memory://"}
    process = dramatiq_processes("signal_app", "-p", "1", "-t", "2", **environment)
    for number in range(1, 200):
        actor.send("sleep", number)
    eventually(lambda: len(events(log)) > 20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    began = Counter(number for number in events(log) if number > 0)
    ended = Counter(-number for number in events(log) if number < 0)
    assert began == ended  # none was cut short
    assert max(ended.values()) == 1
    eventually(lambda: app.truth(queue).ready == 199 - len(ended))
