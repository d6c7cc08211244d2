"""RabbitMQ: a broker of our own on Dramatiq's, with pika."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from littleq.errors import ConfigurationError

try:
    import pika  # noqa: F401
except ImportError:
    raise ConfigurationError(
        "RabbitMQ needs the client pika, which is not installed: pip install 'littleq[rabbitmq]'."
    ) from None

from littleq.backends.base import Backend
from littleq.backends.rabbitmq.broker import RabbitmqBroker
from littleq.backends.rabbitmq.capabilities import RABBITMQ
from littleq.backends.rabbitmq.dead_letters import RabbitmqDeadLetters
from littleq.backends.rabbitmq.inspector import RabbitmqInspector, RabbitmqSchedule
from littleq.backends.rabbitmq.outages import is_transient, trouble
from littleq.backends.rabbitmq.urls import SCHEMES, is_same_server, shown
from littleq.backends.trouble import in_plain_words

if TYPE_CHECKING:
    from littleq.config import Config

__all__ = ["SCHEMES", "RabbitmqBroker", "build_rabbitmq_broker", "rabbitmq_backend"]


def build_rabbitmq_broker(config: Config) -> RabbitmqBroker:
    """LittleQ's RabbitmqBroker on the server of `config.url`. It connects when it is used."""
    return RabbitmqBroker(url=config.url, namespace=config.namespace)


def rabbitmq_backend(broker: RabbitmqBroker) -> Backend:
    """The backend of a RabbitmqBroker."""
    backend = Backend(
        name="rabbitmq",
        inspector=RabbitmqInspector(broker),
        dead_letters=RabbitmqDeadLetters(broker),
        exact_depth=False,
        is_transient=is_transient,
        extend=broker.configure,
        capabilities=RABBITMQ,
        bounded=True,
        schedule=RabbitmqSchedule(broker),
        controls=None,
        ping=broker.ping,
        serves=partial(is_same_server, broker.parameters),
    )
    return in_plain_words(backend, shown(broker.parameters), trouble)
