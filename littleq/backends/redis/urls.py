"""From a URL to a client, for Redis, Valkey and what speaks their protocol."""

from __future__ import annotations

import threading
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

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
}


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


class _Pool(redis.ConnectionPool):
    """A pool whose locks are its own again in a forked child.

    redis-py empties the pool in the child, but takes the pool's lock for that, and the lock is held for ever
    if another thread of the parent used it at the moment of the fork (seen with redis-py 8.1, where `reset`
    takes it).
    """

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._fork_lock = threading.RLock()


def redis_client(url: str, **options: Any) -> redis.Redis:
    """A client with a pool of its own for `url`; connects at its first command, anew in a forked child.

    Args:
        url: with one of `SCHEMES`. Its query (`?socket_timeout=5`) wins over `options`.
        options: as for `redis.Redis`. Default retry: once and at once, and only where the connection was
            lost, as a pooled one is after a restart of the server. redis-py's own default, ten times with
            growing pauses, would hold a caller for many seconds.

    Raises:
        ConfigurationError: the URL is wrong.
    """
    scheme, _, _ = url.partition("://")
    known = redis_py_url(url)
    options.setdefault("retry", Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)))
    try:
        pool = _Pool.from_url(known, **options)
    except (ValueError, TypeError):
        # Their messages may quote a password, where a character in the wrong place moves the URL's parts.
        pool = None
    if pool is None:
        raise ConfigurationError(
            f"The {scheme}:// URL cannot be read: write {scheme}://user:password@host:port/database, with "
            "special characters in the password percent-encoded."
        )
    survive_forks(pool)
    client = redis.Redis(connection_pool=pool)
    client.auto_close_connection_pool = True  # as `Redis.from_url` has it
    return client
