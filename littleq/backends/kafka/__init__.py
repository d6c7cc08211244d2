"""Kafka: a broker of our own on confluent-kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

from littleq.backends.base import Backend
from littleq.errors import ConfigurationError

try:
    import confluent_kafka  # noqa: F401 - a clear word before the modules that need it
except ImportError as error:
    raise ConfigurationError(
        "Kafka needs the package confluent-kafka, which is not installed: pip install 'littleq[kafka]'."
    ) from error

from littleq.backends.kafka.broker import KafkaBroker
from littleq.backends.kafka.capabilities import CAPABILITIES
from littleq.backends.kafka.diagnosis import Diagnosis
from littleq.backends.kafka.inspector import KafkaInspector
from littleq.backends.kafka.outages import is_transient
from littleq.backends.kafka.urls import SCHEME
from littleq.backends.trouble import in_plain_words

if TYPE_CHECKING:
    from littleq.config import Config

SCHEMES = (SCHEME,)

__all__ = ["SCHEMES", "KafkaBroker", "build_kafka_broker", "kafka_backend"]


def build_kafka_broker(config: Config) -> KafkaBroker:
    """LittleQ's KafkaBroker on the servers of `config.url`."""
    return KafkaBroker(url=config.url, namespace=config.namespace)


def kafka_backend(broker: KafkaBroker) -> Backend:
    """The backend of a KafkaBroker."""
    backend = Backend(
        name="kafka",
        inspector=KafkaInspector(broker, broker.dead_letters),
        dead_letters=broker.dead_letters,
        exact_depth=False,
        is_transient=is_transient,
        extend=broker.configure,
        capabilities=CAPABILITIES,
        ping=broker.ping,
        serves=broker.address.is_at,
        most_workers=broker.partitions,
        tell_purged=broker.tell_purged,
    )
    return in_plain_words(backend, f"kafka://{broker.address.servers}", Diagnosis(broker.address).trouble)
