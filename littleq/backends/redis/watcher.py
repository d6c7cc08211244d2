"""The watcher of one worker process, a program: `python watcher.py <file descriptor>`; and what it is told.

It waits for its parent to end (by `pidfd`, or by looking), gives signs of life for it as long as it has not,
and then brings back what it held. So a job that keeps the interpreter's lock for minutes costs no heartbeat, and
what kills the worker does not keep anybody from noticing. A signal that means the worker is none for its watcher:
it ends when the worker has.

It is run by its path and imports nothing of LittleQ but the module that its connections need, if any: the packages
above this file bring in Dramatiq, which it does not use.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import pickle
import select
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

logger = logging.getLogger("littleq.watcher")

#: How often a parent is looked at where it cannot be waited for, in seconds.
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Orders:
    """What a watcher needs to know. Pickled, through a pipe: it holds passwords.

    Attributes:
        parent: pid of the worker.
        pool: what makes the connection pool, and its options.
        script: `beat.lua`, and its arguments but for those that a watcher fills in.
        interval: seconds between two signs of life.
        give_up: seconds for which a server that is away is tried, once the worker has ended.
        memory: file descriptor of the slots of `running`, their number of bytes, and how many a slot has.
    """

    parent: int
    pool: tuple[Any, dict[str, Any]]
    script: str
    namespace: str
    worker: str
    timeout: int
    deliveries: str
    interval: float
    give_up: float
    memory: tuple[int, int, int]


def ids_in(memory: bytes, slot_bytes: int) -> list[str]:
    """The ids in the slots of `running`: each padded with zeros, or empty.

    >>> ids_in(b"a.1".ljust(192, b"\\0") + bytes(192), 192)
    ['a.1']
    """
    slots = (memory[at : at + slot_bytes] for at in range(0, len(memory), slot_bytes))
    return [slot.rstrip(b"\0").decode(errors="replace") for slot in slots if slot[:1] != b"\0"]


def sentinel_pool(
    service: str, sentinels: list[dict[str, Any]], connection_class: Any, options: dict[str, Any]
) -> redis.ConnectionPool:
    """The pool of a client that asks Sentinels for its server."""
    from redis.sentinel import Sentinel, SentinelConnectionPool  # noqa: PLC0415

    manager = Sentinel([])
    manager.sentinels = [redis_of(node) for node in sentinels]
    return SentinelConnectionPool(service, manager, connection_class=connection_class, **options)


def redis_of(options: dict[str, Any]) -> redis.Redis:
    import redis  # noqa: PLC0415

    return redis.Redis(connection_pool=redis.ConnectionPool(**options))


class Parent:
    """The process to watch; a child cannot mistake another one for it, even if its pid is used again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._poll: Any = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or gone already
                self._poll = select.poll()
                self._poll.register(os.pidfd_open(pid), select.POLLIN)

    def has_ended(self, seconds: float) -> bool:
        """Whether it has ended, or does within `seconds`."""
        deadline = time.monotonic() + seconds
        while os.getppid() == self._pid:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._poll is None:
                time.sleep(min(left, LOOK_SECONDS))
            elif self._poll.poll(left * 1000):
                return True
        return True


class Watcher:
    """See the module."""

    def __init__(self, orders: Orders) -> None:
        import redis  # noqa: PLC0415 - `Orders` is imported where redis-py need not be

        self._orders = orders
        pool_class, options = orders.pool
        self._client: redis.Redis = redis.Redis(connection_pool=pool_class(**options))
        self._script = self._client.register_script(orders.script)
        file, size, self._slot = orders.memory
        self._memory = mmap.mmap(file, size, prot=mmap.PROT_READ)

    def run(self) -> None:
        parent = Parent(self._orders.parent)
        while not parent.has_ended(self._orders.interval):
            with contextlib.suppress(Exception):  # the server is away: the worker says so
                self._beat(self._orders.worker, "")
        self._bring_back()

    def _bring_back(self) -> None:
        deadline = time.monotonic() + self._orders.give_up
        while True:
            try:
                self._beat("", self._orders.worker)
                return
            except Exception as error:
                if time.monotonic() > deadline:  # others have found the worker silent by now
                    logger.error("Worker %s is dead; its jobs: %s", self._orders.worker, type(error).__name__)
                    return
                time.sleep(0.2)

    def _beat(self, alive: str, gone: str) -> None:
        running = ids_in(self._memory[:], self._slot)
        orders = self._orders
        known = "1" if running else ""
        args: list[Any] = [alive, gone, orders.timeout, orders.deliveries, known, *running]
        self._script(keys=[orders.namespace], args=args)


def main() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    with os.fdopen(int(sys.argv[1]), "rb") as pipe:
        orders = pickle.load(pipe)  # noqa: S301 - from the parent, through a pipe of its own
    Watcher(orders).run()


if __name__ == "__main__":
    # Pickled in the parent under its full name, which would import the packages above.
    sys.modules["littleq.backends.redis.watcher"] = sys.modules["__main__"]
    main()
