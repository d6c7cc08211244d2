"""A small file in which each worker process says that it lives, by stores in shared memory.

The file is an array of doubles (`Field`), then a slot for each worker thread: until when the job that it runs may
take, 0 while it runs none; then the name of the consumer that is stuck, if any. Stamps are of the monotonic clock,
which all processes of a machine share. Aligned doubles are stored whole, so neither side needs a lock.

The writer holds an flock on its file for life: the kernel drops it with the process, however that went. So a reader
knows a dead writer without a look at its pid, which another process may have by now (in a container that restarted,
the first one surely has). Forked children close their copy of it.

    <folder>/<pid>-<random>.pulse     a writer; taken away where it ends in order, left behind where it is killed

A new writer takes away what dead ones left behind: it is their replacement.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: no probe there
    fcntl = None  # type: ignore[assignment]

FOLDER_VARIABLE = "LITTLEQ_PULSE_DIR"
SUFFIX = ".pulse"
#: Changes with the layout.
MAGIC = 20261124.0
#: Worker threads that can be written down; the jobs of more than that do not excuse a silent process.
JOB_SLOTS = 1024
NAME_BYTES = 256


class Field(IntEnum):
    """Doubles at the head of the file. Times are monotonic, in seconds; 0: never, or none."""

    MAGIC = 0
    PID = 1
    PARENT = 2
    KIND = 3
    STATE = 4
    SINCE = 5  # when the state began
    BEAT = 6  # the interpreter ran then
    JOB = 7  # a job began or ended then
    ANSWERED = 8  # the broker gave its last good answer
    AWAY = 9  # since then a queue cannot be consumed
    STUCK = 10  # seconds for which the loop of a consumer has not turned while the interpreter did
    CONSUMERS = 11  # their number
    DEAD_CONSUMERS = 12  # those whose thread has ended unasked
    THREADS = 13  # worker threads
    DEAD_THREADS = 14
    WANTED = 15  # of a supervisor: worker processes that there shall be


class Kind(IntEnum):
    """Who writes."""

    WORKER = 1
    LAUNCHER = 2  # will start workers, and has nothing to say once they speak for themselves
    SUPERVISOR = 3  # starts and replaces workers


class State(IntEnum):
    """Where in its life a process is."""

    STARTING = 1
    RUNNING = 2
    STOPPING = 3


HEAD = len(Field)
SIZE = 8 * (HEAD + JOB_SLOTS) + NAME_BYTES


def folder() -> Path:
    """Where pulses are: $LITTLEQ_PULSE_DIR, else littleq-<uid>/pulse in $TMPDIR, else in /tmp."""
    if own := os.environ.get(FOLDER_VARIABLE):
        return Path(own).expanduser()
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"littleq-{user}" / "pulse"  # noqa: S108 - the folder is checked


class Pulse:
    """The writer's end. Create it with `begin`.

    Attributes:
        jobs: of each worker thread, until when its job may take (monotonic s); 0: it runs none. Written by the thread.
        head: see `Field`.
    """

    def __init__(self, memory: mmap.mmap, path: Path | None, file: int | None, kind: Kind) -> None:
        self._path, self._file, self._memory = path, file, memory
        self.pid = os.getpid()
        whole = memoryview(memory)
        self.head = whole[: 8 * HEAD].cast("d")
        self.jobs = whole[8 * HEAD : 8 * (HEAD + JOB_SLOTS)].cast("d")
        self._name = whole[8 * (HEAD + JOB_SLOTS) :]
        self.head[Field.PID], self.head[Field.PARENT] = self.pid, os.getppid()
        self.head[Field.KIND] = kind
        self.enter(State.STARTING)
        self.head[Field.MAGIC] = MAGIC

    @classmethod
    def begin(cls, kind: Kind = Kind.WORKER, *, inherited: bool = False) -> Pulse:
        """Start a pulse file of this process, in state `STARTING`.

        Args:
            inherited: the file stays alive with what this process executes (`exec`) or forks.

        Raises:
            OSError: there can be none; the folder is not ours, say, or the file system is read-only.
        """
        if fcntl is None:  # pragma: no cover
            raise OSError("this system has no flock")
        place = _own(folder())
        draft = place / f"{os.getpid()}-{os.urandom(4).hex()}.new"
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.set_inheritable(file, inherited)
            os.ftruncate(file, SIZE)
            pulse = cls(mmap.mmap(file, SIZE), draft.with_suffix(SUFFIX), file, kind)
            draft.rename(draft.with_suffix(SUFFIX))  # complete, and locked
        except BaseException:
            os.close(file)
            draft.unlink(missing_ok=True)
            raise
        clean(place)
        return pulse

    @classmethod
    def unseen(cls, kind: Kind = Kind.WORKER) -> Pulse:
        """One that nobody reads, where there can be no file."""
        return cls(mmap.mmap(-1, SIZE), None, None, kind)

    def enter(self, state: State) -> None:
        """Say where in its life the process is."""
        now = time.monotonic()
        self.head[Field.BEAT] = self.head[Field.SINCE] = now
        self.head[Field.STATE] = state

    @property
    def state(self) -> State:
        return State(int(self.head[Field.STATE]))

    def name_stuck(self, name: str) -> None:
        """The queue whose consumer is stuck or away."""
        data = name.encode(errors="replace")[:NAME_BYTES]
        self._name[: len(data)] = data
        self._name[len(data) :] = bytes(NAME_BYTES - len(data))

    def end(self) -> None:
        """The process ends in order, or has no more to do with workers: nothing is left behind."""
        if self._path is not None and os.getpid() == self.pid:
            self._path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Close the file; in a forked child this ends nothing but the child's copy."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _own(place: Path) -> Path:
    """The folder, made if need be.

    Raises:
        PermissionError: it belongs to somebody else, who could pass off workers for ours.
    """
    for made in (place.parent, place):
        if not made.is_dir():
            with suppress(FileExistsError):
                made.mkdir(mode=0o700, parents=True)
    if hasattr(os, "getuid") and place.stat().st_uid not in (os.getuid(), 0):
        raise PermissionError(f"{place} belongs to another user")
    return place


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, bool]]:
    """A pulse file for reading, and whether its writer lives.

    Raises:
        OSError: it is not there any more, or may not be read.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield file, True
        else:
            yield file, False
    finally:
        os.close(file)


