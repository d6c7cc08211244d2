"""A replica is promoted: by Sentinels when the primary dies under load, and by hand behind one address."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from littleq.backends.redis.urls import is_at, redis_client
from littleq.errors import ConfigurationError
from tests.proxy import Proxy
from tests.servers import MakeServer, Sentinel, Server, make_own_server, need
from tests.sites import Load, MakeSite, consumers_said, make_site
from tests.support import eventually

__all__ = ["make_own_server", "make_site"]

PROMOTION_SECONDS = 10.0


def replicated(primary: Server, replica: Server) -> Callable[[], bool]:
    def check() -> bool:
        offset = primary.client.info("replication")["master_repl_offset"]
        found = replica.client.info("replication")
        return found.get("master_link_status") == "up" and found["slave_repl_offset"] >= offset

    return check


@pytest.fixture
def pair(make_own_server: MakeServer) -> tuple[Server, Server]:
    primary = make_own_server(tcp=True, repl_diskless_sync_delay="0")
    replica = make_own_server(tcp=True, replicaof=f"127.0.0.1 {primary.port}")
    eventually(replicated(primary, replica), what="replication")
    return primary, replica


def test_sentinels_promote_a_replica_under_load(
    pair: tuple[Server, Server], make_site: MakeSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first Sentinel of the URL is down as well. What was not replicated yet may be gone; nothing older is."""
    primary, replica = pair
    sentinel = Sentinel(need("valkey-9"), tmp_path, primary=primary.port)
    try:
        sentinel.start()
        eventually(
            lambda: sentinel.client.execute_command("SENTINEL", "replicas", "main"), what="the replica"
        )
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main/0?socket_timeout=1"
        site = make_site(server=replica, url=url)
        site.work()
        load = Load(site)
        load.run(0.5)
        eventually(replicated(primary, replica), what="replication")
        safe = len(load.confirmed)
        primary.kill()
        site.go.set()
        eventually(lambda: len(load.confirmed) > safe + 100, PROMOTION_SECONDS, "sends to the new primary")
        confirmed, _ = load.stop()
        site.goes_on()
        assert all(site.runs[number] for number in confirmed[:safe])
        lost = [number for number in confirmed if not site.runs[number]]
        assert len(lost) <= 20, lost  # what one sender sent in the last milliseconds
        assert site.app.truth().imbalance == 0
        away, back = consumers_said(caplog)
        assert away.startswith("Queue 'q': ") and len(away) < 250
        assert back.startswith("Queue 'q': the server is back after")
        site.app.close()
        site.app.workers.clear()
    finally:
        sentinel.kill()


def test_a_primary_that_is_demoted_behind_its_address(
    pair: tuple[Server, Server], make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections stay with the demoted one until it refuses: then all are closed, bells too."""
    primary, replica = pair
    proxy = Proxy(primary.port)
    site = make_site(server=replica, url=proxy.url)
    site.work()
    eventually(replicated(primary, replica), what="replication")
    replica.client.replicaof("NO", "ONE")
    proxy.lead_to(replica.port)
    primary.client.replicaof("127.0.0.1", replica.port)
    site.quick.send(50)  # refused, and repeated at the new address
    site.go.set()
    site.goes_on()
    site.nothing_is_lost_or_doubled()
    time.sleep(1)  # a bell at the wrong place would be refused by now
    assert primary.client.info("clients")["blocked_clients"] == 0
    assert len(consumers_said(caplog)) in (0, 2)
    site.app.close()
    site.app.workers.clear()
    proxy.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://db",
        "redis+sentinel://db/",
        "valkey+sentinel://:hunter/2@db:26379/main",
        "redis+sentinel://db:1,/main",
        "redis+sentinel://db/main/x",
        "redis+sentinel://:hunter2@db/main?nonsense=1",
    ],
)
def test_a_wrong_sentinel_url_ends_in_one_sentence_without_secrets(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"write \w+\+sentinel://user:password@host:26379,"
    ) as raised:
        redis_client(url)
    assert "hunter" not in str(raised.value)
    assert raised.value.__cause__ is raised.value.__context__ is None


def test_a_sentinel_url_names_a_service_and_a_database() -> None:
    client: Any = redis_client("redis+sentinel://me:p%40ss@a,[::1]:5/main/3?ssl=true&sentinel_password=s")
    options = client.connection_pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("me", "p@ss", 3)
    assert "SSL" in client.connection_pool.connection_class.__name__
    nodes = [
        node.connection_pool.connection_kwargs for node in client.connection_pool.sentinel_manager.sentinels
    ]
    assert [(node["host"], node["port"], node["password"]) for node in nodes] == [
        ("a", 26379, "s"),
        ("::1", 5, "s"),
    ]
    assert is_at(client, "valkey+sentinel://b,a/main/3")
    assert not is_at(client, "valkey+sentinel://b,a/main/2")
    assert not is_at(client, "valkey+sentinel://b,c/main/3")
    assert not is_at(client, "redis://a:26379/3")
