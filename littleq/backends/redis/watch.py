"""Keeps a watcher beside a worker process, and looks after it.

    worker process ──spawns──> watcher (watcher.py, a session of its own)
       │ killed, or ended          │ notices at once, brings its jobs back to the head of their queues, ends
       └ keeps the watcher alive   └ gives signs of life for the worker, and buries workers that give none

Where no watcher can be started, a thread of the worker does the same as long as the worker lives: a death is then
noticed by others, within the heartbeat timeout.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

import redis
from dramatiq.logging import get_logger

from littleq.backends.redis import watcher
from littleq.backends.redis.running import SLOT_BYTES, SLOTS
from littleq.backends.redis.scripts import lua
from littleq.backends.redis.urls import plain_pool
from littleq.background import Background

if TYPE_CHECKING:
    from littleq.backends.redis.broker import RedisBroker

#: Signs of life in a heartbeat timeout, at least one a second; and the share of it after which a worker is silent,
#: so that it is buried within the timeout.
BEATS, SILENT_SHARE = 10, 0.9
#: The script that a watcher runs.
BEAT = ("prelude", "holding", "beat")
#: How often a worker process looks for dead letters that are not to be kept any longer, in seconds.
EXPIRE_SECONDS = 60.0
#: Watchers that ended by themselves, one after the other within so many seconds each, after which none is started
#: any more: this machine cannot run one.
MOST_FAILURES, QUICK_SECONDS = 3, 5.0
#: A watcher has so long to end once its worker stops it, in seconds.
LEAVE_SECONDS = 5.0


class Watch:
    """One per broker and process; started by the first consumer."""

    def __init__(self, broker: RedisBroker, *, spawns: bool = True) -> None:
        self.logger = get_logger(__name__, type(self))
        self._broker = weakref.ref(broker)
        self._process: subprocess.Popen[bytes] | None = None
        self._failed = not spawns
        self._failures = 0
        self._spawned_at = 0.0
        self._lock = threading.Lock()
        self._expired_at = float("-inf")
        self.interval = min(1.0, broker.heartbeat_timeout / 1000 / BEATS)
        self._background = Background("littleq-watch", self.interval, self._look)

    @property
    def pid(self) -> int | None:
        """Of the watcher; None where there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start watching, unless it is done already."""
        if self._background.idle:
            with self._lock:
                if self._background.idle:
                    self._spawn()
                    self._background.start()

    def stop(self) -> None:
        """Let the watcher go; what this process holds stays its own until the heartbeat runs out."""
        self._background.stop()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE_SECONDS)

    def _look(self) -> None:
        """Each interval: a watcher that was killed is started again; where there can be none, do what it would."""
        broker = self._broker()
        if broker is None:
            self._background.stop()
            return
        if self._process is not None and self._process.poll() is not None:
            self._replace(self._process.returncode)
        if self._process is None:
            with suppress(redis.RedisError):  # the server is away: the consumers say so
                broker.beat()
        if broker.dead_retention and time.monotonic() - self._expired_at >= EXPIRE_SECONDS:
            self._expired_at = time.monotonic()
            with suppress(redis.RedisError):
                broker.expire_dead_letters()

    def _replace(self, status: int) -> None:
        """Start another watcher, unless they all end as soon as they are started."""
        is_quick = time.monotonic() - self._spawned_at < QUICK_SECONDS
        self._failures = self._failures + 1 if is_quick and status > 0 else 0  # below 0: a signal ended it
        if self._failures >= MOST_FAILURES:
            self._give_up(f"they end with status {status}")
        else:
            self.logger.warning("The watcher ended with status %d; it is started again.", status)
            self._spawn()

    def _spawn(self) -> None:
        broker = self._broker()
        if broker is None or self._failed:
            return
        self._process, self._spawned_at = None, time.monotonic()
        try:
            orders = pickle.dumps(self._orders(broker))
            reader, writer = os.pipe()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", watcher.__file__, str(reader)],
                    pass_fds=(reader, broker.running.file),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            finally:
                os.close(reader)
                with os.fdopen(writer, "wb") as pipe:
                    if self._process is not None:
                        pipe.write(orders)
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        self._process, self._failed = None, True
        broker = self._broker()
        self.logger.warning(
            "No watcher can be started (%s): if this process is killed, its jobs go back after the heartbeat timeout "
            "of %g s, not at once.",
            *(why, broker.heartbeat_timeout / 1000 if broker is not None else 0),
        )

    def _orders(self, broker: RedisBroker) -> watcher.Orders:
        return watcher.Orders(
            parent=os.getpid(),
            pool=plain_pool(broker.client),
            script=lua(*BEAT),
            namespace=broker.namespace,
            worker=broker.broker_id,
            timeout=int(broker.heartbeat_timeout * SILENT_SHARE),
            deliveries=broker.deliveries_json(),
            interval=self.interval,
            give_up=2 * broker.heartbeat_timeout / 1000,
            memory=(broker.running.file, SLOTS * SLOT_BYTES, SLOT_BYTES),
        )
