"""Redis and Valkey: Dramatiq's RedisBroker on any server, and an embedded one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from littleq.backends.base import Backend
from littleq.backends.redis.dead_letters import RedisDeadLetters
from littleq.backends.redis.inspector import RedisInspector
from littleq.backends.redis.outages import is_transient
from littleq.backends.redis.stock import extend
from littleq.backends.redis.urls import SCHEMES, redis_client

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker

    from littleq.config import Config

__all__ = ["SCHEMES", "build_redis_broker", "redis_backend"]

#: A worker not heard of for this long is dead, in milliseconds (Dramatiq: 60 s).
HEARTBEAT_TIMEOUT_MS = 15_000
#: Commands out of a million that look for dead workers (Dramatiq: 1000, minutes on a quiet system). An idle
#: consumer's polls alone are several a second, so with this a look is due within seconds.
MAINTENANCE_CHANCE = 50_000
#: A server that does not answer for this long is away, in seconds; without a bound a cut network holds a
#: thread for ever.
SOCKET_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0


def build_redis_broker(config: Config) -> RedisBroker:
    """Dramatiq's RedisBroker on the server of `config.url`, which `embedded://` starts if it must."""
    from dramatiq.brokers.redis import RedisBroker

    return RedisBroker(
        client=redis_client(
            config.url,
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_keepalive=True,
        ),
        namespace=config.namespace,
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
    )


def redis_backend(broker: RedisBroker) -> Backend:
    """The backend of a RedisBroker."""
    return Backend(
        name="redis",
        inspector=RedisInspector(broker),
        dead_letters=RedisDeadLetters(broker),
        exact_depth=False,
        is_transient=is_transient,
        extend=partial(extend, broker),
    )
