"""Amazon SQS, and servers that speak its protocol: a broker of our own on boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from littleq.errors import ConfigurationError

try:
    import boto3  # noqa: F401
except ImportError:
    raise ConfigurationError(
        "A broker at sqs:// needs the package boto3, which is not installed: pip install 'littleq[sqs]'."
    ) from None

import math

from littleq.backends.base import Backend
from littleq.backends.sqs.broker import SQSBroker
from littleq.backends.sqs.capabilities import capabilities_of
from littleq.backends.sqs.dead_letters import SQSDeadLetters
from littleq.backends.sqs.inspector import SQSInspector
from littleq.backends.sqs.outages import SQSError, is_transient, trouble
from littleq.backends.sqs.urls import SCHEME, settings_of
from littleq.backends.trouble import in_plain_words
from littleq.redaction import redact_url

if TYPE_CHECKING:
    from littleq.config import Config

SCHEMES = (SCHEME,)

__all__ = ["SCHEMES", "SQSBroker", "SQSError", "build_sqs_broker", "sqs_backend"]


def build_sqs_broker(config: Config) -> SQSBroker:
    """LittleQ's SQSBroker at `config.url`."""
    return SQSBroker(
        url=config.url,
        namespace=config.namespace,
        visibility=math.ceil(config.heartbeat_timeout_seconds),
    )


def sqs_backend(broker: SQSBroker) -> Backend:
    """The backend of an SQSBroker."""
    own = broker.settings
    where = f"sqs://{own.region}" + (f"?endpoint={redact_url(own.endpoint)}" if own.endpoint else "")
    backend = Backend(
        name="sqs",
        inspector=SQSInspector(broker),
        dead_letters=SQSDeadLetters(broker),
        exact_depth=False,
        is_transient=is_transient,
        extend=broker.configure,
        capabilities=capabilities_of(broker),
        ping=broker.ping,
        serves=lambda url: _serves(broker, url),
    )
    return in_plain_words(backend, where, trouble)


def _serves(broker: SQSBroker, url: str) -> bool:
    if urlsplit(url).scheme != SCHEME:
        return False
    try:
        other = settings_of(url)
    except ConfigurationError:
        return False
    own = broker.settings
    return (other.region, other.endpoint, other.profile) == (own.region, own.endpoint, own.profile)