def clean(place: Path) -> None:
    """Take away what dead writers left behind. Never raises."""
    for path in _files(place):
        with suppress(OSError), opened(path) as (_, lives):
            if not lives:
                path.unlink(missing_ok=True)


def forget(pid: int) -> None:
    """Take away what a dead child of this process left behind: it was seen, and is replaced."""
    for path in _files(folder()):
        if path.name.startswith(f"{pid}-"):
            with suppress(OSError), opened(path) as (_, lives):
                if not lives:
                    path.unlink(missing_ok=True)


def forget_own() -> None:
    """Take away what this process said before it executed the program that it is now."""
    for path in _files(folder()):
        if path.name.startswith(f"{os.getpid()}-"):
            path.unlink(missing_ok=True)


def _files(place: Path) -> list[Path]:
    try:
        return sorted(place.glob(f"*{SUFFIX}"))
    except OSError:
        return []


_lock = threading.Lock()
_current: Pulse | None = None


def current() -> Pulse | None:
    """The pulse of this process, if it has begun one."""
    pulse = _current
    return pulse if pulse is not None and pulse.pid == os.getpid() else None


def keep(pulse: Pulse | None) -> None:
    """Make it the pulse of this process; None: it has none any more."""
    global _current
    with _lock:
        _current = pulse


def start(kind: Kind = Kind.WORKER) -> Pulse:
    """The pulse of this process, begun if it has none. Never raises: where there can be no file, nobody reads it."""
    pulse = current()
    if pulse is None:
        try:
            pulse = Pulse.begin(kind)
        except OSError as error:
            import logging  # noqa: PLC0415 - a probe does without

            logging.getLogger(__name__).warning(
                "No pulse can be kept in %s (%s), so `littleq health` sees nothing of this process: set %s to a folder "
                "that it may write to.",
                *(folder(), error.strerror or error, FOLDER_VARIABLE),
            )
            pulse = Pulse.unseen(kind)
        keep(pulse)
    return pulse


def end() -> None:
    """End the pulse of this process, if it has one."""
    pulse = current()
    keep(None)
    if pulse is not None:
        pulse.end()


def _after_fork_in_child() -> None:
    """The lock is the parent's: with a copy of it open here, a dead parent would seem to live."""
    global _current, _lock
    _lock = threading.Lock()
    pulse, _current = _current, None
    if pulse is not None:
        pulse.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
