"""A network that is cut, loudly and silently, and servers that restart under load.

`CHAOS_OUTAGE_SECONDS=30` makes the cuts as long as a switch or a failing zone does.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from littleq.backends.redis import bell, consumer
from littleq.backends.redis.urls import redis_client
from tests.proxy import Proxy
from tests.servers import MakeServer, Server, make_own_server
from tests.sites import MakeSite, Site, consumers_said, make_site
from tests.support import eventually

__all__ = ["make_own_server", "make_site"]

OUTAGE_SECONDS = float(os.environ.get("CHAOS_OUTAGE_SECONDS", "4"))
TIMEOUTS = "?socket_timeout=0.5&socket_connect_timeout=0.5"


@pytest.fixture
def server(make_own_server: MakeServer) -> Server:
    return make_own_server()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    made = Proxy(str(server.socket))
    yield made
    made.close()


@pytest.fixture
def site(server: Server, proxy: Proxy, make_site: MakeSite) -> Site:
    return make_site(server=server, url=proxy.url + TIMEOUTS)


def test_a_connection_that_is_reset(site: Site, proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    site.work()
    before = site.tries()
    proxy.cut()
    with pytest.raises(redis.ConnectionError):
        site.quick.send(50)
    site.go.set()
    time.sleep(OUTAGE_SECONDS)
    assert site.tries() == before
    proxy.open()
    site.goes_on()
    site.nothing_is_lost_or_doubled()
    away, back = consumers_said(caplog)
    assert away.startswith("Queue 'q': the server is away (ConnectionError:")
    assert back.startswith("Queue 'q': the server is back after")


def test_a_network_that_swallows_everything(
    site: Site, server: Server, proxy: Proxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held back arrives late: a fetch for nobody, whose jobs come back; a send that is in doubt."""
    monkeypatch.setattr(consumer, "LIMBO_SECONDS", 0.5)
    site.work()
    proxy.hole()
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        site.quick.send(50)
    assert time.monotonic() - began < 2
    with redis_client(server.url) as near:  # jobs that the late fetch will take
        for number in range(60, 64):
            site.quick.message(number)
            site.send_by(near, number)
    site.go.set()
    time.sleep(OUTAGE_SECONDS)
    proxy.open(late=1.0)
    site.goes_on()
    eventually(lambda: all(site.runs[number] for number in range(60, 64)), 5, "the jobs in limbo")
    site.runs.setdefault(50, 0)
    assert site.runs[50] <= 1
    truth = site.app.truth()
    assert truth.imbalance == 0
    away, *_ = consumers_said(caplog)
    assert away.startswith("Queue 'q': the server does not answer (TimeoutError:")
