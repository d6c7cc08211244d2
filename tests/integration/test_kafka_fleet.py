"""Processes that come, go and are killed, and a server that does; against tansu, and librdkafka's mock cluster."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from littleq.backends.base import Sending
from littleq.backends.kafka.shelf import UNCOMMITTED
from littleq.config import SLAQueueConfig
from tests.brokers.kafka import (
    KafkaApp,
    Tansu,
    kafka_app,
    kafka_server,
    kafka_url,
    mock_url,
    persistent_tansu,
)
from tests.support import dramatiq_processes, eventually

__all__ = ["dramatiq_processes", "kafka_app", "kafka_server", "kafka_url", "mock_url", "persistent_tansu"]
Make = Callable[..., KafkaApp]
Start = Callable[..., subprocess.Popen[bytes]]
QUEUE = SLAQueueConfig("q", admission="off")

WORKER = '''
"""A worker: writes the numbers of the jobs that it ran; the first of them may be a long one."""
import os, time
import dramatiq, littleq
from littleq.backends.kafka import KafkaBroker
from littleq.config import Config
from littleq.ledger.memory import MemoryLedger

broker = KafkaBroker(url=os.environ["KAFKA"], namespace=os.environ["NAMESPACE"])
littleq.install(broker, Config(url=os.environ["KAFKA"], exporter_enabled=False), ledger=MemoryLedger())
dramatiq.set_broker(broker)

@dramatiq.actor(queue_name="q", actor_name="work")
def work(number, seconds):
    with open(os.environ["STARTED"], "a") as file:
        file.write(f"{number} {os.getpid()}\\n")
    time.sleep(seconds)
    with open(os.environ["DONE"], "a") as file:
        file.write(f"{number} {os.getpid()}\\n")
'''


class Fleet:
    """Worker processes of one app, and what they wrote."""

    def __init__(self, app: KafkaApp, url: str, folder: Path, start: Start) -> None:
        self.app, self.url, self.folder, self._start = app, url, folder, start
        (folder / "worker.py").write_text(WORKER)
        self.rest: list[int] = []  # what runs in this process, if anything does
        app.actor(lambda number, seconds: self.rest.append(number), actor_name="work", queue_name="q")

    def start(self, threads: int = 4) -> subprocess.Popen[bytes]:
        return self._start(
            *("worker", "--processes", "1", "--threads", str(threads), "--worker-shutdown-timeout", "20000"),
            KAFKA=self.url,
            NAMESPACE=self.app.broker.namespace,
            STARTED=str(self.folder / "started"),
            DONE=str(self.folder / "done"),
        )

    def send(self, jobs: range, seconds: float = 0.0, **options: Any) -> None:
        actor = self.app.broker.get_actor("work")
        messages = [actor.message_with_options(args=(number, seconds), **options) for number in jobs]
        self.app.broker.enqueue_many([Sending(message) for message in messages])

    def lines(self, name: str) -> list[tuple[int, int]]:
        """Number and process of each job that started or is done."""
        file = self.folder / name
        found = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(int(number), int(process)) for number, process in found]

    def done(self) -> Counter[int]:
        return Counter(number for number, _ in self.lines("done"))

    def processes(self) -> set[int]:
        return {process for _, process in self.lines("done")}


@pytest.fixture
def fleet(kafka_app: Make, kafka_url: str, tmp_path: Path, dramatiq_processes: Start) -> Fleet:
    return Fleet(kafka_app(QUEUE), kafka_url, tmp_path, dramatiq_processes)


def kill(process: subprocess.Popen[bytes], fleet: Fleet) -> None:
    """Dramatiq's main process and all its workers, at once."""
    os.killpg(process.pid, 9)
    process.wait()


def test_processes_that_come_go_and_are_killed_under_load_lose_nothing(fleet: Fleet) -> None:
    sent = 0

    def load() -> None:
        nonlocal sent
        if sent - len(fleet.done()) < 40:
            fleet.send(range(sent, sent + 20), seconds=0.02)
            sent += 20

    def both_work() -> bool:
        load()
        return len(fleet.processes()) == 2

    one, two = fleet.start(), fleet.start()
    eventually(both_work, 30, what="work in both processes")
    fleet.send(range(sent, sent + 60), seconds=0.02)
    sent += 60
    two.terminate()
    assert two.wait(30) == 0
    eventually(lambda: set(range(sent)) <= set(fleet.done()), 30, what="every job")
    assert set(fleet.done().values()) == {1}, "jobs of a revoked partition are waited for: none ran twice"

    # A long job holds back the commits of what is sent after it; then its process is killed.
    fleet.send(range(1000, 1001), seconds=30)
    fleet.send(range(sent, sent + 100), seconds=0.005)
    sent += 100
    eventually(lambda: len(fleet.done()) >= sent - 50, what="half of the jobs")
    kill(one, fleet)
    fleet.app.work(threads=4)
    eventually(lambda: set(range(sent)) <= set(fleet.done()) | set(fleet.rest), 30, what="every job")
    eventually(lambda: 1000 in fleet.rest, what="the long job, which had begun")
    twice = sum((fleet.done() + Counter(fleet.rest)).values()) - sent - 1
    assert 0 <= twice <= UNCOMMITTED
    eventually(fleet.app.idle, what="an empty queue")


