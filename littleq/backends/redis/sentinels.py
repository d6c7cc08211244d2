"""A server that Sentinels name: `redis+sentinel://user:password@host:26379,host:26379/service/0`.

User and password are the server's. What is behind a `?` are options of redis-py for the connections to the server
(`ssl=true` makes them TLS); those that begin with `sentinel_` are for the connections to the Sentinels, as in
`sentinel_password=…`.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

from redis.connection import parse_url
from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

DEFAULT_PORT = 26379

_FORM: Final = re.compile(
    r"(?P<scheme>[\w+]+)://(?:(?P<user>[^@]*)@)?(?P<nodes>[^/?@]+)/(?P<service>[^/?]+)(?:/(?P<db>\d+))?/?(?:\?(?P<query>.*))?"
)
_NODE: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(?::(?P<port>\d{1,5}))?")

Address = tuple[str, int]


def parse_sentinel_url(url: str) -> tuple[str, list[Address], dict[str, Any], dict[str, Any]]:
    """The name of the service, the addresses of the Sentinels, and options of connections to the server and to them.

    Raises:
        ValueError: it is not of that form. Show nobody its text: it may quote a password.

    >>> parse_sentinel_url("redis+sentinel://:hunter2@a,b:26380/main/1")
    ('main', [('a', 26379), ('b', 26380)], {'password': 'hunter2', 'db': 1}, {})
    """
    found = _FORM.fullmatch(url)
    if found is None:
        raise ValueError
    nodes = [_NODE.fullmatch(node) for node in found["nodes"].split(",")]
    addresses = [
        (node["host"].strip("[]"), int(node["port"] or DEFAULT_PORT)) for node in nodes if node is not None
    ]
    if len(addresses) < len(nodes):
        raise ValueError
    user = f"{found['user']}@" if found["user"] else ""
    known = dict(parse_url(f"redis://{user}service/{found['db'] or 0}?{found['query'] or ''}"))
    of_sentinels = {name: known.pop(name) for name in list(known) if name.startswith("sentinel_")}
    del known["host"]
    return (
        unquote(found["service"]),
        addresses,
        known,
        {name.removeprefix("sentinel_"): value for name, value in of_sentinels.items()},
    )


class SentinelPool(SentinelConnectionPool):
    """redis-py's, with an option `ssl` that may come from a URL."""

    def __init__(self, service: str, manager: Any, *, ssl: Any = False, **options: Any) -> None:
        is_tls = str(ssl).lower() in ("1", "true", "yes")
        options["connection_class"] = SentinelManagedSSLConnection if is_tls else SentinelManagedConnection
        super().__init__(service, manager, **options)  # type: ignore[no-untyped-call]


def sentinel_place(pool: SentinelConnectionPool) -> tuple[str, int, set[Address]]:
    """What tells the database of one pool from another's: the service, its number, and who knows the service."""
    nodes = [node.connection_pool.connection_kwargs for node in pool.sentinel_manager.sentinels]
    addresses = {(str(node.get("host")), int(node.get("port") or DEFAULT_PORT)) for node in nodes}
    return str(pool.service_name), int(pool.connection_kwargs.get("db") or 0), addresses
