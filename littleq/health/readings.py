"""What the pulse files say: the reader's end."""

from __future__ import annotations

import os
from array import array
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from littleq.health.pulse import HEAD, JOB_SLOTS, MAGIC, SIZE, SUFFIX, Field, Kind, State, opened


class Reading(NamedTuple):
    """One process. Times are monotonic, in seconds; 0: never.

    Attributes:
        lives: the process has not ended.
        heard_at: last sign that its interpreter ran.
        jobs: until when each running job may take.
        away_since: since then a queue cannot be consumed; 0: all can.
        stuck_seconds: how long a consumer's loop has not turned while the interpreter did.
        name: the queue of that consumer.
        wanted: of a supervisor: worker processes that there shall be.
    """

    pid: int
    parent: int
    kind: Kind
    state: State
    lives: bool = True
    since: float = 0.0
    heard_at: float = 0.0
    answered_at: float = 0.0
    away_since: float = 0.0
    stuck_seconds: float = 0.0
    name: str = ""
    consumers: int = 0
    dead_consumers: int = 0
    threads: int = 0
    dead_threads: int = 0
    wanted: int = 0
    jobs: tuple[float, ...] = ()


def read(place: Path) -> list[Reading]:
    """All that have written in a folder, by pid. A file that goes meanwhile is passed over.

    Raises:
        PermissionError: the folder may not be read.
    """
    found = []
    try:
        names = [name for name in os.listdir(place) if name.endswith(SUFFIX)]  # noqa: PTH208 - a probe is to be quick
    except FileNotFoundError:
        return []
    for name in names:
        with suppress(FileNotFoundError), opened(place / name) as (file, lives):
            reading = parse(os.pread(file, SIZE, 0), lives=lives)
            if reading is not None:
                found.append(reading)
    return sorted(found, key=lambda reading: reading.pid)


def parse(data: bytes, *, lives: bool) -> Reading | None:
    """What a file says; None: it is of another release."""
    if len(data) != SIZE:
        return None
    values = array("d", data[: 8 * (HEAD + JOB_SLOTS)])
    if values[Field.MAGIC] != MAGIC:
        return None
    return Reading(
        pid=int(values[Field.PID]),
        parent=int(values[Field.PARENT]),
        kind=Kind(int(values[Field.KIND])),
        state=State(int(values[Field.STATE])),
        lives=lives,
        since=values[Field.SINCE],
        heard_at=max(values[Field.BEAT], values[Field.JOB]),
        answered_at=values[Field.ANSWERED],
        away_since=values[Field.AWAY],
        stuck_seconds=values[Field.STUCK],
        name=data[8 * (HEAD + JOB_SLOTS) :].rstrip(b"\0").decode(errors="replace"),
        consumers=int(values[Field.CONSUMERS]),
        dead_consumers=int(values[Field.DEAD_CONSUMERS]),
        threads=int(values[Field.THREADS]),
        dead_threads=int(values[Field.DEAD_THREADS]),
        wanted=int(values[Field.WANTED]),
        jobs=tuple(until for until in values[HEAD:] if until > 0),
    )
