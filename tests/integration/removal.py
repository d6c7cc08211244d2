"""What tests of `littleq move` share: queues with jobs of all kinds, and movers that are killed between two steps."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dramatiq import Message

from littleq.backends import backend_for
from littleq.backends.base import TruthTable
from littleq.backends.transfer import (
    KINDS,
    Batch,
    Kind,
    Parcel,
    Transfer,
    decoded,
    open_broker,
    open_transfer,
)
from littleq.config import Config
from littleq.moving import Journal, Mover

HOUR = 3600.0
_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """A queue on a server."""

    url: str
    queue: str
    namespace: str = "dramatiq"

    @property
    def config(self) -> Config:
        return Config(url=self.url, namespace=self.namespace)

    def open(self, move: str) -> Transfer:
        return open_transfer(self.config, open_broker(self.config), self.queue, move)

    def truth(self) -> TruthTable:
        broker = open_broker(self.config)
        try:
            return backend_for(broker).inspector.truth([self.queue])[self.queue]
        finally:
            broker.close()

    def fill(self, parcels: Sequence[Parcel]) -> None:
        """Put jobs there, as a move would."""
        transfer = self.open(f"fill{next(_numbers)}{os.getpid()}")
        size = transfer.facts.batch
        for number, first in enumerate(range(0, len(parcels), size), 1):
            some = parcels[first : first + size]
            batch = Batch(f"fill{os.getpid()}x{next(_numbers)}", number, transfer.mark())
            assert transfer.give(batch, some) == {each.parcel_id for each in some}
        transfer.close(finished=True)

    def contents(self) -> list[Parcel]:
        """All that is there, read and left as it is."""
        transfer = self.open(f"look{next(_numbers)}{os.getpid()}")
        found: list[Parcel] = []
        for kind in KINDS:
            while some := transfer.take(kind, 10_000):
                found += some
                if transfer.facts.gives == "once" and kind != "ready":
                    break  # these are read, and stay where they are
        transfer.release()
        transfer.close(finished=True)
        return found


def some_jobs(queue: str, ready: int = 5, delayed: int = 2, dead: int = 2) -> list[Parcel]:
    """Jobs of all kinds, one that nobody can read among them."""
    now = time.time()
    found = [_job(queue, "ready", None, {"ready_at": now - n}, retries=n) for n in range(ready)]
    found += [_job(queue, "delayed", now + HOUR + n, {"ready_at": now + HOUR + n}) for n in range(delayed)]
    for n in range(dead):
        death = {
            "reason": "exhausted",
            "exception": "ValueError",
            "message": "no",
            "attempts": 3,
            "at": now - n,
        }
        found.append(_job(queue, "dead", now - n, {"ready_at": now - HOUR, "dead": death}))
    return [*found, Parcel("strange.1", "ready", b"\xffno message")]


def _job(queue: str, kind: Kind, at: float | None, record: dict[str, Any], **options: Any) -> Parcel:
    message: Message[Any] = Message(queue, "work", (next(_numbers),), {}, {**options, "littleq": record})
    return Parcel(message.message_id, kind, message.encode(), at=at)


def what(parcels: Sequence[Parcel]) -> list[tuple[Any, ...]]:
    """What must be the same on another broker: all that is not the broker's own."""
    return sorted(_essence(parcel) for parcel in parcels)


def _essence(parcel: Parcel) -> tuple[Any, ...]:
    message = decoded(parcel.data)
    at = None if parcel.at is None else round(parcel.at, 2)
    if message is None:
        return "", parcel.kind, parcel.data.hex(), at
    options = {key: value for key, value in message.options.items() if key != "redis_message_id"}
    return (
        message.message_id,
        parcel.kind,
        repr((message.actor_name, message.args, sorted(options.items()))),
        at,
    )


def ids(parcels: Sequence[Parcel]) -> list[str]:
    return sorted(each[0] or each[2] for each in map(_essence, parcels))


class Perilous:
    """A transfer in batches of two; `tick` is called before and after each step that changes something."""

    def __init__(self, transfer: Any, tick: Callable[[], None]) -> None:
        self._transfer, self._tick = transfer, tick
        self.facts = replace(transfer.facts, batch=2)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._transfer, name)
        if name not in {"take", "give", "forget", "release", "present"}:
            return method

        def call(*args: Any) -> Any:
            self._tick()
            found = method(*args)
            self._tick()
            return found

        return call


def move(source: Place, target: Place, journal: Path, tick: Callable[[], None] = lambda: None) -> Journal:
    """One run of a move; `tick` is called between any two steps, the writing of the journal included."""
    ends = {"from": source.url, "to": target.url, "queue": source.queue}
    opened = Journal(journal, ends)
    write = opened._write

    def written(line: Any) -> None:
        tick()
        write(line)
        tick()

    opened._write = written  # type: ignore[method-assign]
    here, there = source.open(opened.state.move), target.open(opened.state.move)
    mover = Mover(Perilous(here, tick), Perilous(there, tick), opened)
    mover.run(lambda: dict.fromkeys(KINDS, 10))
    for end in (here, there):
        end.close(finished=False)
    return opened


def killed_at(point: int, source: Place, target: Place, journal: Path) -> bool:
    """Move in a child that is killed at its `point`-th step; False: it came to its end before."""
    child = os.fork()
    if child == 0:
        numbers = itertools.count(1)

        def tick() -> None:
            if next(numbers) == point:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            move(source, target, journal, tick)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
