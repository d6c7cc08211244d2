"""From a URL to a client, for Redis, Valkey and what speaks their protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from littleq.backends.redis.embedded import connect_embedded, parse_embedded_url
from littleq.backends.redis.sentinels import SentinelPool, parse_sentinel_url, sentinel_place
from littleq.backends.redis.watcher import sentinel_pool
from littleq.background import survive_forks
from littleq.errors import ConfigurationError

#: Schemes that users write, and what redis-py calls them.
SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+unix": "unix",
    "valkey+unix": "unix",
    "redis+sentinel": "sentinel",
    "valkey+sentinel": "sentinel",
}


_THIS_HOST = ("localhost", "127.0.0.1", "::1")


def redis_py_url(url: str) -> str:
    """`url` with the scheme that redis-py knows it by.

    Raises:
        ConfigurationError: the scheme is none of `SCHEMES`.

    >>> redis_py_url("valkeys://db:6379/1"), redis_py_url("valkey+unix:///run/valkey.sock")
    ('rediss://db:6379/1', 'unix:///run/valkey.sock')
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        legal = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigurationError(
            f"{scheme + separator if separator else 'A URL without a scheme'} is no Redis or Valkey server: "
            f"give a URL that begins with one of {legal}."
        )
    return f"{SCHEMES[scheme]}://{rest}"


class _OwnLocks:
    """A pool whose locks are its own again in a forked child.

    redis-py empties the pool in the child, but takes the pool's lock for that, and the lock is held for ever
    if another thread of the parent used it at the moment of the fork (seen with redis-py 8.1, where `reset`
    takes it).
    """

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._fork_lock = threading.RLock()


class _Pool(_OwnLocks, redis.ConnectionPool):
    """To one address."""


class _SentinelPool(_OwnLocks, SentinelPool):
    """To where Sentinels say."""


def redis_client(url: str, **options: Any) -> redis.Redis:
    """A client with a pool of its own for `url`; connects at its first command, anew in a forked child.

    Args:
        url: with one of `SCHEMES`, its query (`?socket_timeout=5`) wins over `options`; or `embedded://…`,
            which starts the server if need be, now and whenever a connection finds it gone. With `…+sentinel://…` (see
            `littleq.backends.redis.sentinels`) each new connection asks Sentinels for the server of the day.
        options: as for `redis.Redis`. Default retry: once and at once, and only where the connection was
            lost, as a pooled one is after a restart of the server. redis-py's own default, ten times with
            growing pauses, would hold a caller for many seconds.

    Raises:
        ConfigurationError: the URL is wrong, or the embedded server's package is missing.
        BackendError: the embedded server does not start.
    """
    scheme, _, _ = url.partition("://")
    options.setdefault("retry", Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)))
    if scheme == "embedded":
        return _client(_embedded_pool(url, options))
    known = redis_py_url(url)
    pool: redis.ConnectionPool | None
    try:
        if SCHEMES[scheme] == "sentinel":
            pool = _sentinel_pool(url, options)
        else:
            pool = _Pool.from_url(known, **(_for_sockets(options) if SCHEMES[scheme] == "unix" else options))
        pool.connection_class(**pool.connection_kwargs)  # connects to nothing, but knows its options
    except (ValueError, TypeError):
        # Their messages may quote a password, where a character in the wrong place moves the URL's parts.
        pool = None
    if pool is None:
        place = (
            "host:26379,host:26379/service/database"
            if SCHEMES[scheme] == "sentinel"
            else "host:port/database"
        )
        raise ConfigurationError(
            f"The {scheme}:// URL cannot be read: write {scheme}://user:password@{place}, with special "
            "characters in the password percent-encoded and, behind a ?, only options of redis-py."
        )
    return _client(pool)


def _sentinel_pool(url: str, options: dict[str, Any]) -> redis.ConnectionPool:
    service, addresses, known, of_sentinels = parse_sentinel_url(url)
    options = {**options, **known}
    of_sentinels = {
        **{name: value for name, value in options.items() if name.startswith("socket_")},
        **of_sentinels,
    }
    manager = Sentinel([])
    manager.sentinels = [_client(_Pool(host=host, port=port, **of_sentinels)) for host, port in addresses]
    return _SentinelPool(service, manager, **options)


