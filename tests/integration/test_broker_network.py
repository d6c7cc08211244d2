"""A network that is cut, loudly and silently, and servers that restart under load.

`CHAOS_OUTAGE_SECONDS=30` makes the cuts as long as a switch or a failing zone does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import redis

from littleq.backends.redis import bell, consumer
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.urls import redis_client
from tests.proxy import Proxy
from tests.servers import MakeServer, Server, make_own_server
from tests.sites import Load, MakeSite, Site, consumers_said, make_site
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
    site: Site, proxy: Proxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held back arrives late: a send that raised, and a fetch that takes its job for nobody."""
    monkeypatch.setattr(consumer, "LIMBO_SECONDS", 0.5)
    site.work()
    proxy.hole()
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        site.quick.send(50)
    assert time.monotonic() - began < 1.5
    site.go.set()
    time.sleep(OUTAGE_SECONDS)
    proxy.open(late=1.0)
    site.goes_on(5)
    eventually(lambda: site.runs[50], 3, "the send that was in doubt")
    eventually(site.app.idle, 3, "its end")
    site.nothing_is_lost_or_doubled()
    away, *_ = consumers_said(caplog)
    assert away.startswith("Queue 'q': the server does not answer (TimeoutError:")


def test_a_fetch_for_nobody_comes_back(
    site: Site, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long after the outage, when everything has been compared already."""
    monkeypatch.setattr(consumer, "LIMBO_SECONDS", 0.5)
    site.work()
    site.go.set()
    eventually(site.app.idle, 5)
    near = RedisBroker(url=server.url, watch=False)
    near.broker_id = site.app.broker.broker_id
    site.app.broker.pause("q")
    near.enqueue(site.quick.message(60))
    site.app.broker.resume("q")
    near.fetch("q", 1, 0, [])
    eventually(lambda: site.runs[60], 3)
    eventually(site.app.idle, 3)
    site.nothing_is_lost_or_doubled()
    assert consumers_said(caplog) in ([], ["Queue 'q': 1 fetched jobs never came; they go back."])


def test_a_bell_that_was_cut_off_costs_a_second_and_is_replaced(
    server: Server,
    proxy: Proxy,
    make_site: MakeSite,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only the connection that waits is gone, without a word."""
    monkeypatch.setattr(bell, "ASK_SECONDS", 1.0)
    monkeypatch.setattr(bell, "LATE_SECONDS", 0.5)
    site = make_site(server=server)
    site.app.broker._bells = redis_client(proxy.url + TIMEOUTS).connection_pool
    site.go.set()
    site.work()
    proxy.hole()
    site.goes_on(1.5)
    time.sleep(1.5)
    proxy.open(late=3600)  # the old connection stays silent
    eventually(lambda: proxy.connections == 2, 5, "a new bell")
    assert consumers_said(caplog) == []


def test_a_server_killed_under_load_keeps_what_it_has_confirmed(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(appendonly="yes", appendfsync="always")
    site.work()
    load = Load(site)
    load.run(0.5)
    site.server.kill()
    site.go.set()
    load.run(0.5)
    site.server.start()
    load.run(0.5)
    confirmed, in_doubt = load.stop()
    site.goes_on()
    for number in confirmed:
        assert site.runs[number] == 1
    assert sum(site.runs[number] for number in in_doubt) <= 2 * len(in_doubt)
    site.nothing_is_lost_or_doubled()


def test_a_server_without_persistence_forgets_and_work_goes_on(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """What it had is lost, the accounts with it: they begin anew. A late ack is harmless."""
    site = make_site()
    site.work()
    site.app.broker.pause("q")
    site.quick.send(70)
    site.server.kill()
    site.server.start()
    eventually(lambda: len(consumers_said(caplog)) == 2, 5, "the end of the outage")
    site.go.set()
    site.goes_on()
    assert site.runs[70] == 0  # it waited, as the retry of -2 would have
    truth = site.app.truth()
    assert truth.accounts is not None
    assert (truth.accounts.admitted, truth.accounts.done, truth.dead, truth.imbalance) == (1, 1, 0, 0)
    assert site.runs[-1] == site.runs[-2] == site.runs[-3] == 1
