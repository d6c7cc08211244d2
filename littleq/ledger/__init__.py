"""What all processes of a fleet know together: see `littleq.ledger.base`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from littleq.config.kinds import IN_MEMORY, NO_LEDGER
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
    "in_memory",
    "open_ledger",
    "unshared_problem",
]

#: A server that does not answer within this is away, in seconds: long for a script of a millisecond, short
#: for a process that wants to exit.
TIMEOUT_SECONDS = 2.0

_memory: dict[str, MemoryLedger] = {}
_memory_lock = threading.Lock()


def in_memory(config: Config) -> bool:
    """Whether the ledger that is configured can only be in the memory of each process, where no other sees it."""
    scheme = (config.ledger_url or config.url).partition("://")[0]
    return scheme in IN_MEMORY or (config.ledger_url is None and scheme in NO_LEDGER)


def unshared_problem(config: Config, what: str) -> str | None:
    """Why `what` would see nothing of other processes, in one sentence; None: nothing is wrong.

    A queue at `stub://` is in one process itself, and so may all be that is known of it.
    """
    if not in_memory(config) or config.url.startswith("stub:"):
        return None
    if config.ledger_url is None:
        why = f"{config.url.partition('://')[0]}:// keeps none and ledger_url is not set"
    else:
        why = f"ledger_url is {config.ledger_url.partition('://')[0]}://"
    return (
        f"The ledger is in the memory of each process ({why}), where {what} sees nothing of the others: set ledger_url "
        "(LITTLEQ_LEDGER_URL) to any Redis or Valkey server, as in redis://localhost:6379, or to embedded:// where all "
        "processes are on one machine."
    )


def open_ledger(config: Config) -> Ledger:
    """The ledger that `config.ledger_url` names, or else `config.url`; in memory, where that is a broker that can keep
    none. Only `embedded://` connects at once.

    Raises:
        ConfigurationError: no ledger can be kept there, or the URL is wrong.
        BackendError: the embedded server does not start.
    """
    url = config.ledger_url or config.url
    if in_memory(config):
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
