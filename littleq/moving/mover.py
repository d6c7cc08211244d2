"""The steps of a move, and what a second run makes of the first one's journal.

    take ─> write down "begin" ─> give ─> write down "given" ─> forget ─> write down "done"

Killed before "begin": what was taken goes back. Between "begin" and "given": the target is asked which jobs of the
batch it has; those are forgotten at the source, the others go back and are taken anew. A target that cannot tell gets
them again: at most this one batch is doubled. Between "given" and "done": they are forgotten now. A source that finds
nothing again by what was written down gets them back by itself, and they are forgotten when they are taken once more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from littleq.backends.transfer import KINDS, Kind, Parcel, Ref, Transfer
from littleq.moving.journal import Journal

#: Bytes of one batch, about: what a mover has in memory at a time is a few times that.
BATCH_BYTES = 8 * 1024 * 1024
#: Jobs of the first batch, before anybody knows how large they are.
FIRST_BATCH = 50
#: How often all kinds are gone through: while some move, retries and due jobs change from one kind to another, and
#: senders that were forgotten still send. What comes for ever is not waited for.
MOST_PASSES = 10
#: How long a paced move sleeps at a time, in seconds: it may be told to stop.
GRAIN_SECONDS = 0.5


@dataclass(slots=True)
class Mover:
    """One run of a move.

    Args:
        rate: jobs per second at most; None: as fast as the brokers go.
        told: called after each batch, with the kind of its jobs and how many they were.
        sleep, clock: of the pace.
        checkpoint: called between any two steps, with the name of the last one: tests kill the process there.
    """

    source: Transfer
    target: Transfer
    journal: Journal
    rate: float | None = None
    told: Callable[[Kind, int], None] = lambda _kind, _jobs: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    checkpoint: Callable[[str], None] = lambda _step: None
    moved: int = 0
    stopping: bool = False
    _job_bytes: float = BATCH_BYTES / FIRST_BATCH
    _began: float = 0.0
    _before: int = 0

    def run(self, counts: Callable[[], dict[Kind, int]]) -> None:
        """Move all that there is; ends early, between two batches, when it is told to `stop`.

        Args:
            counts: about how many jobs of each kind the source has.
        """
        self.resume()
        self.go_on(counts)

    def go_on(self, counts: Callable[[], dict[Kind, int]]) -> None:
        """The same, once more: something may have come since."""
        self._began, self._before = self.clock(), self.moved
        for _ in range(MOST_PASSES):
            before, expected = self.moved, counts()
            for kind in KINDS:
                # Somewhat more than there were: a count may be old. What comes without end waits for the next pass.
                self._drain(kind, 2 * expected.get(kind, 0) + self.target.facts.batch)
            if self.stopping or self.moved == before:
                break
        self.source.release()  # nothing is held, and nobody shall wait for this move

    def stop(self) -> None:
        """End when the batch on its way is settled. Safe in a signal handler."""
        self.stopping = True

    def _drain(self, kind: Kind, most: int) -> None:
        taken = 0
        while taken < most and not self.stopping:
            parcels = self.source.take(kind, self._limit())
            self.checkpoint("taken")
            if not parcels:
                return
            taken += len(parcels)
            fresh = self._recognise(parcels)
            if fresh:
                self._carry(fresh)
                self.told(kind, len(fresh))
            self._wait()

    def _carry(self, parcels: Sequence[Parcel]) -> None:
        journal, target = self.journal, self.target
        batch = journal.begin(target.mark(), parcels)
        self.checkpoint("begun")
        confirmed = target.give(batch, parcels)
        self.checkpoint("confirmed")
        journal.given(confirmed)
        self.checkpoint("given")
        self._forget([parcel.ref for parcel in parcels if parcel.parcel_id in confirmed])
        if len(confirmed) < len(parcels):
            self.source.release()
        self.moved += len(confirmed)
        size = sum(len(parcel.data) for parcel in parcels) / len(parcels)
        self._job_bytes = max(size, self._job_bytes * 0.5)

    def _forget(self, refs: Sequence[Ref]) -> None:
        gone = self.source.forget(refs)
        self.checkpoint("forgotten")
        self.journal.done(_by_kind(refs, gone))
        self.checkpoint("done")

    def _recognise(self, parcels: Sequence[Parcel]) -> Sequence[Parcel]:
        """Those that are not at the target yet; the others are forgotten once more."""
        owed = self.journal.state.owed
        known = [parcel.ref for parcel in parcels if parcel.parcel_id in owed]
        if not known:
            return parcels
        gone = self.source.forget(known)
        self.checkpoint("forgotten")
        self.journal.forgot([ref.parcel_id for ref in known], _by_kind(known, gone))
        return [parcel for parcel in parcels if parcel.ref not in known]

    def resume(self) -> None:
        """See to what the run before left half done."""
        journal, opened = self.journal, self.journal.state.open
        others: list[Ref] = []
        if opened is not None:
            refs = opened.refs
            if opened.stage == "begun":
                found = self.target.present(opened.batch, refs)
                self.checkpoint("asked")
                journal.given(found.ids, others_too=not found.is_exact)
                self.checkpoint("given")
            there = {ref.parcel_id for ref in opened.refs}
            others = [ref for ref in refs if ref.parcel_id not in there]
            if self.source.facts.finds:
                self._forget(opened.refs)
            else:
                journal.owe()
        self.source.release(others)
        self.checkpoint("released")

    def _limit(self) -> int:
        limit = min(self.target.facts.batch, int(BATCH_BYTES / max(1.0, self._job_bytes)))
        if self.rate is not None:
            limit = min(limit, int(self.rate))
        return max(1, limit)

    def _wait(self) -> None:
        while self.rate is not None and not self.stopping:
            early = self._began + (self.moved - self._before) / self.rate - self.clock()
            if early <= 0:
                return
            self.sleep(min(early, GRAIN_SECONDS))


def _by_kind(refs: Sequence[Ref], gone: Collection[str]) -> Counter[Kind]:
    return Counter(ref.kind for ref in refs if ref.parcel_id in gone)
