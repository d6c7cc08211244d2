"""Why a Kafka server cannot be used: a question that fails says only that it does.

What librdkafka meets when it connects (nobody listens, a wrong password, a certificate) it tells to a callback, not to
whoever waits. So it is asked once more then, by a client that lives for nothing else.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from dramatiq.errors import ConnectionClosed

from littleq.backends.kafka.outages import RIGHTS, kafka_error
from littleq.backends.kafka.urls import Address
from littleq.backends.trouble import Trouble

#: How long a client may try to connect, in seconds; the first error that says why ends it.
CONNECT_SECONDS: Final = 1.5
#: An answer is used for so long, in seconds: several readers a second must not ask each.
KEEP_SECONDS: Final = 10.0
#: Nobody can tell from these what is wrong.
_VAGUE: Final = frozenset(
    {
        *(KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._WAIT_COORD),
        *(KafkaError._TIMED_OUT_QUEUE, KafkaError._MSG_TIMED_OUT, KafkaError.REQUEST_TIMED_OUT),
    }
)
#: `sasl_ssl://db:9093/bootstrap: Connect to ipv4#10.0.0.1:9093 failed: Connection refused (after 0ms in state …)`
_REFUSED: Final = re.compile(r"failed: (?P<said>[^(]+?)(?: \(|$)")
_DETAILS: Final = re.compile(r"^\S+:\d+/\w+: | \(after \d+ms in state \w+.*$")


class Diagnosis:
    """What is wrong with the servers of one address."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._known: tuple[float, KafkaError | None] = float("-inf"), None

    def trouble(self, error: BaseException) -> Trouble | None:
        """What is wrong, and what to do; None: it is no error of the server's."""
        if isinstance(error, ConnectionClosed) and error.__context__ is not None:
            error = error.__context__
        found = kafka_error(error)
        if found is None:
            return Trouble("does not answer") if isinstance(error, TimeoutError) else None
        if found.code() in _VAGUE:
            found = self._why() or found
        return in_words(found)

    def _why(self) -> KafkaError | None:
        asked_at, known = self._known
        if time.monotonic() - asked_at > KEEP_SECONDS:
            known = _met(self._address)
            self._known = time.monotonic(), known
        return known


def _met(address: Address) -> KafkaError | None:
    """The first thing that goes wrong when one connects; None: nothing does."""
    met: list[KafkaError] = []
    client: Any = Producer({**address.admin(), "error_cb": met.append})
    deadline = time.monotonic() + CONNECT_SECONDS
    while time.monotonic() < deadline:
        client.poll(0.05)
        told = [error for error in met if error.code() != KafkaError._ALL_BROKERS_DOWN]
        if told:
            return told[0]
        try:
            client.list_topics("", timeout=0.01)
        except KafkaException:
            continue
        break
    return None


#: By code; `{said}` is librdkafka's word for it.
_MEANINGS: Final[dict[int, Trouble]] = {
    **dict.fromkeys(
        (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED),
        Trouble(
            "refuses these credentials ({said})", "correct the user, the password and sasl.mechanism in url"
        ),
    ),
    **dict.fromkeys(
        (code for code in RIGHTS if code != KafkaError.SASL_AUTHENTICATION_FAILED),
        Trouble("refuses this user a right ({said})", "docs/kafka.md lists the rights that a user needs"),
    ),
    KafkaError._SSL: Trouble(
        "cannot be reached by TLS ({said})", "look at security.protocol and ssl.ca.location in url"
    ),
    KafkaError._RESOLVE: Trouble("is not found ({said})", "correct the host in url"),
    **dict.fromkeys(_VAGUE, Trouble("does not answer")),
    KafkaError._TRANSPORT: Trouble("is away ({said})"),
}
_OTHER: Final = Trouble("cannot do what it is asked ({said})", "docs/kafka.md says what a server must have")


def in_words(error: KafkaError) -> Trouble:
    """What an error of librdkafka's means.

    >>> in_words(KafkaError(KafkaError._TRANSPORT, "a:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: Refused (after)"))
    Trouble(what='is away (Refused)', do='start it, or name another with --url')
    """
    refused = _REFUSED.search(error.str())
    said = refused["said"] if refused else _DETAILS.sub("", error.str()).rstrip(".")
    what, do = _MEANINGS.get(error.code(), _OTHER)
    return Trouble(what.format(said=said or error.name()), do)
