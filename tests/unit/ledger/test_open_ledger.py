"""Which ledger a configuration means. No server is asked: a client connects at its first command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis, SSLConnection, UnixDomainSocketConnection

from littleq.backends.redis.urls import SCHEMES, redis_client
from littleq.config import Config
from littleq.errors import ConfigurationError
from littleq.ledger import MemoryLedger, in_memory, open_ledger, unshared_problem
from littleq.ledger.redis import RedisLedger


def client_of(ledger: object) -> Redis:
    assert isinstance(ledger, RedisLedger)
    return ledger._client


def connection_of(client: Redis) -> dict[str, Any]:
    return dict(client.connection_pool.connection_kwargs)


@pytest.mark.parametrize("url", ["memory://", "stub://"])
def test_in_memory_all_of_a_namespace_share_one_ledger(url: str) -> None:
    one = open_ledger(Config(ledger_url=url, namespace="one"))
    assert isinstance(one, MemoryLedger)
    assert open_ledger(Config(ledger_url=url, namespace="one")) is one
    assert open_ledger(Config(ledger_url=url, namespace="two")) is not one


def test_the_ledger_is_where_the_broker_is_unless_it_is_named() -> None:
    assert isinstance(open_ledger(Config(url="stub://")), MemoryLedger)
    found = open_ledger(Config(url="stub://", ledger_url="redis://db:6380/3"))
    assert {key: connection_of(client_of(found))[key] for key in ("host", "port", "db")} == {
        "host": "db",
        "port": 6380,
        "db": 3,
    }


def test_a_dead_server_holds_nobody_for_long() -> None:
    options = connection_of(client_of(open_ledger(Config(url="redis://db"))))
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2.0, 2.0)
    assert options["retry"].get_retries() == 1


def test_the_url_has_the_last_word() -> None:
    options = connection_of(client_of(open_ledger(Config(url="redis://db?socket_timeout=5"))))
    assert options["socket_timeout"] == 5.0


def test_an_embedded_server_is_joined_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[Path | None] = []

    def connect_embedded(data_dir: Path | None = None) -> str:
        joined.append(data_dir)
        return "unix:///run/littleq.sock"

    monkeypatch.setattr("littleq.backends.redis.urls.connect_embedded", connect_embedded)
    found = open_ledger(Config(url="embedded://"))
    open_ledger(Config(url="embedded:///srv/jobs"))
    assert connection_of(client_of(found))["path"] == "/run/littleq.sock"
    assert joined == [None, Path("/srv/jobs")]


@pytest.mark.parametrize("url", ["amqp://rabbit", "amqps://rabbit", "sqs://eu-west-1", "kafka://broker:9092"])
def test_a_broker_that_keeps_none_has_it_in_memory_or_where_it_is_named(url: str) -> None:
    one = open_ledger(Config(url=url, namespace="one"))
    assert isinstance(one, MemoryLedger)
    assert open_ledger(Config(url=url, namespace="one")) is one
    assert in_memory(Config(url=url))
    named = Config(url=url, ledger_url="redis://db")
    assert isinstance(open_ledger(named), RedisLedger)
    assert not in_memory(named)


@pytest.mark.parametrize(
    ("url", "ledger_url", "why"),
    [
        ("amqp://me:hunter2@rabbit", None, "amqp:// keeps none and ledger_url is not set"),
        ("kafka://broker?sasl.password=hunter2", "memory://", "ledger_url is memory://"),
        ("redis://me:hunter2@db", "stub://", "ledger_url is stub://"),
    ],
)
def test_who_must_see_others_is_told_why_it_cannot(url: str, ledger_url: str | None, why: str) -> None:
    problem = unshared_problem(Config(url=url, ledger_url=ledger_url), "a monitor")
    assert problem is not None
    assert f"({why}), where a monitor sees nothing" in problem
    assert "LITTLEQ_LEDGER_URL" in problem
    assert "embedded://" in problem
    assert "hunter2" not in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "redis://db"},
        {"url": "stub://"},
        {"url": "stub://", "ledger_url": "memory://"},
        {"url": "sqs://eu-west-1", "ledger_url": "embedded://"},
    ],
)
def test_a_shared_ledger_and_a_queue_in_one_process_are_no_problem(settings: dict[str, str]) -> None:
    assert unshared_problem(Config(**settings), "a monitor") is None  # type: ignore[arg-type]


@pytest.mark.parametrize("ledger_url", ["amqp://me:hunter2@rabbit:5672", "hunter2@db:6379"])
def test_other_places_are_refused_in_one_sentence_without_the_url(ledger_url: str) -> None:
    config: Any = SimpleNamespace(url="redis://db", ledger_url=ledger_url, namespace="dramatiq")
    with pytest.raises(ConfigurationError, match="set ledger_url to") as refusal:
        open_ledger(config)
    assert "hunter2" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://db:6380/2", {"host": "db", "port": 6380, "db": 2}),
        ("valkey://me:p%40ss@db", {"host": "db", "username": "me", "password": "p@ss"}),
        ("unix:///run/valkey.sock?db=1", {"path": "/run/valkey.sock", "db": 1}),
        ("valkey+unix:///run/valkey.sock", {"path": "/run/valkey.sock"}),
        ("redis+unix:///run/redis.sock", {"path": "/run/redis.sock"}),
        ("unix:///home/jobs%20of%20mine/valkey.sock", {"path": "/home/jobs of mine/valkey.sock"}),
    ],
)
def test_each_scheme_reaches_its_server(url: str, expected: dict[str, object]) -> None:
    options = connection_of(redis_client(url))
    assert {key: options[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("scheme", "connection"),
    [("rediss", SSLConnection), ("valkeys", SSLConnection), ("unix", UnixDomainSocketConnection)],
)
def test_the_scheme_decides_about_tls_and_sockets(scheme: str, connection: type) -> None:
    assert issubclass(redis_client(f"{scheme}://db/0").connection_pool.connection_class, connection)


def test_options_reach_the_client_and_a_broker_may_choose_its_own_retries() -> None:
    options = connection_of(redis_client("redis://db", socket_timeout=7.0, retry=None))
    assert (options["socket_timeout"], options["retry"]) == (7.0, None)


@pytest.mark.parametrize("url", ["http://db", "db:6379", "", "redis:db", *(scheme for scheme in SCHEMES)])
def test_what_is_no_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis://"):
        redis_client(url)


@pytest.mark.parametrize(
    "url",
    ["redis://:hunter2:6379@db:port", "redis://me:hun#ter2@db", "redis://[hunter2", "redis://db?db=hunter2"],
)
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    try:
        redis_client(url)
    except ConfigurationError as error:
        chain = f"{error} {error.__cause__} {error.__context__ if not error.__suppress_context__ else ''}"
        assert "hunter2" not in chain
        assert "percent-encoded" in chain


def test_a_lost_connection_is_tried_again_once_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times with growing pauses, redis-py's default, would hold whoever calls for many seconds."""
    attempts: list[str] = []

    def connect(self: UnixDomainSocketConnection) -> None:
        attempts.append(self.path)
        raise RedisConnectionError("no")

    monkeypatch.setattr(UnixDomainSocketConnection, "_connect", connect)
    monkeypatch.setattr("redis.retry.sleep", _fail)
    with pytest.raises(RedisConnectionError):
        redis_client("unix:///nowhere").ping()
    assert 1 < len(attempts) <= 4  # redis-py retries the command, and each time the connection


def _fail(seconds: float) -> Callable[[], None]:
    raise AssertionError(f"it slept for {seconds} s")
