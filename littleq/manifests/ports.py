"""The ports that broker and ledger listen on, as far as a URL tells."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from littleq.config import Config
from littleq.config.kinds import IN_MEMORY, NO_LEDGER

REDIS_PORT, SENTINEL_PORT = 6379, 26379
#: The ports of other brokers, where a URL names none.
_DEFAULTS = {"amqp": 5672, "amqps": 5671, "kafka": 9092, "sqs": 443}
#: Of RabbitMQ's management API, which tells how many jobs workers hold.
_MANAGEMENT = {"amqp": 15672, "amqps": 15671}
_WEB = {"http": 80, "https": 443}
#: Schemes of servers on this machine, or none: in a cluster the Secret names another.
_HERE = ("embedded", *IN_MEMORY)


def broker_ports(config: Config) -> tuple[int, ...]:
    """The ports to connect to; Redis' own where the configuration names no server that a pod could reach, or no
    ledger beside a broker that keeps none.

    >>> broker_ports(Config()), broker_ports(Config(url="redis://db:7000", ledger_url="redis+sentinel://a:1,b/main"))
    ((6379,), (1, 6379, 7000, 26379))
    >>> broker_ports(Config(url="amqp://rabbit")), broker_ports(Config(url="sqs://eu-west-1"))
    ((5672, 6379, 15672), (443, 6379))
    >>> broker_ports(Config(url="kafka://a:9092,b:9093,c", ledger_url="redis://db:7000"))
    (7000, 9092, 9093)
    """
    urls = [url for url in (config.url, config.ledger_url) if url and _is_remote(url)]
    found = {port for url in urls for port in _ports(url)}
    if all(urlsplit(url).scheme in NO_LEDGER for url in urls):
        found.add(REDIS_PORT)
    return tuple(sorted(found))


def _is_remote(url: str) -> bool:
    scheme = urlsplit(url).scheme
    return scheme not in _HERE and "unix" not in scheme


def _ports(url: str) -> Iterator[int]:
    for each in filter(None, url.split(";")):  # several servers of a cluster of RabbitMQ
        yield from _ports_of_one(each)


def _ports_of_one(url: str) -> Iterator[int]:
    parts = urlsplit(url)
    scheme, address, options = parts.scheme, parts.netloc.rpartition("@")[2], dict(parse_qsl(parts.query))
    if scheme == "sqs":
        endpoint = urlsplit(options.get("endpoint", ""))
        yield endpoint.port or _WEB.get(endpoint.scheme, _DEFAULTS[scheme])
        return
    sentinel = scheme.endswith("+sentinel")
    default = SENTINEL_PORT if sentinel else _DEFAULTS.get(scheme, REDIS_PORT)
    for host in address.split(","):
        port = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
        yield int(port) if port.isdecimal() else default
    if sentinel:
        yield REDIS_PORT  # of the servers that the sentinels name
    management = options.get("management", "")
    if scheme in _MANAGEMENT and management != "off":
        named = urlsplit(management)
        yield (named.port or _WEB.get(named.scheme)) or _MANAGEMENT[scheme]