def test_a_long_job_keeps_its_partition(kafka_app: Make) -> None:
    """Its window is full, nothing can be handed out, and max.poll.interval.ms is long over when it ends."""
    app = kafka_app(QUEUE, options="&max.poll.interval.ms=2000")
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(3.5 if number == 0 else 0.0)

    actor = app.actor(work, actor_name="work", queue_name="q")
    app.broker.enqueue_many(
        [Sending(actor.message_with_options(args=(n,), partition_key="k")) for n in range(20)]
    )
    app.work(threads=1)
    eventually(lambda: len(begun) == 20, what="all jobs")
    assert begun == list(range(20)), "in order, none twice"
    eventually(app.idle, what="an empty queue")


def test_what_is_settled_beyond_a_gap_does_not_run_again(
    mock_url: str, tmp_path: Path, dramatiq_processes: Start
) -> None:
    """A commit says it, where the server keeps what is said: Apache Kafka does, and the mock cluster."""
    app = KafkaApp(mock_url, QUEUE)
    fleet = Fleet(app, mock_url, tmp_path, dramatiq_processes)
    try:
        first = fleet.start()
        fleet.send(range(1), seconds=30, partition_key="a")
        eventually(lambda: fleet.lines("started"), 30, what="the long job")
        partition = next(n for n, part in app.broker.lags.read(["q"])["q"].parts.items() if part.end)
        actor = app.broker.get_actor("work")
        keyed = [
            actor.message_with_options(args=(number, 0.0), partition_key=f"k{number}")
            for number in range(1, 201)
        ]
        app.broker.enqueue_many([Sending(message) for message in keyed])
        eventually(lambda: len(fleet.done()) == 200, what="all jobs but the long one")
        eventually(lambda: app.truth().number_in_system == 1, what="the last commits")
        truth, lag = app.truth(), app.broker.lags.read(["q"])["q"]
        assert (truth.ready, truth.in_flight) == (0, 1), "the long one is held, nothing waits"
        assert lag.parts[partition].at == 0 and lag.parts[partition].mark.settled > 10
        kill(first, fleet)
        fleet.send(range(500, 501))
        second = fleet.start()
        eventually(lambda: fleet.done()[500], 30, what="a job after the crash")
        eventually(lambda: len(fleet.lines("started")) == 203, what="the long job again, and nothing else")
        time.sleep(0.3)
        assert Counter(number for number, _ in fleet.lines("started"))[0] == 2
        assert set(fleet.done().values()) == {1}
        kill(second, fleet)
    finally:
        app.close()


def test_a_server_that_is_killed_and_started_again_has_everything(persistent_tansu: Tansu) -> None:
    app = KafkaApp(persistent_tansu.url, SLAQueueConfig("q", admission="off", max_retries=1))
    done: list[int] = []
    actor = app.actor(done.append, actor_name="note", queue_name="q")
    try:
        app.work()
        actor.send(1)
        eventually(lambda: done == [1], what="a job")
        actor.send_with_options(args=(2,), delay=2500)
        persistent_tansu.kill()
        consumer = next(iter(app.workers[0].consumers.values())).consumer
        eventually(lambda: consumer.away_since, what="word that the server is away")
        persistent_tansu.start()
        eventually(lambda: not consumer.away_since, what="word that it is back")
        actor.send(3)
        eventually(lambda: sorted(set(done)) == [1, 2, 3], 30, what="the delayed job, and a new one")
    finally:
        app.close()


def test_a_send_to_a_server_that_is_away_fails_as_dramatiq_expects(tmp_path: Path) -> None:
    from dramatiq.errors import ConnectionClosed

    server = Tansu(tmp_path).start()
    app = KafkaApp(server.url + "&message.timeout.ms=2000", QUEUE)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    try:
        actor.send()
        app.broker.ping()
        server.kill()
        with pytest.raises(ConnectionClosed):
            actor.send()
        with pytest.raises(Exception, match=r"Failed to get metadata|transport|timed out") as raised:
            app.broker.ping()
        assert app.backend.is_transient(raised.value)
    finally:
        server.kill()
        app.close()


def test_a_fork_has_clients_of_its_own(kafka_app: Make, in_fork: Callable[..., Any]) -> None:
    app = kafka_app(QUEUE)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    actor.send()
    assert app.truth().ready == 1

    def child() -> int:
        actor.send()
        return app.truth().ready

    assert in_fork(child) == 2
    actor.send()
    assert app.truth().ready == 3


def test_topics_are_made_as_asked_for_and_compared_later(
    kafka_app: Make, caplog: pytest.LogCaptureFixture
) -> None:
    from confluent_kafka.admin import NewTopic

    app = kafka_app(QUEUE, options="&littleq.min_insync=1")
    names, topics = app.broker.topics.names, app.broker.topics
    assert app.backend.most_workers("q") is None
    wrong = [NewTopic(names.dead("q"), 1, 1, config={"cleanup.policy": "delete"})]
    for made in topics.admin.create_topics(wrong).values():
        made.result(5)
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    there = topics.partitions_by_topic()
    assert there[names.topic("q")] == app.backend.most_workers("q") == 4
    assert {there[topic] for topic in (names.dead("q"), *names.delays("q"))} == {1}
    assert "q" in app.backend.inspector.queues()
    eventually(lambda: "set it to compact" in caplog.text, what="a warning")
    assert names.dead("q") in caplog.text