def sibling(client: redis.Redis, **options: Any) -> redis.Redis:
    """A client with a pool of its own for the server of `client`, with some options changed."""
    pool = client.connection_pool
    known = {key: value for key, value in pool.connection_kwargs.items() if key != "retry"}
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return _client(_Pool(connection_class=pool.connection_class, **{**known, "retry": retry, **options}))


def plain_pool(client: redis.Redis) -> tuple[Callable[..., redis.ConnectionPool], dict[str, Any]]:
    """How another process makes a pool like that of `client`: a function and options that can be pickled."""
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        options: dict[str, Any] = {
            "service": pool.service_name,
            "sentinels": [
                _plain(node.connection_pool.connection_kwargs) for node in pool.sentinel_manager.sentinels
            ],
            "connection_class": pool.connection_class,
            "options": _plain(pool.connection_kwargs),
        }
        return sentinel_pool, options
    connection_class = pool.connection_class
    if issubclass(connection_class, _EmbeddedConnection):
        connection_class = redis.UnixDomainSocketConnection
    return redis.ConnectionPool, {"connection_class": connection_class, **_plain(pool.connection_kwargs)}


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Without what redis-py adds for itself, and what lives in one process only."""
    return {
        name: value
        for name, value in options.items()
        if (
            isinstance(value, (str, bytes, int, float))
            or (name == "credential_provider" and value is not None)
        )
        and not name.startswith(("orig_", "maint_"))
    }


def is_at(client: redis.Redis, url: str) -> bool:
    """Whether `url` names the server and database of `client`. Connects to nothing."""
    scheme, _, _ = url.partition("://")
    ours = client.connection_pool.connection_kwargs
    if scheme == "embedded":
        return bool(ours.get("data_dir", ...) == parse_embedded_url(url))
    if scheme not in SCHEMES:
        return False
    pool, other = client.connection_pool, redis_client(url).connection_pool
    if isinstance(pool, SentinelConnectionPool) and isinstance(other, SentinelConnectionPool):
        service, db, sentinels = sentinel_place(pool)
        their_service, their_db, their_sentinels = sentinel_place(other)
        return (service, db) == (their_service, their_db) and bool(sentinels & their_sentinels)
    if isinstance(pool, SentinelConnectionPool) or isinstance(other, SentinelConnectionPool):
        return False
    return _place(ours) == _place(other.connection_kwargs)


def _place(options: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one database from another: a socket or an address, and its number."""
    path, db = options.get("path"), int(options.get("db") or 0)
    if path is not None:
        return path, db
    host = str(options.get("host") or "localhost")
    return ("localhost" if host in _THIS_HOST else host), int(options.get("port") or 6379), db


class _EmbeddedConnection(redis.UnixDomainSocketConnection):
    """Brings the embedded server back when it is gone: its service unit may have been stopped."""

    def __init__(self, *arguments: Any, data_dir: Path | None = None, **options: Any) -> None:
        self._data_dir = data_dir
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        try:
            return super()._connect()  # type: ignore[no-untyped-call]
        except OSError:
            connect_embedded(self._data_dir)
            return super()._connect()  # type: ignore[no-untyped-call]


def _embedded_pool(url: str, options: dict[str, Any]) -> redis.ConnectionPool:
    data_dir = parse_embedded_url(url)
    path = unquote(connect_embedded(data_dir).removeprefix("unix://"))
    return _Pool(connection_class=_EmbeddedConnection, path=path, data_dir=data_dir, **_for_sockets(options))


def _for_sockets(options: dict[str, Any]) -> dict[str, Any]:
    """Without what only TCP knows."""
    return {name: value for name, value in options.items() if name != "socket_keepalive"}


def _client(pool: redis.ConnectionPool) -> redis.Redis:
    survive_forks(pool)  # type: ignore[arg-type]
    client = redis.Redis(connection_pool=pool)
    client.auto_close_connection_pool = True  # as `Redis.from_url` has it
    return client
