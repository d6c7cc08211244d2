"""A worker in this process that lives through an outage, and whether it lost or doubled anything."""

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
from tests.servers import MakeServer, Server, need
from tests.support import eventually

PLAIN = SLAQueueConfig(
    "q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=1
)
RESUME_SECONDS = 3.0


class Site:
    """A worker process on a server, three jobs of which end when the test says so.

    Args:
        url: how the worker reaches the server; default: by its socket.
        options: of the broker.
    """

    def __init__(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, url: str | None = None, **options: Any
    ) -> None:
        for name in (
            "dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS",
            "littleq.middleware.retries.RESCHEDULE_PAUSE_SECONDS",
        ):
            monkeypatch.setattr(name, 0.3)
        self.server = server
        self.app = AppAt(url or server.url, PLAIN, **options)
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


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(
    make_own_server: MakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[MakeSite]:
    """Makes sites, on servers of a kind with settings, or on one that is there."""
    sites: list[Site] = []

    def make(
        kind: str = "valkey-9",
        *,
        server: Server | None = None,
        url: str | None = None,
        options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Site:
        caplog.set_level(logging.WARNING)
        server = server or make_own_server(need(kind), **settings)
        sites.append(Site(server, monkeypatch, url, **(options or {})))
        return sites[-1]

    yield make
    for site in sites:
        site.go.set()
        site.app.close()


def consumers_said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the broker's consumers have logged, warnings and above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("littleq.backends") and record.levelno >= logging.WARNING
    ]


class Load:
    """Sends jobs from 1000 on, one after the other, in a thread."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self.confirmed: list[int] = []
        self.in_doubt: list[int] = []
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        number = 1000
        while not self._stop.wait(0.002):
            try:
                self._site.quick.send(number)
                self.confirmed.append(number)
            except redis.RedisError:
                self.in_doubt.append(number)
            number += 1

    def run(self, seconds: float) -> None:
        time.sleep(seconds)
        assert self._thread.is_alive()

    def stop(self) -> tuple[list[int], list[int]]:
        self._stop.set()
        self._thread.join(20)
        return self.confirmed, self.in_doubt
