"""Brokers behind one contract: `backend_for` finds the backend of a broker, `build_broker` makes a broker
from a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from littleq.backends.base import Backend
from littleq.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config

__all__ = ["Backend", "backend_for", "build_broker"]


def backend_for(broker: Broker) -> Backend:
    """The backend of a Dramatiq broker.

    Raises:
        BackendError: LittleQ has none for this class of broker.
    """
    from dramatiq.brokers.stub import StubBroker

    if isinstance(broker, StubBroker):
        from littleq.backends.stub import stub_backend

        return stub_backend(broker)
    try:
        from dramatiq.brokers.redis import RedisBroker
    except ImportError:  # pragma: no cover - the core install brings redis
        pass
    else:
        if isinstance(broker, RedisBroker):
            from littleq.backends.redis import redis_backend

            return redis_backend(broker)
    raise BackendError(
        f"LittleQ has no backend for {type(broker).__module__}.{type(broker).__qualname__}: "
        "use dramatiq's RedisBroker or StubBroker, or a subclass of one."
    )


def build_broker(config: Config) -> Broker:
    """A Dramatiq broker for `config.url`, with Dramatiq's own middlewares and nothing of LittleQ's.

    Raises:
        ConfigurationError: no broker is known for the URL's scheme.
    """
    scheme = urlsplit(config.url).scheme
    if scheme == "stub":
        from dramatiq.brokers.stub import StubBroker

        return StubBroker()
    from littleq.backends.redis import SCHEMES, build_redis_broker

    schemes = ("embedded", *SCHEMES)
    if scheme in schemes:
        return build_redis_broker(config)
    raise ConfigurationError(
        f"url has the scheme {scheme!r}, which names no broker: use {', '.join(s + '://' for s in schemes)} or stub://."
    )
