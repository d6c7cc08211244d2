"""Redis and Valkey: a broker of our own, Dramatiq's, and an embedded server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from littleq.backends.base import Backend
from littleq.backends.redis import stock
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.dead_letters import RedisDeadLetters
from littleq.backends.redis.inspector import RedisInspector
from littleq.backends.redis.outages import is_transient
from littleq.backends.redis.schedule import RedisSchedule
from littleq.backends.redis.urls import SCHEMES

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker as DramatiqRedisBroker

    from littleq.config import Config

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
    is_ours = isinstance(broker, RedisBroker)
    return Backend(
        name="redis",
        inspector=RedisInspector(broker),
        dead_letters=RedisDeadLetters(broker),
        exact_depth=False,
        is_transient=is_transient,
        extend=broker.configure if isinstance(broker, RedisBroker) else partial(stock.extend, broker),
        bounded=is_ours,
        schedule=RedisSchedule(broker) if isinstance(broker, RedisBroker) else None,
        controls=broker if isinstance(broker, RedisBroker) else None,
    )
