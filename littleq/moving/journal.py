"""What a move has done, in a file that survives it: one JSON object a line.

    move     the two ends, the queue, and the name of the move
    begin    a batch: the ids of its jobs, before they are given. On disk before the target is asked
    given    the ids that the target has confirmed. On disk before the source is told
    done     how many of them the source has removed
    owed     the source could not find those of the open batch: they are removed when they are taken once more
    forgot   so they were
    end      nothing was left: the sums begin anew

After a crash the last line says where it happened. A line that was cut off was never acted upon, and is cut away.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from littleq.backends.transfer import KINDS, Batch, Kind, Parcel, Ref
from littleq.errors import LittleQError

VERSION = 1


class JournalError(LittleQError):
    """A journal cannot be used: of another move, in use, or no journal at all."""


@dataclass(slots=True)
class Totals:
    """What became of the jobs of one kind.

    Attributes:
        taken: different jobs that were held at the source.
        given: confirmed by the target.
        verified: confirmed by the target, and then removed from the source: they are in one place.
        unsure: given without a way to know whether a crash before had given them already.
    """

    taken: int = 0
    given: int = 0
    verified: int = 0
    unsure: int = 0


@dataclass(slots=True)
class Open:
    """The last batch of a journal, if it was not done.

    Attributes:
        refs: its jobs, as far as they are still to be seen to.
        stage: "begun": nobody knows what of it is at the target; "given": all of `refs` are.
    """

    batch: Batch
    refs: list[Ref]
    stage: Literal["begun", "given"] = "begun"


@dataclass(slots=True)
class State:
    """What a journal says.

    Attributes:
        open: the last batch, if it was not done.
        owed: jobs that the target has and the source could not remove yet.
        doubtful: jobs that a crash may have given already.
    """

    move: str = ""
    number: int = 0
    open: Open | None = None
    owed: dict[str, Kind] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    totals: dict[Kind, Totals] = field(default_factory=lambda: {kind: Totals() for kind in KINDS})


class Journal:
    """The journal of one move. Only one process can have it open.

    Args:
        path: the file; made if it is not there.
        ends: what tells this move from another: URLs without secrets, namespaces, the queue.

    Raises:
        JournalError: it belongs to another move, another process uses it, or it is no journal.
    """

    def __init__(self, path: Path, ends: Mapping[str, str]) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"The journal {path} cannot be written ({error.strerror}).") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise JournalError(
                f"Another process moves jobs with the journal {path}: wait until it ends."
            ) from None
        try:
            self.state = self._read(ends)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def is_resumed(self) -> bool:
        """Whether a run before this one was cut short."""
        return self.state.open is not None or any(each.taken for each in self.state.totals.values())

    def begin(self, mark: str, parcels: Sequence[Parcel]) -> Batch:
        """Before jobs are given."""
        jobs = [[each.parcel_id, each.kind, each.note] for each in parcels]
        self._do({"begin": self.state.number + 1, "mark": mark, "jobs": jobs})
        return self._open().batch

    def given(self, ids: Collection[str], *, others_too: bool = False) -> None:
        """The target has these jobs of the open batch; the others are to be taken anew.

        Args:
            others_too: it may have the others as well, and cannot tell.
        """
        opened = self._open()
        line: dict[str, Any] = {"given": opened.batch.number}
        if any(ref.parcel_id not in ids for ref in opened.refs):
            line["ids"] = [ref.parcel_id for ref in opened.refs if ref.parcel_id in ids]
            if others_too:
                line["others"] = "unknown"
        self._do(line)

    def done(self, forgotten: Mapping[Kind, int]) -> None:
        """The open batch is settled; how many of its jobs the source had and has removed."""
        self._do({"done": self._open().batch.number, "forgotten": dict(forgotten)})

    def owe(self) -> None:
        """The open batch is at the target, and its source cannot find it."""
        self._do({"owed": self._open().batch.number})

    def forgot(self, ids: Collection[str], forgotten: Mapping[Kind, int]) -> None:
        """What was owed has come, and is removed."""
        self._do({"forgot": list(ids), "forgotten": dict(forgotten)})

    def end(self) -> None:
        """Nothing is left at the source."""
        self._do({"end": self.state.number})

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> Open:
        if self.state.open is None:
            raise JournalError(f"The journal {self.path} has no open batch.")
        return self.state.open

    def _do(self, line: dict[str, Any]) -> None:
        """Written down first: a second run reads the same and comes to the same state."""
        self._write(line)
        _replay(self.state, line)

    def _write(self, line: Mapping[str, Any]) -> None:
        data = memoryview((json.dumps(line, separators=(",", ":")) + "\n").encode())
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def _read(self, ends: Mapping[str, str]) -> State:
        lines = self._lines()
        first = next(lines, None)
        if first is None:
            state = State(move=uuid.uuid4().hex[:12])
            self._write({"littleq": "move", "version": VERSION, "move": state.move, **ends})
            _sync_folder(self.path)
            return state
        if first.get("littleq") != "move" or first.get("version") != VERSION:
            raise JournalError(
                f"{self.path} is no journal of this version of littleq: name another with --journal."
            )
        for name, value in ends.items():
            if first.get(name) != value:
                raise JournalError(
                    f"The journal {self.path} belongs to a move with {name} = {first.get(name)}, not {value}: name "
                    "another with --journal."
                )
        state = State(move=str(first["move"]))
        for line in lines:
            _replay(state, line)
        return state

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The lines, one at a time: a long move has a long journal."""
        whole = 0
        with self.path.open("rb") as file:
            for raw in file:
                try:
                    if not raw.endswith(b"\n"):
                        break  # cut off while it was written
                    line = json.loads(raw)
                    if not isinstance(line, dict):
                        raise ValueError("no object")
                except ValueError:
                    raise JournalError(
                        f"{self.path} is no journal of a move: name another with --journal."
                    ) from None
                whole += len(raw)
                yield line
        os.ftruncate(self._file, whole)


