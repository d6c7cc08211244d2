"""A running worker, and whoever sends, while the server refuses: what is raised, logged, tried, lost.

Each outage is a real server's. Jobs end in it in each way: done, failed for a retry, failed for good.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
import redis

from littleq.backends.redis.quick import QuickScript
from littleq.backends.redis.urls import redis_client
from tests.servers import MakeServer, Server, make_own_server, need
from tests.sites import MakeSite, consumers_said, make_site
from tests.support import eventually

__all__ = ["make_own_server", "make_site"]

OUTAGE_SECONDS = 1.2
#: Tries of one consumer in an outage with pauses of 0.1, 0.2, 0.2, … s times 0.5 to 1.
MOST_TRIES = 12


class Cause:
    """One reason to refuse, by its name."""

    def __init__(self, server: Server) -> None:
        self.server, self.client = server, server.client

    def begin(self) -> None: ...
    def end(self) -> None: ...


class ReadOnly(Cause):
    raises: type[Exception] = redis.exceptions.ReadOnlyError
    says = "the server is a replica and takes no writes"

    def begin(self) -> None:
        self.client.replicaof("127.0.0.1", "1")

    def end(self) -> None:
        self.client.replicaof("NO", "ONE")


class NoMemory(Cause):
    raises = redis.exceptions.OutOfMemoryError
    says = "the server has no memory left (maxmemory)"

    def begin(self) -> None:
        self.client.config_set("maxmemory", 1)

    def end(self) -> None:
        self.client.config_set("maxmemory", 0)


class NoDisk(Cause):
    raises = redis.ResponseError
    says = "the server cannot save its data and takes no writes"

    def begin(self) -> None:
        self.client.config_set("save", "1000000 1000000")
        self.obstacle = self.server.folder / "dump.rdb" / "x"
        self.obstacle.parent.mkdir()
        self.obstacle.touch()
        self.save("err")

    def end(self) -> None:
        self.obstacle.unlink()
        self.obstacle.parent.rmdir()
        self.save("ok")

    def save(self, status: str) -> None:
        self.client.bgsave()
        eventually(lambda: self.client.info("persistence")["rdb_last_bgsave_status"] == status, 5)


class NoReplicas(Cause):
    raises = redis.ResponseError
    says = "the server has too few replicas and takes no writes"

    def begin(self) -> None:
        self.client.config_set("min-replicas-to-write", 1)

    def end(self) -> None:
        self.client.config_set("min-replicas-to-write", 0)


class Busy(Cause):
    raises = redis.ResponseError
    says = "a script keeps the server busy: SCRIPT KILL ends it"

    def begin(self) -> None:
        self.client.config_set("lua-time-limit", 50)
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()
        eventually(self.is_busy, 5)

    def loop(self) -> None:
        with pytest.raises(redis.ResponseError, match="killed"):
            self.server.client.eval("while true do end", 0)

    def is_busy(self) -> bool:
        try:
            return not self.client.ping()
        except redis.ResponseError:
            return True

    def end(self) -> None:
        self.client.script_kill()
        self.thread.join(5)


CASES = [
    *((kind, cause) for kind in ("valkey-9", "redis-6.2") for cause in (ReadOnly, NoDisk, Busy)),
    ("redis-7", NoReplicas),
]


@pytest.mark.parametrize(("kind", "cause"), CASES, ids=[f"{cause.__name__}-{kind}" for kind, cause in CASES])
def test_a_worker_waits_for_a_server_that_refuses(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture, kind: str, cause: Any
) -> None:
    site = make_site(kind)
    site.work()
    trouble = cause(site.server)
    trouble.begin()
    before = None if cause is Busy else site.tries()
    began = time.monotonic()
    with pytest.raises(cause.raises) as raised:
        site.quick.send(50)
    assert time.monotonic() - began < 1
    assert "Error running script" not in str(raised.value)
    site.go.set()
    time.sleep(OUTAGE_SECONDS)
    if before is not None:
        # Two consumers; and one retry, one nack and one send, each of which redis-py may repeat once.
        assert site.tries() - before <= 2 * MOST_TRIES + 2 * 3 * OUTAGE_SECONDS / 0.3
    trouble.end()
    site.goes_on()
    site.nothing_is_lost_or_doubled()
    away, back = consumers_said(caplog)
    assert away.startswith(f"Queue 'q': {trouble.says}"), away
    assert "script:" not in away and len(away) < 300
    assert back.startswith("Queue 'q': the server is back after")


@pytest.mark.parametrize("kind", ["valkey-9", "redis-6.2"])
def test_a_connection_that_is_refused_is_not_kept_for_the_next_call(
    make_own_server: MakeServer, kind: str
) -> None:
    """A server that a script keeps busy refuses new connections by their first command, AUTH or SELECT, too."""
    server = make_own_server(need(kind))
    client = redis_client(f"{server.url}{'&' if '?' in server.url else '?'}db=1")
    script = QuickScript(client, "return 7")
    trouble = Busy(server)
    trouble.begin()
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="BUSY"):
            script()
    trouble.end()
    assert [script() for _ in range(3)] == [7, 7, 7]


def test_a_server_without_memory_refuses_senders_and_loses_nothing(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site("valkey-9")
    site.work()
    site.server.client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        site.quick.send(50)
    site.go.set()
    time.sleep(OUTAGE_SECONDS)
    site.server.client.config_set("maxmemory", 0)
    site.goes_on()
    site.nothing_is_lost_or_doubled()
    assert not any("cannot be consumed" in line for line in consumers_said(caplog))


def test_a_server_that_forgets_its_scripts_is_no_outage(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site()
    site.work()
    site.go.set()
    for number in range(100, 150):
        site.server.client.script_flush()
        site.quick.send(number)
    site.goes_on()
    site.nothing_is_lost_or_doubled()
    assert consumers_said(caplog) == []


@pytest.mark.parametrize("kind", ["valkey-9", "redis-6.2"])
def test_a_key_of_the_wrong_type_is_named(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Somebody's own hand: what the key held is gone, what others hold is not."""
    site = make_site(kind)
    site.work()
    site.server.client.set("dramatiq:q", "oops")
    before = site.tries()
    with pytest.raises(redis.ResponseError, match=r"^WRONGTYPE"):
        site.quick.send(50)
    time.sleep(OUTAGE_SECONDS)
    assert site.tries() - before <= 2 * MOST_TRIES
    site.server.client.delete("dramatiq:q")
    site.go.set()
    site.goes_on()
    site.nothing_is_lost_or_doubled()
    said, back = consumers_said(caplog)
    assert said.startswith("Queue 'q' cannot be consumed: the server says WRONGTYPE")
    assert "Key 'dramatiq:q' is a string and should be a list: somebody overwrote it" in said
    assert back.startswith("Queue 'q': the server is back after")


def test_a_server_that_loads_its_data_is_waited_for(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """A restart with a snapshot that takes a while."""
    site = make_site(key_load_delay="100000", loading_process_events_interval_bytes="1024")
    site.work()
    for number in range(15):
        site.server.client.set(f"ballast{number}", random.randbytes(20_000))
    caplog.clear()
    site.server.client.config_set("save", "1000000 1000000")  # makes the shutdown write a snapshot
    site.server.stop()
    site.server.start(wait=False)
    eventually(site.server.is_loading, 5, "loading")
    with pytest.raises(redis.exceptions.BusyLoadingError):
        site.quick.send(50)
    site.go.set()
    site.server.wait_until_ready()
    site.goes_on()
    site.nothing_is_lost_or_doubled()
    away, back = consumers_said(caplog)
    assert away.startswith("Queue 'q': the server is ")
    assert back.startswith("Queue 'q': the server is back after")
