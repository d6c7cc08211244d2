"""Which errors of a RabbitMQ server pass by themselves, how an operator reads about them, and how Dramatiq is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dramatiq.errors import ConnectionClosed
from pika import exceptions

from littleq.backends.trouble import Trouble

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


#: What the server means, by what pika raises; the first that fits counts.
_MEANINGS: tuple[tuple[type[BaseException], frozenset[int], Trouble], ...] = (
    *(
        (kind, frozenset[int](), Trouble("refuses this user or its password", "correct them in url"))
        for kind in (exceptions.ProbableAuthenticationError, exceptions.AuthenticationError)
    ),
    *(
        (
            kind,
            codes,
            Trouble(
                "has no such virtual host, or does not let this user into it",
                "correct what follows the port in url, or give the user rights (rabbitmqctl set_permissions)",
            ),
        )
        for kind, codes in (
            (exceptions.ProbableAccessDeniedError, frozenset[int]()),
            (exceptions.ConnectionClosedByBroker, frozenset({403, 530})),
        )
    ),
    (
        exceptions.ChannelClosedByBroker,
        frozenset({403}),
        Trouble("refuses this user a right ({said})", "docs/rabbitmq.md lists the rights that a user needs"),
    ),
    (
        exceptions.ConnectionBlockedTimeout,
        frozenset(),
        Trouble("takes no messages in (an alarm: memory or disk)", "`rabbitmqctl status` says what is short"),
    ),
    (
        exceptions.IncompatibleProtocolError,
        frozenset(),
        Trouble("does not speak AMQP", "look at the port in url: 5672, or 5671 for amqps://"),
    ),
)


def trouble(error: BaseException) -> Trouble | None:
    """What is wrong with the server, and what to do; None: it is no error of the server's."""
    if isinstance(error, ConnectionClosed) and error.__context__ is not None:
        error = error.__context__
    if not isinstance(error, (exceptions.AMQPError, ConnectionClosed)):
        return None
    for kind, codes, (what, do) in _MEANINGS:
        if isinstance(error, kind) and (not codes or getattr(error, "reply_code", None) in codes):
            return Trouble(what.format(said=getattr(error, "reply_text", "").rstrip(".")), do)
    root = _root(error)
    if isinstance(root, TimeoutError) or "Timeout" in type(root).__name__:
        return Trouble("does not answer")
    said = (root.strerror if isinstance(root, OSError) else None) or str(root) or type(root).__name__
    return Trouble(f"is away ({said.rstrip('.')})")


def _root(error: BaseException) -> BaseException:
    """What is inside the layers that pika puts around an error."""
    for _ in range(10):
        inner = getattr(error, "exception", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _said(error: BaseException) -> str:
    """What pika has to tell. It never holds a password: pika's errors name hosts, codes and what the server said."""
    text = str(error)
    cause = error.args[0] if error.args else None
    if not text and cause is not None:
        text = repr(cause)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
