"""Redis and Valkey: a broker of our own, Dramatiq's, and an embedded server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from littleq.backends.base import Backend
from littleq.backends.redis import stock
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.capabilities import OURS, STOCK
from littleq.backends.redis.dead_letters import RedisDeadLetters
from littleq.backends.redis.inspector import RedisInspector
from littleq.backends.redis.outages import is_transient
from littleq.backends.redis.schedule import RedisSchedule
from littleq.backends.redis.urls import SCHEMES, is_at, sibling

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker as DramatiqRedisBroker

    from littleq.config import Config

#: A server that does not answer a ping within this is away, in seconds: a client of the app's may have no timeout.
PING_SECONDS = 2.0

__all__ = ["SCHEMES", "RedisBroker", "build_redis_broker", "redis_backend"]


def build_redis_broker(config: Config) -> RedisBroker:
    """LittleQ's RedisBroker on the server of `config.url`, which `embedded://` starts if it must."""
    return RedisBroker(
        url=config.url,
        namespace=config.namespace,
        heartbeat_timeout=round(config.heartbeat_timeout_seconds * 1000),
    )


def redis_backend(broker: DramatiqRedisBroker) -> Backend:
    """The backend of a RedisBroker, ours or Dramatiq's."""
    ours = broker if isinstance(broker, RedisBroker) else None
    timeouts = {"socket_timeout": PING_SECONDS, "socket_connect_timeout": PING_SECONDS}
    return Backend(
        name="redis",
        inspector=RedisInspector(broker),
        dead_letters=RedisDeadLetters(broker),
        exact_depth=False,
        is_transient=is_transient,
        extend=partial(stock.extend, broker) if ours is None else ours.configure,
        capabilities=STOCK if ours is None else OURS,
        bounded=ours is not None,
        schedule=None if ours is None else RedisSchedule(ours),
        controls=ours,
        ping=sibling(broker.client, **timeouts).ping,
        serves=partial(is_at, broker.client),
    )
