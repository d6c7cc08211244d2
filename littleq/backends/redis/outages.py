"""Which errors of a Redis server pass by themselves, and how Dramatiq is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from dramatiq.errors import ConnectionClosed

#: "Not now": the server is away, loading, read-only after a failover, out of memory, or its cluster is down.
_TRANSIENT: tuple[type[BaseException], ...] = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
)
#: The same, where redis-py has no class for what the server says.
_TRANSIENT_WORDS = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "UNKILLABLE", "BUSY ")


def is_transient(error: BaseException) -> bool:
    """Whether trying again later may help."""
    return isinstance(error, _TRANSIENT) or (
        isinstance(error, redis.ResponseError) and str(error).startswith(_TRANSIENT_WORDS)
    )


@contextmanager
def in_dramatiqs_words() -> Iterator[None]:
    """Raise what passes by itself as the `BrokerConnectionError` that Dramatiq waits and tries again for."""
    try:
        yield
    except redis.RedisError as error:
        if is_transient(error):
            raise ConnectionClosed(error) from None
        raise
