"""Brokers behind one contract: `backend_for` finds the backend of a broker, `build_broker` makes a broker
from a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from littleq.backends.base import Backend, backend_for
from littleq.errors import ConfigurationError

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config

__all__ = ["Backend", "backend_for", "build_broker"]


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
