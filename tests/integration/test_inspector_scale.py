"""A look at many queues of many workers: what single workers hold is not counted set by set any more."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from redis import Redis

from littleq.backends.base import TruthTable
from littleq.backends.redis import inspector as module
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.inspector import RedisInspector

QUEUES = ("busy", "idle", "left", "mixed")


def fill(client: Redis, *, live: int, dead: int) -> None:
    """Workers that hold jobs of some of the queues, and jobs that nobody holds."""
    now = time.time() * 1000
    workers = [(f"live-{n}", now) for n in range(live)] + [
        (f"dead-{n}", now - 3_600_000) for n in range(dead)
    ]
    number = 0
    for name, beat in workers:
        client.zadd("dramatiq:__heartbeats__", {name: beat})
        for queue in ("mixed", "busy" if name.startswith("live") else "left"):
            number += 1
            client.hset(f"dramatiq:{queue}.msgs", f"job-{number}", b"-")
            client.sadd(f"dramatiq:__acks__.{name}.{queue}", f"job-{number}")
    for queue in ("busy", "mixed"):
        for n in range(4):
            client.hset(f"dramatiq:{queue}.msgs", f"ready-{n}", b"-")
            client.rpush(f"dramatiq:{queue}", f"ready-{n}")


def look(client: Redis) -> Mapping[str, TruthTable]:
    return RedisInspector(RedisBroker(client=client, middleware=[], watch=False)).truth(QUEUES)


@pytest.mark.parametrize(("live", "dead"), [(5, 2), (2, 5), (3, 0), (0, 3), (0, 0)])
def test_by_subtraction_each_queue_has_the_same_jobs_in_the_same_places(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, live: int, dead: int
) -> None:
    fill(redis_client, live=live, dead=dead)
    counted = look(redis_client)
    assert (counted["mixed"].ready, counted["mixed"].in_flight, counted["mixed"].orphaned) == (4, live, dead)
    monkeypatch.setattr(module, "MOST_LOOKUPS", -1)
    subtracted = look(redis_client)
    for queue in QUEUES:
        one, other = counted[queue], subtracted[queue]
        assert (one.ready, one.in_flight, one.orphaned) == (other.ready, other.in_flight, other.orphaned), (
            queue
        )
        assert not {"in_flight", "orphaned"} & one.approximate
        assert {"in_flight", "orphaned"} <= other.approximate


def test_thousand_queues_of_many_workers_are_no_lookup_each(redis_client: Redis) -> None:
    """By the server's own count of its commands: how long they take is another machine's matter."""
    now = time.time() * 1000
    redis_client.zadd("dramatiq:__heartbeats__", {f"worker-{n}": now for n in range(1000)})
    broker = RedisBroker(client=redis_client, middleware=[], watch=False)
    redis_client.config_resetstat()
    RedisInspector(broker).truth([f"queue-{n}" for n in range(1000)])
    calls = redis_client.info("commandstats").get("cmdstat_scard", {}).get("calls", 0)
    assert calls <= module.MOST_LOOKUPS
