"""The child's end of the line to its supervisor, in every process that a pool starts.

    supervisor ── "?" ──> child        how busy are you?
               <── "ready" ──          it takes jobs from now on
               <── "<running> <held>"  the answer
               ── (closed) ──          the supervisor is gone, kill -9 included: stop, and do not stay

A socket does what PR_SET_PDEATHSIG does on Linux alone, and it carries the answers too. Whoever does not answer (a job
keeps the interpreter's lock) is busy.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

READY, QUESTION = b"ready\n", b"?"
#: An orphan that has not ended by itself so long after its grace period is ended, in seconds.
MARGIN_SECONDS = 5.0

Busyness = tuple[int, int]


class Leash:
    """Listens on a thread of its own until the process ends.

    Args:
        line: the socket.
        busyness: jobs that run, and jobs that are held; called on that thread.
        grace: seconds that an orphan may take for its jobs.
    """

    def __init__(
        self, line: socket.socket, *, busyness: Callable[[], Busyness] = lambda: (0, 0), grace: float = 0.0
    ) -> None:
        self._socket = line
        self._socket.setblocking(True)
        self._socket.set_inheritable(False)  # what a job starts must not keep the line open
        self._busyness = busyness
        self._grace = grace
        self._stops = True

    def hold(self) -> None:
        """Start to listen."""
        threading.Thread(target=self._listen, name="littleq-leash", daemon=True).start()

    def ready(self) -> None:
        """Tell the supervisor."""
        self._say(READY)

    def slip(self) -> None:
        """The process is stopping anyway: should the supervisor go now, that is no second signal."""
        self._stops = False

    def _listen(self) -> None:
        while self._hear():
            self._say(b"%d %d\n" % self._busyness())
        if self._stops:
            logger.warning("The supervisor is gone: stopping.")
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._grace + MARGIN_SECONDS)
        os._exit(1)

    def _hear(self) -> bool:
        try:
            return bool(self._socket.recv(64))
        except OSError:
            return False

    def _say(self, words: bytes) -> None:
        try:
            self._socket.sendall(words)
        except OSError as error:  # gone; the thread that listens finds out as well
            logger.debug("The supervisor does not listen: %s", error)
