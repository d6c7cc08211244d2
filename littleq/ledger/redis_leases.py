"""The right to decide, and what was decided, in Redis or Valkey: the part of `RedisLedger` that controllers use.

Keys, all under `littleq:<namespace>:ledger`:

    :lease:<name>         hash     token, holder ('' when given back), renewed_at, seconds, decided_at; expires after
                                   1 day of silence
    :record:<queue>       hash     decision and state as JSON, decided_at, holder; expires after 1 day of silence
    :records              zset     queue -> when it was last decided about; an index of :record

Failure handling. A lease runs out by the server's clock; whoever comes next gets a higher token, and what the last one
still publishes is refused by the same script that would store it. Tokens begin with the server's clock in
microseconds, so one from before a loss of all data is lower than any after it, and nobody holds it any more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from littleq.ledger.base import RECORD_EXPIRY_SECONDS, Lease, LedgerUnavailable, Record

if TYPE_CHECKING:
    from redis import Redis


def script(name: str) -> str:
    """The text of a script beside this file."""
    return files("littleq.ledger").joinpath(name).read_text(encoding="utf-8")


def text(value: str | bytes) -> str:
    """A reply as text: a client may decode responses itself."""
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def translated_errors() -> Iterator[None]:
    """Whatever the client raises, as `LedgerUnavailable`."""
    try:
        yield
    except (RedisError, OSError) as error:
        # The text names a host or a key at most; redis-py puts no URL and no password into its messages.
        raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error


class RedisLeases:
    """Leases and decisions on a server.

    Args:
        client: with timeouts of its own.
        prefix: of all keys.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._lease = client.register_script(script("lease.lua"))
        self._release = client.register_script(script("release.lua"))
        self._publish = client.register_script(script("publish.lua"))
        self._records = client.register_script(script("records.lua"))

    def lease(self, name: str, holder: str, seconds: float) -> Lease | None:
        """As `Ledger.lease`."""
        with translated_errors():
            reply = self._lease(keys=[self._prefix], args=[name, holder, seconds, RECORD_EXPIRY_SECONDS])
        if reply is None:
            return None
        token, decided_at, *time = map(text, reply)
        return Lease(name, holder, int(token), float(decided_at) if decided_at else None, _stamp(*time))

    def release(self, lease: Lease) -> None:
        """As `Ledger.release`."""
        with translated_errors():
            self._release(keys=[self._prefix], args=[lease.name, lease.token, lease.holder])

    def publish(self, lease: Lease, records: Mapping[str, Record]) -> bool:
        """As `Ledger.publish`."""
        arguments: list[str | int] = [lease.name, lease.token, lease.holder, RECORD_EXPIRY_SECONDS]
        for queue, record in records.items():
            arguments += (
                queue,
                _to_json(record.decision),
                "" if record.state is None else _to_json(record.state),
            )
        with translated_errors():
            return bool(self._publish(keys=[self._prefix], args=arguments))

    def records(
        self, queues: Collection[str] | None = None, *, states: bool = False
    ) -> tuple[float, dict[str, Record]]:
        """As `Ledger.records`."""
        wanted: list[str | int] = [-1] if queues is None else [len(queues), *queues]
        with translated_errors():
            seconds, microseconds, found = self._records(keys=[self._prefix], args=[int(states), *wanted])
        records: dict[str, Record] = {}
        for queue, decided_at, holder, decision, state in found:
            records[text(queue)] = Record(
                json.loads(decision), json.loads(state) if state else None, float(decided_at), text(holder)
            )
        return _stamp(text(seconds), text(microseconds)), dict(sorted(records.items()))


def _to_json(value: Mapping[str, Any]) -> str:
    """As short as JSON can be: a fleet's states are megabytes."""
    return json.dumps(dict(value), separators=(",", ":"))


def _stamp(seconds: str, microseconds: str) -> float:
    return int(seconds) + int(microseconds) / 1e6
