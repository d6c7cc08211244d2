"""Which errors of a RabbitMQ server pass by themselves, how an operator reads about them, and how Dramatiq is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dramatiq.errors import ConnectionClosed
from pika import exceptions

#: What pika raises where the server, or the way to it, is at fault.
ERRORS = (exceptions.AMQPConnectionError, exceptions.AMQPChannelError)
#: Why the server closes a channel for good: no right, and a feature that it lacks.
_FOR_GOOD = frozenset({403, 540})
_TIMED_OUT = "delivery acknowledgement"

BLOCKED = (
    "RabbitMQ takes no messages in: it is short of memory or disk (an alarm). Jobs that are in are safe and workers go "
    "on; `rabbitmqctl status` says what is short"
)


def is_transient(error: BaseException) -> bool:
    """Whether trying again later may help."""
    if isinstance(error, exceptions.ChannelClosedByBroker):
        return error.reply_code not in _FOR_GOOD
    return isinstance(error, (*ERRORS, ConnectionClosed))


@contextmanager
def in_dramatiqs_words() -> Iterator[None]:
    """Raise what passes by itself as the `BrokerConnectionError` that Dramatiq waits and tries again for."""
    try:
        yield
    except ERRORS as error:
        if is_transient(error):
            raise in_words(error) from None
        raise


def in_words(error: BaseException) -> ConnectionClosed:
    """The error as Dramatiq knows it, with what an operator can do about it where pika does not say so."""
    if isinstance(error, exceptions.ConnectionBlockedTimeout):
        return ConnectionClosed(BLOCKED)
    return error if isinstance(error, ConnectionClosed) else ConnectionClosed(_said(error))


def explain(error: BaseException, queue_name: str) -> tuple[int, str]:
    """What an operator reads of an outage, and at which level."""
    said = _said(error)
    if _TIMED_OUT in said:
        return logging.WARNING, (
            f"Queue {queue_name!r}: a job took longer than the server's consumer_timeout, so the server gave all jobs "
            f"of this worker to others; they may run twice. Set consumer_timeout in rabbitmq.conf above the longest "
            f"job, or use RabbitMQ 3.12 or later ({said})"
        )
    if is_transient(error):
        return logging.WARNING, f"Queue {queue_name!r}: the server is away ({said})"
    return logging.ERROR, (
        f"Queue {queue_name!r} cannot be consumed: the server says {said}. docs/rabbitmq.md lists the rights that a "
        "user needs"
    )


def _said(error: BaseException) -> str:
    """What pika has to tell. It never holds a password: pika's errors name hosts, codes and what the server said."""
    text = str(error)
    cause = error.args[0] if error.args else None
    if not text and cause is not None:
        text = repr(cause)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
