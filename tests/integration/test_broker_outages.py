"""A running worker, and whoever sends, while the server refuses: what is raised, logged, tried, lost.

Each outage is a real server's. Jobs end in it in each way: done, failed for a retry, failed for good.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from littleq.config import SLAQueueConfig
from tests.lifecycle import AppAt
from tests.servers import MakeServer, Server, make_own_server, need
from tests.support import eventually

__all__ = ["make_own_server"]

PLAIN = SLAQueueConfig(
    "q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=1
)
OUTAGE_SECONDS = 1.2
RESUME_SECONDS = 3.0
#: Tries of one consumer in an outage with pauses of 0.1, 0.2, 0.2, … s times 0.5 to 1.
MOST_TRIES = 12


class Site:
    """A worker process on a server, three jobs of which end when the test says so."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        for name in (
            "dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS",
            "littleq.middleware.retries.RESCHEDULE_PAUSE_SECONDS",
        ):
            monkeypatch.setattr(name, 0.3)
        self.server = server
        self.app = AppAt(server.url, PLAIN, **options)
        self.runs: Counter[int] = Counter()
        self.go = threading.Event()
        self.quick = self.app.actor(self._quick, actor_name="quick", queue_name="q")
        self.slow = self.app.actor(self._slow, actor_name="slow", queue_name="q")

    def _quick(self, number: int) -> None:
        self.runs[number] += 1

    def _slow(self, number: int, failures: int) -> None:
        self.runs[number] += 1
        self.go.wait(20)
        if self.runs[number] <= failures:
            raise RuntimeError

    def work(self) -> None:
        """Four jobs are done, three run: -1 will be done, -2 be retried, -3 be dead-lettered."""
        for number in range(4):
            self.quick.send(number)
        self.app.work()
        eventually(lambda: len(self.runs) == 4, what="the quick jobs")
        self.slow.send(-1, 0)
        self.slow.send(-2, 1)
        self.slow.send_with_options(args=(-3, 1), max_retries=0)
        eventually(lambda: len(self.runs) == 7, what="the slow jobs")

    def tries(self) -> int:
        """Scripts that the server was asked to run."""
        return self.server.calls("evalsha")

    def goes_on(self, seconds: float = RESUME_SECONDS) -> None:
        began = time.monotonic()
        self.quick.send(99)
        eventually(lambda: self.runs[99], seconds, "a job after the outage")
        eventually(self.app.idle, max(0.1, seconds - (time.monotonic() - began)), "the end of the others")

    def nothing_is_lost_or_doubled(self) -> None:
        truth = self.app.truth()
        assert truth.accounts is not None
        assert (truth.imbalance, truth.dead) == (0, 1)
        assert truth.accounts.done == len(self.runs) - 1
        assert dict(self.runs) == {**dict.fromkeys(self.runs, 1), -2: 2}


@pytest.fixture
def make_site(
    make_own_server: MakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(kind: str = "valkey-9", *, broker: dict[str, Any] | None = None, **settings: Any) -> Site:
        caplog.set_level(logging.WARNING)
        server = make_own_server(need(kind), **settings)
        sites.append(Site(server, monkeypatch, **(broker or {})))
        return sites[-1]

    yield make
    for site in sites:
        site.go.set()
        site.app.close()


def consumers_said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("littleq.backends") and record.levelno >= logging.WARNING
    ]


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
    make_site: Callable[..., Site], caplog: pytest.LogCaptureFixture, kind: str, cause: Any
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
