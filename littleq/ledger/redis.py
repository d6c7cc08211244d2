"""The ledger in Redis or Valkey, whatever the broker.

Each operation is one script and one round trip, and a script is atomic: a batch is in as a whole or not at
all. The server's clock stamps everything, so the clocks of the hosts do not matter.

Keys, all under `littleq:<namespace>:ledger`:

    :queues               hash     queue -> when it was first seen, s since the epoch
    :total:<queue>        hash     field -> counter, since ever
    :slot:<n>:<queue>     hash     field -> count within the slot that began at n × 5 s; expires after 15 min
    :set:<queue>          hash     setting -> "<when published> <JSON value>"; expires after 1 h of silence
    :seq:<writer>         string   last sequence number that was counted; expires after 1 day of silence
    :seen                 zset     writer -> when this worker was last heard of
    :workers              hash     writer -> its `Presence` as JSON
    :busy                 hash     writer -> jobs that it runs now, where it runs some
    :attempt:<queue>:<id> string   starts of a job that was delivered before; expires after 7 days of silence
    :lease:… :record…     see `littleq.ledger.redis_leases`

Failure handling. No answer means nothing: the batch may be in or not. It is sent again with the same sequence
number, which `:seq` sorts out, for a day. A server that lost its data (no persistence) counts on from 0, as
Prometheus expects of a counter, and hears the settings again within a minute. A worker that died without a
word stays in `:seen` until the next batch of another one trims it, but no snapshot shows it.

Known weakness. `maxmemory` with an `allkeys-*` policy may evict counters; with `noeviction` a full server
refuses batches, which then wait in their processes. The scripts name keys that they were not given, so Redis
Cluster cannot run them (nor can it run Dramatiq).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from littleq.ledger.attempts import ATTEMPTS_EXPIRY_SECONDS
from littleq.ledger.base import (
    PRESENCE_SECONDS,
    RECENT_SLOTS,
    SEQUENCE_EXPIRY_SECONDS,
    SETTINGS_EXPIRY_SECONDS,
    SLOT_EXPIRY_SECONDS,
    SLOT_SECONDS,
    Batch,
    LedgerSnapshot,
    Presence,
    QueueLedger,
)
from littleq.ledger.redis_leases import RedisLeases, script, text, translated_errors

if TYPE_CHECKING:
    from redis import Redis

#: What `apply.lua` expects before the batch.
_APPLY_CONSTANTS: Final = (
    SLOT_SECONDS,
    RECENT_SLOTS,
    SLOT_EXPIRY_SECONDS,
    SEQUENCE_EXPIRY_SECONDS,
    int(SETTINGS_EXPIRY_SECONDS),
    PRESENCE_SECONDS,
)


class RedisLedger(RedisLeases):
    """A `Ledger` on a Redis or Valkey server.

    Args:
        client: with timeouts of its own; a call takes as long as they allow.
        namespace: fleets with different ones share a server and know nothing of each other.
    """

    def __init__(self, client: Redis, namespace: str = "dramatiq") -> None:
        super().__init__(client, f"littleq:{namespace}:ledger")
        self._apply = client.register_script(script("apply.lua"))
        self._snapshot = client.register_script(script("snapshot.lua"))
        # What a worker says of itself hardly ever changes, and ten thousand of them are the bulk of a snapshot's work.
        self._presences: dict[str, Presence | None] = {}

    def apply(self, batch: Batch) -> None:
        """As `Ledger.apply`."""
        with translated_errors():
            self._apply(keys=[self._prefix], args=[*_APPLY_CONSTANTS, *_batch_arguments(batch)])

    def retire(self, writer: str) -> None:
        """As `Ledger.retire`."""
        with translated_errors(), self._client.pipeline(transaction=True) as pipe:
            pipe.zrem(f"{self._prefix}:seen", writer)
            pipe.hdel(f"{self._prefix}:workers", writer)
            pipe.hdel(f"{self._prefix}:busy", writer)
            pipe.execute()

    def busy(self) -> Mapping[str, int]:
        """As `Ledger.busy`."""
        with translated_errors(), self._client.pipeline(transaction=True) as pipe:
            pipe.time()
            pipe.zrange(f"{self._prefix}:seen", 0, -1, withscores=True)
            pipe.hgetall(f"{self._prefix}:busy")
            (seconds, microseconds), seen, busy = pipe.execute()
        long_ago = seconds + microseconds / 1e6 - PRESENCE_SECONDS
        live = {text(writer) for writer, stamp in seen if stamp > long_ago}
        found = {text(writer): int(running) for writer, running in busy.items()}
        return {writer: running for writer, running in found.items() if writer in live}

    def snapshot(
        self,
        queues: Collection[str] | None = None,
        *,
        fields: Collection[str] | None = None,
        recent: bool = True,
    ) -> LedgerSnapshot:
        """As `Ledger.snapshot`."""
        wanted: list[str | int] = []
        for names in (queues, fields):
            wanted += [-1] if names is None else [len(names), *names]
        with translated_errors():
            reply = self._snapshot(
                keys=[self._prefix],
                args=[SLOT_SECONDS, RECENT_SLOTS if recent else 0, PRESENCE_SECONDS, *wanted],
            )
        seconds, microseconds, workers, found = reply
        taken_at = int(seconds) + int(microseconds) / 1e6
        return LedgerSnapshot(
            taken_at=taken_at,
            queues={entry[0]: _read_queue(entry, taken_at) for entry in sorted(json.loads(found))},
            workers=self._read_workers(text(workers)),
        )

    def attempt(self, queue: str, message_id: str) -> int:
        """As `Attempts.attempt`."""
        key = self._attempt_key(queue, message_id)
        with translated_errors(), self._client.pipeline(transaction=True) as pipe:
            pipe.incr(key)
            pipe.expire(key, ATTEMPTS_EXPIRY_SECONDS)
            return int(pipe.execute()[0])

    def settled(self, queue: str, message_ids: Collection[str]) -> None:
        """As `Attempts.settled`."""
        if message_ids:
            with translated_errors():
                self._client.unlink(*(self._attempt_key(queue, message_id) for message_id in message_ids))

    def _attempt_key(self, queue: str, message_id: str) -> str:
        return f"{self._prefix}:attempt:{queue}:{message_id}"

    def _read_workers(self, documents: str) -> tuple[Presence, ...]:
        known = self._presences
        found = {
            document: known[document] if document in known else _read_presence(document)
            for document in documents.split("\n")
        }
        self._presences = found  # replaced as a whole: another thread may be reading
        live = (presence for presence in found.values() if presence is not None)
        return tuple(sorted(live, key=lambda presence: presence.writer))


def _batch_arguments(batch: Batch) -> list[str | int | float]:
    presence = "" if batch.presence is None else json.dumps(asdict(batch.presence))
    arguments: list[str | int | float] = [
        batch.writer,
        batch.sequence,
        batch.age_seconds,
        batch.span_seconds,
        presence,
        batch.running,
    ]
    settings = [
        (queue, name, json.dumps(value))
        for queue, named in batch.settings.items()
        for name, value in named.items()
    ]
    arguments.append(len(settings))
    for setting in settings:
        arguments += setting
    arguments.append(len(batch.counts))
    for queue, counts in batch.counts.items():
        arguments += (queue, len(counts))
        for field, amount in counts.items():
            arguments += (field, _number(amount))
    return arguments


def _number(amount: float) -> str:
    """Whole numbers without a point, so that the server keeps them as integers.

    >>> _number(3.0), _number(0.1), _number(-2)
    ('3', '0.1', '-2')
    """
    return str(int(amount)) if amount == int(amount) and abs(amount) < 2**53 else repr(amount)


def _read_counts(flat: Sequence[Any]) -> dict[str, float]:
    return dict(zip(flat[::2], map(float, flat[1::2]), strict=True)) if flat else {}


def _read_queue(entry: Sequence[Any], taken_at: float) -> QueueLedger:
    _, totals, recent, width, flat = entry
    settings: dict[str, float | str] = {}
    for i in range(0, len(flat), 2):
        stamp, _, value = flat[i + 1].partition(" ")
        if taken_at - float(stamp) < SETTINGS_EXPIRY_SECONDS:
            settings[flat[i]] = json.loads(value)
    return QueueLedger(_read_counts(totals), _read_counts(recent), float(width), settings)


def _read_presence(document: str) -> Presence | None:
    """None for a record that is missing, or was written by a release of LittleQ that says it differently."""
    try:
        record = json.loads(document)
        return Presence(
            writer=str(record["writer"]),
            host=str(record["host"]),
            pid=int(record["pid"]),
            threads=int(record["threads"]),
            queues=tuple(record["queues"]),
            started_at=float(record["started_at"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
