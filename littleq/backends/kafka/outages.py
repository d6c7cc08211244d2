"""Which errors of a Kafka server pass by themselves, how an operator reads about them, and how Dramatiq is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from dramatiq.errors import ConnectionClosed

#: "Not now", beside what librdkafka itself calls retriable.
_TRANSIENT: Final = frozenset(
    {
        *(
            KafkaError._TRANSPORT,
            KafkaError._ALL_BROKERS_DOWN,
            KafkaError._TIMED_OUT,
            KafkaError._MSG_TIMED_OUT,
        ),
        *(KafkaError._TIMED_OUT_QUEUE, KafkaError._QUEUE_FULL, KafkaError._RESOLVE, KafkaError._WAIT_COORD),
        *(KafkaError._WAIT_CACHE, KafkaError._PURGE_INFLIGHT, KafkaError._PURGE_QUEUE, KafkaError._DESTROY),
        *(
            KafkaError._AUTHENTICATION,
            KafkaError._SSL,
            KafkaError._STATE,
            KafkaError._FATAL,
            KafkaError._FAIL,
        ),
        *(
            KafkaError._RETRY,
            KafkaError._MAX_POLL_EXCEEDED,
            KafkaError._UNKNOWN_PARTITION,
            KafkaError._NO_OFFSET,
        ),
        *(KafkaError.REQUEST_TIMED_OUT, KafkaError.BROKER_NOT_AVAILABLE, KafkaError.LEADER_NOT_AVAILABLE),
        *(
            KafkaError.NOT_ENOUGH_REPLICAS,
            KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            KafkaError.NETWORK_EXCEPTION,
        ),
        *(
            KafkaError.NOT_LEADER_FOR_PARTITION,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.NOT_COORDINATOR,
        ),
        *(
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
            KafkaError.REBALANCE_IN_PROGRESS,
            KafkaError.ILLEGAL_GENERATION,
        ),
        *(KafkaError.UNKNOWN_MEMBER_ID, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.KAFKA_STORAGE_ERROR),
        *(KafkaError.NOT_CONTROLLER, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID),
        *(KafkaError.THROTTLING_QUOTA_EXCEEDED, KafkaError.INVALID_PRODUCER_EPOCH),
    }
)
#: Somebody must do something first; the jobs wait until then.
RIGHTS: Final = frozenset(
    {
        *(KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED),
        *(KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED),
    }
)


def kafka_error(error: BaseException | KafkaError) -> KafkaError | None:
    """The error of librdkafka's inside an exception."""
    if isinstance(error, KafkaException):
        found: Any = error.args[0] if error.args else None
        return found if isinstance(found, KafkaError) else None
    return error if isinstance(error, KafkaError) else None


def is_transient(error: BaseException | KafkaError) -> bool:
    """Whether trying again later may help."""
    found = kafka_error(error)
    if found is None:
        return isinstance(error, BufferError)
    return found.code() in _TRANSIENT or found.code() in RIGHTS or found.retriable()


@contextmanager
def in_dramatiqs_words() -> Iterator[None]:
    """Raise what passes by itself as the `BrokerConnectionError` that Dramatiq waits and tries again for."""
    try:
        yield
    except (KafkaException, BufferError) as error:
        if is_transient(error):
            raise ConnectionClosed(error) from None
        raise


def explain(error: BaseException, queue_name: str) -> tuple[int, str]:
    """What an operator reads of an outage, and at which level."""
    found = kafka_error(error)
    if found is None:
        return logging.ERROR, f"Queue {queue_name!r}: {error}"
    if found.code() in RIGHTS:
        return logging.ERROR, f"Queue {queue_name!r}: the Kafka server refuses this user: {found.str()}"
    if found.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE):
        return logging.WARNING, f"Queue {queue_name!r}: the Kafka server is away ({found.str()})"
    return logging.WARNING, f"Queue {queue_name!r}: the Kafka server says {found.name()}: {found.str()}"
