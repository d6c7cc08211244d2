"""Reads Dramatiq's keys on a Redis-compatible server."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from dramatiq import Message

from littleq import job
from littleq.backends.base import Accounts, TruthTable
from littleq.backends.redis.scripts import lua

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker

#: Messages looked at for the oldest, at each end of the list. Exact up to twice this many.
LOOK_AT = 10
#: What single workers hold of single queues is counted set by set up to so many sets, some 0.1 s of the server's time.
MOST_LOOKUPS = 50_000
#: Fields of a hash read at a time by a scan.
SCAN_COUNT = 1000


class RedisInspector:
    """`ready`, `in_flight`, `delayed`, `dead` and `orphaned` are exact; `oldest_age` is, up to 20 ready jobs.

    A job counts as `in_flight` once a worker fetched it: the list alone is blind to what workers have prefetched.
    Where queues × workers exceed `MOST_LOOKUPS`, `in_flight` and `orphaned` are what the queue has beside `ready`,
    split by what dead workers hold: right while the server has lost no data, and marked as approximate.
    `orphaned` are those of workers whose heartbeat is older than the broker's heartbeat timeout.
    """

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._inspect = broker.client.register_script(lua("inspect"))

    def queues(self) -> set[str]:
        """Queues that this process declared, or that hold or held a job: one SCAN over the keys of the namespace."""
        client, namespace = self._broker.client, self._broker.namespace
        found = set(self._broker.get_declared_queues())
        for key in client.scan_iter(match=f"{namespace}:*.msgs", count=SCAN_COUNT):
            name = _text(key)[len(namespace) + 1 : -len(".msgs")]
            found.add(name.removesuffix(".DQ").removesuffix(".XQ"))
        own = f"littleq:{namespace}:"
        for key in client.scan_iter(match=f"{own}*:accounts", count=SCAN_COUNT):
            found.add(_text(key)[len(own) : -len(":accounts")])
        return found

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        names = list(queues)
        if not names:
            return {}
        rows = self._inspect(
            keys=[self._broker.namespace],
            args=[self._broker.heartbeat_timeout, LOOK_AT, MOST_LOOKUPS, *names],
        )
        return {
            queue: _truth(queue, json.loads(row), samples)
            for queue, (row, samples) in zip(names, rows, strict=True)
        }

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        names = list(queues)
        pipe = self._broker.client.pipeline(transaction=False)
        for queue in names:
            pipe.hlen(f"{self._broker.namespace}:{queue}.msgs")
        return dict(zip(names, pipe.execute(), strict=True))

    def strangers(self, queue: str) -> int:
        prefix = f"{self._broker.namespace}:{queue}"
        stored = (
            data
            for suffix in (".msgs", ".DQ.msgs", ".XQ.msgs")
            for _, data in self._broker.client.hscan_iter(prefix + suffix, count=SCAN_COUNT)
        )
        return sum(1 for message in decoded(stored) if message is None or not job.is_known(message.options))


def decoded(stored: Iterable[bytes]) -> Iterator[Message[Any] | None]:
    """Messages, None for what cannot be decoded."""
    for data in stored:
        try:
            yield Message.decode(data)
        except Exception:  # an encoder's own errors, whatever they are
            yield None


def _truth(queue: str, row: Mapping[str, Any], samples: Collection[bytes]) -> TruthTable:
    stamps = [
        job.read(message.options).get("ready_at") for message in decoded(samples) if message is not None
    ]
    oldest = min((stamp for stamp in (*stamps, row["due_at"]) if stamp is not None), default=None)
    accounts = cast("dict[str, int]", row["accounts"] or {})  # an empty Lua table becomes a list or an object
    return TruthTable(
        queue,
        ready=row["ready"],
        in_flight=row["in_flight"],
        delayed=row["delayed"],
        dead=row["dead"],
        orphaned=row["orphaned"],
        oldest_age=None if oldest is None else max(0.0, row["now"] - oldest),
        next_due=None if row["next_due"] is None else max(0.0, row["next_due"]),
        paused=row["paused"],
        accounts=Accounts(
            **{name: int(accounts.get(name, 0)) for name in ("admitted", "done", "skipped", "purged")}
        ),
        approximate=frozenset(_approximate(row, samples)),
    )


def _approximate(row: Mapping[str, Any], samples: Collection[bytes]) -> Iterator[str]:
    if len(samples) < row["listed"]:
        yield "oldest_age"
    if not row["is_counted"]:
        yield from ("in_flight", "orphaned")


def _text(key: bytes | str) -> str:
    return key.decode() if isinstance(key, bytes) else key
