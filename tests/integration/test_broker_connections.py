"""TLS, a user of few rights, sockets, a Sentinel: there and back, and a death that is noticed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message
from redis.sentinel import Sentinel as SentinelClient

from littleq.backends import backend_for
from littleq.backends.redis.broker import RedisBroker
from tests.conftest import free_port
from tests.servers import Sentinel, make_own_server, need
from tests.support import ROOT, eventually

__all__ = ["make_own_server"]

SECRET = "p@ss/w:rd"
RIGHTS = "~dramatiq* ~littleq:* +@read +@write +@connection +@scripting +time +info"

#: A process that takes a job, says so, and is killed.
HOLDER = """
import os, sys, time
from littleq.backends.redis.broker import RedisBroker
if sys.argv[1].startswith("sentinel:"):
    from redis.sentinel import Sentinel
    client = Sentinel([("127.0.0.1", int(sys.argv[1][9:]))]).master_for("main")
    broker = RedisBroker(client=client)
else:
    broker = RedisBroker(url=sys.argv[1])
consumer = broker.consume("q", prefetch=2, timeout=100)
while next(consumer) is None: pass
print(broker.watch.pid, flush=True)
time.sleep(60)
"""


def there_and_back(place: str, broker: RedisBroker) -> None:
    """A job done, a job delayed and cancelled, a job whose worker is killed."""
    broker.enqueue(Message("q", "actor", (1,), {}, {}))
    consumer: Any = broker.consume("q", prefetch=2, timeout=100)
    message = eventually(lambda: next(consumer))
    consumer.ack(message)
    broker.enqueue(Message("q", "actor", (2,), {}, {}, message_id="late"), delay=60_000)
    assert broker.cancel("q", "late") == 1
    assert next(consumer) is None
    consumer.close()
    broker.enqueue(Message("q", "actor", (3,), {}, {}))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert holder.stdout is not None
    watcher = int(holder.stdout.readline())
    assert SECRET not in Path(f"/proc/{watcher}/cmdline").read_text()
    holder.kill()
    _, said = holder.communicate()
    assert SECRET not in said
    eventually(lambda: broker.client.llen("dramatiq:q") == 1, seconds=5, what="the watcher to bring it back")
    truth = backend_for(broker).inspector.truth(["q"])["q"]
    assert truth.accounts is not None
    assert (truth.ready, truth.accounts.done, truth.accounts.purged, truth.imbalance) == (1, 1, 1, 0)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_user_with_the_documented_rights(make_own_server: Callable[..., Any], scheme: str) -> None:
    server = make_own_server(tcp=True)
    server.client.execute_command("ACL", "SETUSER", "worker", "on", f">{SECRET}", *RIGHTS.split())
    place = f"{scheme}://worker:p%40ss%2Fw%3Ard@127.0.0.1:{server.port}/0"
    there_and_back(place, RedisBroker(url=place, watch=False))


@pytest.mark.parametrize("scheme", ["unix", "valkey+unix"])
def test_a_unix_socket(make_own_server: Callable[..., Any], scheme: str) -> None:
    place = f"{scheme}://{make_own_server().socket}"
    there_and_back(place, RedisBroker(url=place, watch=False))


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_tls(make_own_server: Callable[..., Any], tmp_path: Path, scheme: str) -> None:
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    port, certificate = free_port(), str(tmp_path / "cert.pem")
    make_own_server(
        need("redis-7"),
        tls_port=str(port),
        tls_cert_file=certificate,
        tls_key_file=str(tmp_path / "key.pem"),
        tls_ca_cert_file=certificate,
        tls_auth_clients="no",
    )
    place = f"{scheme}://localhost:{port}/0?ssl_ca_certs={certificate}"
    there_and_back(place, RedisBroker(url=place, watch=False))


def test_a_sentinel_and_its_failover(make_own_server: Callable[..., Any], tmp_path: Path) -> None:
    primary = make_own_server(tcp=True)
    replica = make_own_server(tcp=True, replicaof=f"127.0.0.1 {primary.port}")
    sentinel = Sentinel(need("valkey-9"), tmp_path, primary=primary.port).start()
    try:
        client = SentinelClient([("127.0.0.1", sentinel.port)], socket_timeout=2).master_for("main")
        broker = RedisBroker(client=client, watch=False)
        there_and_back(f"sentinel:{sentinel.port}", broker)
        eventually(lambda: replica.client.llen("dramatiq:q") == 1, what="replication")
        eventually(
            lambda: sentinel.client.execute_command("SENTINEL", "replicas", "main"), what="the replica"
        )
        primary.kill()
        eventually(
            lambda: replica.client.role()[0] in (b"master", "master"), seconds=30, what="the promotion"
        )

        def sent() -> bool:
            try:
                broker.enqueue(Message("q", "actor", (4,), {}, {}))
            except Exception:
                return False
            return True

        eventually(sent, seconds=30, what="a send to the new primary")
        consumer: Any = broker.consume("q", prefetch=4, timeout=100)
        taken = [eventually(lambda: next(consumer)).args for _ in range(2)]
        assert taken == [(3,), (4,)]
        consumer.close()
    finally:
        sentinel.kill()
