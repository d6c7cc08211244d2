"""What all processes of a fleet know together: see `littleq.ledger.base`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from littleq.errors import ConfigurationError
from littleq.ledger.base import Batch, Ledger, LedgerSnapshot, LedgerUnavailable, Presence, QueueLedger
from littleq.ledger.memory import MemoryLedger

if TYPE_CHECKING:
    from littleq.config import Config

__all__ = [
    "Batch",
    "Ledger",
    "LedgerSnapshot",
    "LedgerUnavailable",
    "MemoryLedger",
    "Presence",
    "QueueLedger",
    "open_ledger",
]

#: A server that does not answer within this is away, in seconds: long for a script of a millisecond, short
#: for a process that wants to exit.
TIMEOUT_SECONDS = 2.0

_memory: dict[str, MemoryLedger] = {}
_memory_lock = threading.Lock()


def open_ledger(config: Config) -> Ledger:
    """The ledger that `config.ledger_url` names, or else `config.url`. Only `embedded://` connects at once.

    Raises:
        ConfigurationError: no ledger can be kept there, or the URL is wrong.
        BackendError: the embedded server does not start.
    """
    url = config.ledger_url or config.url
    if url.partition("://")[0] in ("memory", "stub"):
        return _memory_ledger(config.namespace)
    # Imports wait, for a ledger in memory needs none of these.
    from littleq.backends.redis.urls import SCHEMES, redis_client  # noqa: PLC0415
    from littleq.ledger.redis import RedisLedger  # noqa: PLC0415

    scheme, separator, _ = url.partition("://")
    if scheme not in (*SCHEMES, "embedded"):
        raise ConfigurationError(
            f"The ledger cannot be kept at {scheme + separator if separator else 'a URL without a scheme'}: "
            "set ledger_url to a Redis or Valkey server, as in redis://localhost:6379, or to embedded://."
        )
    client = redis_client(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
    return RedisLedger(client, config.namespace)


def _memory_ledger(namespace: str) -> MemoryLedger:
    """One for each namespace of this process, as there is one server for each URL."""
    with _memory_lock:
        found = _memory.get(namespace)
        if found is None:
            found = _memory[namespace] = MemoryLedger()
        return found
