"""The ports that broker and ledger listen on, as far as a URL tells."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from littleq.config import Config

REDIS_PORT, SENTINEL_PORT = 6379, 26379
#: Schemes of servers on this machine, or none: in a cluster the Secret names another.
_HERE = ("embedded", "stub", "memory")


def broker_ports(config: Config) -> tuple[int, ...]:
    """The ports to connect to; Redis' own where the configuration names no server that a pod could reach.

    >>> broker_ports(Config()), broker_ports(Config(url="redis://db:7000", ledger_url="redis+sentinel://a:1,b/main"))
    ((6379,), (1, 6379, 7000, 26379))
    """
    urls = [url for url in (config.url, config.ledger_url) if url and _is_remote(url)]
    return tuple(sorted({port for url in urls for port in _ports(url)})) or (REDIS_PORT,)


def _is_remote(url: str) -> bool:
    scheme = urlsplit(url).scheme
    return scheme not in _HERE and "unix" not in scheme


def _ports(url: str) -> Iterator[int]:
    scheme, address = urlsplit(url).scheme, urlsplit(url).netloc.rpartition("@")[2]
    sentinel = scheme.endswith("+sentinel")
    for host in address.split(","):
        port = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
        yield int(port) if port.isdecimal() else (SENTINEL_PORT if sentinel else REDIS_PORT)
    if sentinel:
        yield REDIS_PORT  # of the servers that the sentinels name
