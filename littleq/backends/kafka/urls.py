"""`kafka://host:9092,host2:9092?security.protocol=SASL_SSL&sasl.username=…`: addresses, and settings of librdkafka.

Settings of LittleQ's own begin with `littleq.`; they say how topics are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from littleq.errors import ConfigurationError
from littleq.redaction import redact_url

SCHEME: Final = "kafka"
_OWN: Final = "littleq."
DEFAULT_PORT: Final = 9092

#: Divides by 2, 3, 4 and 6; idle ones cost little, and they can be added but not taken away.
DEFAULT_PARTITIONS: Final = 12
#: A week: a job that nobody took for so long is deleted by the server. No longer than servers remember, by default, how
#: far a group was that has no members: forgotten earlier than the jobs, all of these would run again.
DEFAULT_RETENTION_SECONDS: Final = 7 * 86_400

#: What only a producer knows, and only a consumer: librdkafka warns of the other's settings.
_PRODUCER: Final = (
    *(
        "acks",
        "request.required.acks",
        "batch.",
        "compression.",
        "delivery.",
        "enable.idempotence",
        "linger.",
    ),
    *(
        "message.send.",
        "message.timeout",
        "partitioner",
        "queue.buffering",
        "queuing.",
        "request.timeout",
        "retries",
    ),
    *(
        "retry.backoff",
        "sticky.",
        "transaction",
        "dr_",
        "delivery.report",
        "produce.offset",
        "enable.gapless",
    ),
)
_CONSUMER: Final = (
    *(
        "allow.auto.create",
        "auto.",
        "check.crcs",
        "coordinator.",
        "enable.auto",
        "enable.partition.eof",
        "fetch.",
    ),
    *(
        "group.",
        "heartbeat.",
        "isolation.",
        "max.partition.fetch",
        "max.poll.",
        "offset.",
        "partition.assignment",
    ),
    *("queued.", "session.", "topic.metadata.propagation"),
)
#: What this broker depends on.
_FIXED: Final = frozenset(
    {
        *("bootstrap.servers", "metadata.broker.list", "group.id", "group.protocol", "group.remote.assignor"),
        *("enable.auto.commit", "enable.auto.offset.store", "enable.idempotence", "acks", "transactional.id"),
        *(
            "request.required.acks",
            "partition.assignment.strategy",
            "enable.partition.eof",
            "auto.offset.reset",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How topics are made where they are missing; what exists is only compared.

    Attributes:
        partitions: of a queue: so many processes can work on it at a time; >= 1.
        replication: copies of each record; -1: as the server has it.
        min_insync: copies that must confirm a send; None: as the server has it.
        retention: seconds until the server deletes a job that nobody took; -1: never.
    """

    partitions: int = DEFAULT_PARTITIONS
    replication: int = -1
    min_insync: int | None = None
    retention: int = DEFAULT_RETENTION_SECONDS


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and how its clients are made."""

    servers: str
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)  # a password may be among them
    topics: TopicSettings = TopicSettings()

    def producer(self, **settings: Any) -> dict[str, Any]:
        """Settings of a producer; those of the URL win."""
        return self._client(_CONSUMER, settings)

    def consumer(self, **settings: Any) -> dict[str, Any]:
        """Settings of a consumer."""
        return self._client(_PRODUCER, settings)

    def admin(self) -> dict[str, Any]:
        return self._client((*_CONSUMER, *_PRODUCER), {})

    def is_at(self, url: str) -> bool:
        """Whether a URL names a server of these."""
        parts = urlsplit(url)
        if parts.scheme != SCHEME:
            return False
        return bool({*_servers(parts.netloc).split(",")} & {*self.servers.split(",")})

    def _client(self, others: tuple[str, ...], settings: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in self.settings.items() if not name.startswith(others)}
        # librdkafka would log each attempt to connect on stderr, twenty a second: what is wrong is told by errors.
        own = {"bootstrap.servers": self.servers, "client.id": "littleq", "log_level": 0}
        return {**own, **settings, **given}


def address_of(url: str) -> Address:
    """The address in a URL.

    Raises:
        ConfigurationError: it is none of Kafka's, or has a setting that cannot be.
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME or not parts.netloc or parts.path not in ("", "/"):
        raise ConfigurationError(
            f"{redact_url(url)!r} is no address of a Kafka server: write kafka://HOST:9092, more hosts with commas, "
            "and settings of librdkafka after a question mark."
        )
    netloc, credentials = parts.netloc, {}
    if "@" in netloc:
        user, _, netloc = netloc.rpartition("@")
        name, _, password = user.partition(":")
        credentials = {"sasl.username": unquote(name), "sasl.password": unquote(password)}
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    own = {name.removeprefix(_OWN): value for name, value in given.items() if name.startswith(_OWN)}
    settings = {name: value for name, value in given.items() if not name.startswith(_OWN)}
    for name in sorted(_FIXED & settings.keys()):
        raise ConfigurationError(f"url sets {name}, which LittleQ sets itself: take it out.")
    address = Address(_servers(netloc), {**credentials, **settings}, _topic_settings(own))
    _check(address)
    return address


def _check(address: Address) -> None:
    """Ask librdkafka what it thinks of each setting: later it would say so in a worker, again and again.

    Raises:
        ConfigurationError: it does not know one, or not that value.
    """
    for name, value in address.settings.items():
        try:
            AdminClient(
                {"log_level": 0, name: value}
            )  # one at a time, and without a server: it connects nowhere
        except KafkaException as error:
            said = error.args[0].str()
            if said.startswith("No such configuration property"):
                raise ConfigurationError(
                    f"url sets {name}, which is no setting of librdkafka's: look at its CONFIGURATION.md."
                ) from None
            if said.startswith("Invalid value"):
                raise ConfigurationError(
                    f"url sets {name} to a value that librdkafka does not take: look at its CONFIGURATION.md."
                ) from None


def _servers(netloc: str) -> str:
    hosts = netloc.rpartition("@")[2].split(",")
    return ",".join(
        host if host.rpartition(":")[2].isdigit() else f"{host}:{DEFAULT_PORT}" for host in hosts if host
    )


def _topic_settings(own: Mapping[str, str]) -> TopicSettings:
    known = [each.name for each in fields(TopicSettings)]
    least = {"partitions": 1, "replication": -1, "min_insync": 1, "retention": -1}
    values: dict[str, int] = {}
    for name, value in own.items():
        if name not in known:
            names = ", ".join(_OWN + each for each in known)
            raise ConfigurationError(f"url sets {_OWN}{name}, which is no setting: there are {names}.")
        if (
            not value.removeprefix("-").isdigit()
            or int(value) < least[name]
            or (least[name] < 0 and value == "0")
        ):
            raise ConfigurationError(
                f"url sets {_OWN}{name} to {value!r}: give a whole number >= {max(1, least[name])}"
                f"{', or -1' if least[name] < 0 else ''}."
            )
        values[name] = int(value)
    return TopicSettings(**values)
