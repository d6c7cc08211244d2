"""Brokers behind one contract: `backend_for` finds the backend of a broker, `build_broker` makes a broker
from a URL.

Each kind of broker is a row of `KINDS`. What it needs is imported when such a broker is used, and not before: an app
on Redis needs no client of RabbitMQ.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from littleq.backends.base import Backend
from littleq.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config

__all__ = ["KINDS", "Backend", "Kind", "backend_for", "build_broker", "kind_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of broker; its package `littleq.backends.<name>` has `<name>_backend` and `build_<name>_broker`.

    Attributes:
        schemes: of the URLs that mean it.
        broker: module and name of the class whose instances it serves.
        extra: what brings its client (`pip install 'littleq[extra]'`); None: the core install.
        stock: module and name of a class of others for the same server, in whose place `broker` is to be used.
    """

    name: str
    schemes: tuple[str, ...]
    broker: tuple[str, str]
    extra: str | None = None
    stock: tuple[str, str] | None = None


KINDS: Final = (
    Kind(
        "redis",
        (
            *("embedded", "redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"),
            *("redis+sentinel", "valkey+sentinel"),
        ),
        ("dramatiq.brokers.redis", "RedisBroker"),
    ),
    Kind(
        "rabbitmq",
        ("amqp", "amqps"),
        ("littleq.backends.rabbitmq", "RabbitmqBroker"),
        "rabbitmq",
        ("dramatiq.brokers.rabbitmq", "RabbitmqBroker"),
    ),
    Kind("sqs", ("sqs",), ("littleq.backends.sqs", "SQSBroker"), "sqs", ("dramatiq_sqs.broker", "SQSBroker")),
    Kind("kafka", ("kafka",), ("littleq.backends.kafka", "KafkaBroker"), "kafka"),
    Kind("stub", ("stub",), ("dramatiq.brokers.stub", "StubBroker")),
)


def kind_of(url: str) -> Kind | None:
    """The kind of broker that a URL means, by its scheme."""
    scheme = urlsplit(url).scheme
    return next((kind for kind in KINDS if scheme in kind.schemes), None)


def backend_for(broker: Broker) -> Backend:
    """The backend of a Dramatiq broker.

    Raises:
        BackendError: LittleQ has none for this class of broker.
    """
    for kind in KINDS:
        if _is_instance(broker, kind.broker):
            backend: Backend = getattr(_package(kind), f"{kind.name}_backend")(broker)
            return backend
    found = f"{type(broker).__module__}.{type(broker).__qualname__}"
    for kind in KINDS:
        if kind.stock is not None and _is_instance(broker, kind.stock):
            raise BackendError(
                f"LittleQ cannot keep its promises on {found}: use {'.'.join(kind.broker)} in its place."
            )
    raise BackendError(
        f"LittleQ has no backend for {found}: use dramatiq's RedisBroker or StubBroker, or a subclass of one, or "
        f"{', '.join('.'.join(kind.broker) for kind in KINDS if kind.extra)}."
    )


def build_broker(config: Config) -> Broker:
    """A Dramatiq broker for `config.url`, with Dramatiq's own middlewares and nothing of LittleQ's.

    Raises:
        ConfigurationError: no broker is known for the URL's scheme, or the extra that it needs is not installed.
    """
    kind = kind_of(config.url)
    if kind is None:
        legal = [f"{scheme}://" for kind in KINDS for scheme in kind.schemes]
        raise ConfigurationError(
            f"url has the scheme {urlsplit(config.url).scheme!r}, which names no broker: use {', '.join(legal[:-1])} "
            f"or {legal[-1]}."
        )
    broker: Broker = getattr(_package(kind), f"build_{kind.name}_broker")(config)
    return broker


def _is_instance(broker: Broker, place: tuple[str, str]) -> bool:
    """Whether it is one of this class, without importing it: where nobody has, there is no instance."""
    module, name = place
    known = getattr(sys.modules.get(module), name, None)
    return isinstance(known, type) and isinstance(broker, known)


def _package(kind: Kind) -> Any:
    """`littleq.backends.<name>`.

    Raises:
        ConfigurationError: its client is not installed.
    """
    try:
        return import_module(f"littleq.backends.{kind.name}")
    except ImportError as error:
        if kind.extra is None or (error.name or "").startswith("littleq"):
            raise
        raise ConfigurationError(
            f"A broker at {kind.schemes[0]}:// needs the package {error.name}, which is not installed: "
            f"pip install 'littleq[{kind.extra}]'."
        ) from None
