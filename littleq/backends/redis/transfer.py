"""Redis and Valkey as an end of a move.

A move is a worker of its own kind here: what it takes is held by it, in flight, until it forgets or releases it, and
goes back by itself an hour after its death. As a target the server writes down the number of a batch in the step in
which the batch goes in: asked again, it does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dramatiq import Message

from littleq import job
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.redis.scripts import lua
from littleq.backends.transfer import (
    HOLD_SECONDS,
    Batch,
    Facts,
    Found,
    Kind,
    Opening,
    Parcel,
    Ref,
    decoded,
    is_known,
)

#: How long the last batch of a move that was not finished is remembered, in milliseconds.
REMEMBER_MS = 30 * 86_400_000

_SCRIPTS = {
    "take": ("prelude", "holding", "move_take"),
    "forget": ("prelude", "holding", "letters", "move_forget"),
    "release": ("prelude", "holding", "move_release"),
    "give": ("prelude", "move_give"),
}


class RedisTransfer:
    """One queue of a Redis broker; see `littleq.backends.transfer.Transfer`."""

    facts = Facts(finds=True, gives="once", batch=500, holds=f"{HOLD_SECONDS / 60:g} minutes")

    def __init__(self, broker: RedisBroker, queue: str, move: str) -> None:
        self._broker, self._queue, self._move = broker, queue, move
        self._worker = f"littleq-move-{move}"
        self._scripts = {name: broker.client.register_script(lua(*parts)) for name, parts in _SCRIPTS.items()}

    def take(self, kind: Kind, limit: int) -> Sequence[Parcel]:
        if kind == "delayed":
            while self._broker.adopt_delayed(self._queue):  # of plain Dramatiq processes
                pass
        found = self._run("take", self._worker, self._queue, kind, limit, round(HOLD_SECONDS * 1000))
        return [_parcel(kind, *row) for row in zip(*found, strict=True)]

    def forget(self, refs: Sequence[Ref]) -> set[str]:
        args: list[Any] = [self._worker, self._queue, REMEMBER_MS]
        for ref in refs:
            args += (ref.parcel_id, ref.kind, ref.note)
        return {found.decode() for found in self._run("forget", *args)}

    def release(self, refs: Sequence[Ref] = ()) -> None:
        self._run("release", self._worker, self._queue)

    def mark(self) -> str:
        return ""

    def give(self, batch: Batch, parcels: Sequence[Parcel]) -> set[str]:
        args: list[Any] = [self._queue, self._move, batch.number, REMEMBER_MS]
        for place, parcel in enumerate(parcels):
            at = "" if parcel.at is None else round(parcel.at * 1000)
            deliveries = "" if parcel.deliveries is None else parcel.deliveries
            message = decoded(parcel.data)
            known = "1" if message is not None and job.is_known(message.options) else ""
            name = self._name(batch, place, parcel, message)
            args += (name, parcel.kind, parcel.data, at, deliveries, known)
        self._run("give", *args)
        return {parcel.parcel_id for parcel in parcels}

    def present(self, batch: Batch, refs: Sequence[Ref]) -> Found:
        last: Any = self._broker.client.get(self._last)
        return Found({ref.parcel_id for ref in refs} if int(last or 0) >= batch.number else set())

    def close(self, *, finished: bool) -> None:
        if finished:
            forgotten = f"littleq:{self._broker.namespace}:{self._queue}:forgotten:{self._worker}"
            self._broker.client.delete(self._last, forgotten)
        self._broker.close()

    @property
    def _last(self) -> str:
        return f"littleq:{self._broker.namespace}:{self._queue}:moved:{self._move}"

    def _name(self, batch: Batch, place: int, parcel: Parcel, message: Message[Any] | None) -> str:
        """The id that a job has had on another Redis; else one by which a delayed job can be cancelled."""
        if message is None:
            return parcel.parcel_id
        if message.options.get("redis_message_id") == parcel.parcel_id:
            return parcel.parcel_id
        return f"{message.message_id}.{self._move}{batch.number:x}x{place:x}"

    def _run(self, script: str, *args: Any) -> Any:
        return self._scripts[script](keys=[self._broker.namespace], args=args)


def make_transfer(opening: Opening) -> RedisTransfer:
    return RedisTransfer(opening.broker, opening.queue, opening.move)


def _parcel(kind: Kind, name: bytes, data: bytes, score: bytes, deliveries: bytes) -> Parcel:
    return Parcel(
        parcel_id=name.decode(),
        kind=kind,
        data=data,
        at=float(score) / 1000 if score else None,
        deliveries=int(deliveries) if deliveries else None,
        note="1" if is_known(data) else "",
    )
