"""What tests of `littleq move` share: queues with jobs of all kinds, and movers that are killed between two steps."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
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
                if kind == "dead" or (kind == "delayed" and self.url.startswith("redis")):
                    break  # these are read, and stay where they are
        transfer.release()
        transfer.close(finished=True)
        return found


def some_jobs(
    queue: str, ready: int = 5, delayed: int = 2, dead: int = 2, due_in: float = HOUR
) -> list[Parcel]:
    """Jobs of all kinds, one that nobody can read among them."""
    now = time.time()
    found = [_job(queue, "ready", None, {"ready_at": now - n}, retries=n) for n in range(ready)]
    found += [
        _job(queue, "delayed", now + due_in + n, {"ready_at": now + due_in + n}) for n in range(delayed)
    ]
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


class InTwos:
    """A transfer in batches of two: even a few jobs take several. `half` is called when half of one was given."""

    def __init__(self, transfer: Any, half: Callable[[], None] | None = None) -> None:
        self._transfer, self._half = transfer, half
        self.facts = replace(transfer.facts, batch=2)

    def give(self, batch: Batch, parcels: Sequence[Parcel]) -> set[str]:
        if self._half is not None and len(parcels) > 1:
            self._transfer.give(batch, parcels[:1])
            self._half()
        given: set[str] = self._transfer.give(batch, parcels)
        return given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transfer, name)


def move(
    source: Place,
    target: Place,
    journal: Path,
    checkpoint: Callable[[str], None] = lambda _: None,
    half: Callable[[], None] | None = None,
) -> Journal:
    """One run of a move."""
    opened = Journal(journal, {"from": source.url, "to": target.url, "queue": source.queue})
    here, there = source.open(opened.state.move), target.open(opened.state.move)
    mover = Mover(InTwos(here), InTwos(there, half), opened, checkpoint=checkpoint)
    mover.run(lambda: dict.fromkeys(KINDS, 10))
    for end in (here, there):
        end.close(finished=False)
    return opened


class Movers:
    """Makes processes that move, and are killed. They are forked from a process that has no client of anything: threads
    of such clients would survive no fork."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._server = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._server.start()

    def killed_at(
        self, source: Place, target: Place, journal: Path, *, number: int = 0, step: str = ""
    ) -> bool:
        """Move, and be killed after a step; False: the move came to its end before.

        Args:
            number: which step, from 1; with `step` the first one of that name from there on.
        """
        self._pipe.send((dict(os.environ), (source, target, journal, number, step)))
        assert self._pipe.poll(60), f"a move hangs that was to be killed at step {number} {step}"
        status = self._pipe.recv()
        assert os.WIFSIGNALED(status) or status == 0, "the move has failed: see stderr"
        return os.WIFSIGNALED(status)

    def close(self) -> None:
        self._server.kill()
        self._server.join()


def _serve(pipe: Any) -> None:
    for name in ("redis", "rabbitmq", "sqs", "kafka"):  # once, not in each child
        import_module(f"littleq.backends.{name}.transfer")
    while True:
        environment, asked = pipe.recv()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.environ.update(environment)
                _move_until_killed(*asked)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        pipe.send(os.waitpid(child, 0)[1])


def _move_until_killed(source: Place, target: Place, journal: Path, number: int, step: str) -> None:
    numbers = itertools.count(1)

    def checkpoint(at: str) -> None:
        now = next(numbers)
        if (now >= number and at == step) if step else now == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def half() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    move(source, target, journal, checkpoint, half if step == "half" else None)
