"""Time stamps of jobs, from many processes to the one that measures, at about a microsecond each.

Every process that runs jobs has a file of its own in a folder, mapped into its memory: no system call and no lock
stands between two jobs, and a process that is killed leaves what it wrote. Entry n is the n-th job of the process:
(when it started, what the job was given), both in nanoseconds of the wall clock. 0 is "not yet".
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import time
from array import array
from collections.abc import Callable
from pathlib import Path

#: Where a worker finds the folder.
VARIABLE = "LITTLEQ_BENCH_MARKS"
#: Jobs that one process can mark; a file is sparse, so the rest costs nothing.
CAPACITY = 1 << 17
_ENTRY = struct.Struct("=qq")


class Recorder:
    """One process's side."""

    def __init__(self, folder: Path, *, forks: bool = False) -> None:
        """With `forks`, children do the jobs, one each: they append to the file of their parent."""
        self._number = itertools.count()  # its next() is atomic: two threads never share an entry
        path = folder / f"{os.getpid()}"
        size = CAPACITY * _ENTRY.size
        self._appending = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY) if forks else None
        if not forks:
            with path.open("w+b") as file:
                file.truncate(size)
                self._map = mmap.mmap(file.fileno(), size)

    def __call__(self, given: int = 0) -> None:
        if self._appending is not None:
            os.write(self._appending, _ENTRY.pack(time.time_ns(), given))
            return
        _ENTRY.pack_into(self._map, next(self._number) * _ENTRY.size, time.time_ns(), given)


def from_environment(*, forks: bool = False) -> Callable[..., None]:
    """What a job calls first. A producer runs no jobs and has no folder."""
    folder = os.environ.get(VARIABLE)
    return Recorder(Path(folder), forks=forks) if folder else _unmarked


def _unmarked(_given: int = 0) -> None:
    pass


class Marks:
    """The measuring side: what all processes marked since the last `forget`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offsets: dict[Path, int] = {}
        self._entries: list[tuple[int, int]] = []

    def forget(self) -> None:
        """Leave out what is there now."""
        self.all()
        self._entries = []

    def all(self) -> list[tuple[int, int]]:
        """(start, given) of every job since, by start."""
        for path in self.folder.iterdir():
            new = _read(path, self._offsets.get(path, 0))
            self._offsets[path] = self._offsets.get(path, 0) + len(new)
            self._entries += new
        self._entries.sort()
        return self._entries

    @property
    def processes(self) -> int:
        """How many did a job, ever."""
        return sum(1 for entries in self._offsets.values() if entries)

    def wait_for(self, jobs: int, timeout: float, poll: float = 0.03) -> list[tuple[int, int]]:
        """As `all`, once there are `jobs` of them.

        Raises:
            TimeoutError: there were fewer after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while len(found := self.all()) < jobs:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {jobs} jobs were done after {timeout:.0f} s.")
            time.sleep(poll)
        return found


def _read(path: Path, first: int) -> list[tuple[int, int]]:
    """From entry `first` on, up to the first that is missing: a thread may be a moment ahead of another."""
    entries: list[tuple[int, int]] = []
    with path.open("rb") as file:
        file.seek(first * _ENTRY.size)
        while chunk := file.read(64 * _ENTRY.size):
            numbers = array("q", chunk)
            for start, given in zip(numbers[::2], numbers[1::2], strict=True):
                if not start:
                    return entries
                entries.append((start, given))
    return entries
