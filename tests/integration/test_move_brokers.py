"""`littleq move` from Redis to each other broker, whose workers then do what came."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq.cli.root import run
from littleq.config import Config, SLAQueueConfig
from tests.brokers.kafka import KafkaApp, kafka_server, kafka_url
from tests.brokers.rabbitmq import RabbitApp, RabbitServer
from tests.brokers.sqs import MotoServer, SQSApp
from tests.integration.removal import Place, some_jobs
from tests.support import eventually

__all__ = ["kafka_server", "kafka_url"]

READY = 12
MakeApp = Callable[[str], Any]


@pytest.fixture
def on_rabbitmq(rabbit: RabbitServer) -> tuple[str, MakeApp]:
    def make(queue: str) -> RabbitApp:
        queues = {queue: SLAQueueConfig(queue, max_retries=0)}
        return RabbitApp(rabbit.url, Config(url=rabbit.url, queues=queues))

    return rabbit.url, make


@pytest.fixture
def on_sqs(moto_server: MotoServer, aws: None) -> tuple[str, MakeApp]:
    url = moto_server.url()
    return url, lambda queue: SQSApp(url, SLAQueueConfig(queue, max_retries=0))


@pytest.fixture
def on_kafka(kafka_url: str) -> tuple[str, MakeApp]:
    return kafka_url, lambda queue: KafkaApp(kafka_url, SLAQueueConfig(queue, max_retries=0))


@pytest.fixture
def queue() -> str:
    return f"q{uuid.uuid4().hex[:8]}"


@pytest.fixture
def app(request: pytest.FixtureRequest, queue: str) -> Iterator[Any]:
    _, make = request.getfixturevalue(request.param)
    made = make(queue)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("place", "app"), [(name, name) for name in ("on_rabbitmq", "on_sqs", "on_kafka")], indirect=["app"]
)
def test_what_was_moved_is_done_when_it_is_due(
    request: pytest.FixtureRequest,
    valkey_url: str,
    redis_client: Any,
    tmp_path: Path,
    *,
    place: str,
    app: Any,
    queue: str,
) -> None:
    url, _ = request.getfixturevalue(place)
    started: dict[int, float] = {}
    app.actor(lambda number: started.setdefault(number, time.time()), actor_name="work", queue_name=queue)
    source = Place(valkey_url, queue)
    *ready, delayed, dead, _strange = some_jobs(queue, ready=READY, delayed=1, dead=1)
    due = time.time() + 3.0
    source.fill([*ready, type(delayed)(delayed.parcel_id, "delayed", delayed.data, at=due), dead])
    journal = tmp_path / "journal"
    ends = ["move", "--from", valkey_url, "--to", url, "--queue", queue, "--journal", str(journal)]
    assert run(ends) == 0
    letter = next(iter(app.backend.dead_letters.letters(queue)))
    assert letter.message_id == dead.parcel_id
    assert letter.death["exception"] == "ValueError"
    assert letter.died_at == pytest.approx(dead.at, abs=0.01)
    app.work()
    eventually(lambda: len(started) == READY + 1, seconds=40, what="the end of all jobs")
    assert app.backend.dead_letters.replay(queue, letter.letter_id)
    eventually(lambda: len(started) == READY + 2, what="the end of the replayed job")
    last = sorted(started.values())[-2]
    assert last >= due - 0.05, "a delayed job does not begin before it is due"
    assert source.truth().ready == 0