def _replay(state: State, line: dict[str, Any]) -> None:
    """One line on top of those before it."""
    opened = state.open
    if "begin" in line:
        state.number = int(line["begin"])
        refs = [Ref(parcel_id, cast("Kind", kind), note) for parcel_id, kind, note in line["jobs"]]
        state.open = Open(Batch(state.move, state.number, str(line["mark"])), refs)
        _count(state, refs, "taken", 1)
    elif "given" in line and opened is not None:
        others = (
            {ref.parcel_id for ref in opened.refs} - set(line.get("ids", ())) if "others" in line else set()
        )
        _give(state, opened, line.get("ids"))
        state.doubtful |= others
    elif "owed" in line and opened is not None:
        state.owed.update({ref.parcel_id: ref.kind for ref in opened.refs})
        state.open = None
    elif "end" in line:
        state.totals = {kind: Totals() for kind in KINDS}
        state.owed.clear()
    if "forgotten" in line:
        for kind, jobs in line["forgotten"].items():
            state.totals[kind].verified += jobs
        for parcel_id in line.get("forgot", ()):
            state.owed.pop(parcel_id, None)
    if "done" in line:
        state.open = None


def _give(state: State, opened: Open, ids: Sequence[str] | None) -> None:
    """What is not there is taken anew some time, and counted then."""
    there = {ref.parcel_id for ref in opened.refs} if ids is None else set(ids)
    _count(state, [ref for ref in opened.refs if ref.parcel_id not in there], "taken", -1)
    opened.refs = [ref for ref in opened.refs if ref.parcel_id in there]
    opened.stage = "given"
    _count(state, opened.refs, "given", 1)
    _count(state, [ref for ref in opened.refs if ref.parcel_id in state.doubtful], "unsure", 1)
    state.doubtful.difference_update(there)


def _count(state: State, refs: Sequence[Ref], what: str, by: int) -> None:
    for ref in refs:
        total = state.totals[ref.kind]
        setattr(total, what, getattr(total, what) + by)


def _sync_folder(path: Path) -> None:
    """A new file is there after a power cut only if its folder was written."""
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
