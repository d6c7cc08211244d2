"""Which jobs this process runs right now, in memory that its watcher sees too.

A process that is killed cannot say what it was doing. What it ran is a suspect (`poison`); what it had merely
prefetched is not, and must not die along with it after a few such deaths. Writing a job down costs two copies in
memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import deque
from typing import TYPE_CHECKING

from dramatiq import Middleware

from littleq import job
from littleq.backends.redis.watcher import ids_in

if TYPE_CHECKING:
    from dramatiq import Broker, Worker
    from dramatiq.broker import MessageProxy

#: Jobs that can be written down at a time (worker threads of a process), and bytes for the name of each.
SLOTS, SLOT_BYTES = 256, 192


class RunningJobs:
    """Slots of `SLOT_BYTES` bytes, each the id of a running job, padded with zeros, or empty."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self.file = os.dup(file.fileno())
        os.ftruncate(self.file, SLOTS * SLOT_BYTES)
        self._memory = mmap.mmap(self.file, SLOTS * SLOT_BYTES)
        self._free = deque(range(SLOTS))

    def after_fork_in_child(self) -> None:
        """A forked child has jobs of its own."""
        self.__init__()  # type: ignore[misc]

    def began(self, message: MessageProxy) -> None:
        """Write a job down. One too many, or with too long a name, is not: then all that is held is suspect."""
        name = str(message.options.get("redis_message_id", "")).encode()
        if not 0 < len(name) <= SLOT_BYTES:
            return
        try:
            slot = self._free.pop()
        except IndexError:
            return
        self._memory[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = name.ljust(SLOT_BYTES, b"\0")
        job.note(message, slot=slot)

    def ended(self, message: MessageProxy) -> None:
        slot = job.noted(message, "slot")
        if slot is not None:
            job.note(message, slot=None)
            self._memory[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = b"\0" * SLOT_BYTES
            self._free.append(slot)

    def acquit(self) -> None:
        """This process is about to end by no fault of its jobs: none of them is a suspect for it."""
        self._memory[:] = (
            b"-".ljust(SLOT_BYTES, b"\0") * SLOTS
        )  # a name that no job has: known, and none that is held

    def ids(self) -> list[str]:
        """What runs."""
        return ids_in(self._memory[:], SLOT_BYTES)

    def middleware(self) -> Middleware:
        return _WriteDown(self)


class _WriteDown(Middleware):
    """The broker's own middleware: the watcher starts before the first consumer, and knows what runs."""

    def __init__(self, running: RunningJobs) -> None:
        self._running = running

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        broker.watch.start()  # type: ignore[attr-defined]

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self._running.began(message)

    def acquit(self) -> None:
        self._running.acquit()
