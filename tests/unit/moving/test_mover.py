"""The steps of a move, on brokers in memory of every kind, cut short after every step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from littleq.backends.transfer import KINDS, Batch, Facts, Found, Gives, Kind, Parcel, Ref
from littleq.moving import Journal, Mover

ENDS = {"from": "a", "to": "b"}


class Killed(BaseException):
    """As good as kill -9: what the mover had in memory is gone."""


@dataclass
class Source:
    """What a server has; `held` ends with the connection, or is found by the next one."""

    finds: bool
    jobs: list[Parcel]
    held: dict[str, Parcel] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    biggest: int = 0

    @property
    def facts(self) -> Facts:
        return Facts(self.finds, "once", 10, "")

    def take(self, kind: Kind, limit: int) -> Sequence[Parcel]:
        found = [job for job in self.jobs if job.kind == kind][:limit]
        self.jobs = [job for job in self.jobs if job not in found]
        self.held.update({job.parcel_id: job for job in found})
        self.biggest = max(self.biggest, len(found))
        return found

    def forget(self, refs: Sequence[Ref]) -> set[str]:
        gone = {ref.parcel_id for ref in refs if self.held.pop(ref.parcel_id, None) is not None}
        again = {ref.parcel_id for ref in refs} & self.removed if self.finds else set()
        self.removed |= gone
        return gone | again

    def release(self, refs: Sequence[Ref] = ()) -> None:
        self.jobs = [*self.held.values(), *self.jobs]
        self.held.clear()

    def reconnect(self) -> None:
        if not self.finds:
            self.release()


@dataclass
class Target:
    gives: Gives
    jobs: list[Parcel] = field(default_factory=list)
    batches: set[int] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    batch: int = 2

    @property
    def facts(self) -> Facts:
        return Facts(True, self.gives, self.batch, "")

    def mark(self) -> str:
        return "mark"

    def give(self, batch: Batch, parcels: Sequence[Parcel]) -> set[str]:
        if self.gives == "once" and batch.number in self.batches:
            return {parcel.parcel_id for parcel in parcels}
        self.batches.add(batch.number)
        taken = [parcel for parcel in parcels if parcel.parcel_id not in self.refuses]
        self.jobs += taken
        return {parcel.parcel_id for parcel in taken}

    def present(self, batch: Batch, refs: Sequence[Ref]) -> Found:
        assert batch.mark == "mark"
        if self.gives == "blindly":
            return Found(set(), is_exact=False)
        there = {job.parcel_id for job in self.jobs}
        return Found({ref.parcel_id for ref in refs if ref.parcel_id in there})


def jobs() -> list[Parcel]:
    found = [Parcel(f"r{n}", "ready", b"x") for n in range(3)]
    return [*found, Parcel("d", "delayed", b"x", at=9e9), Parcel("x", "dead", b"x", at=1.0)]


def run(source: Source, target: Target, path: Path, kill_at: int = 0, **options: object) -> Journal:
    """One run; killed after its `kill_at`-th step."""
    numbers = itertools.count(1)

    def checkpoint(_step: str) -> None:
        if next(numbers) == kill_at:
            raise Killed

    journal = Journal(path, ENDS)
    try:
        mover = Mover(source, target, journal, checkpoint=checkpoint, **options)  # type: ignore[arg-type]
        mover.run(lambda: dict.fromkeys(KINDS, 5))
    finally:
        journal.close()
        source.reconnect()
    return journal


@pytest.mark.parametrize("finds", [True, False])
@pytest.mark.parametrize("gives", ["once", "looked up", "blindly"])
def test_no_kill_point_loses_a_job_and_only_a_blind_target_doubles_a_batch(
    tmp_path: Path, *, gives: Gives, finds: bool
) -> None:
    for first, second in itertools.product(range(1, 40), (0, 1, 3, 5)):
        source, target = Source(finds, jobs()), Target(gives)
        path = tmp_path / f"{first}-{second}"
        killed = 0
        for point in (first, second, 0):
            try:
                journal = run(source, target, path, point)
            except Killed:
                killed += 1
        came = [job.parcel_id for job in target.jobs]
        assert set(came) == {job.parcel_id for job in jobs()}, f"killed at {first}, {second}"
        doubled = len(came) - len(set(came))
        assert doubled <= (2 * killed if gives == "blindly" else 0), f"killed at {first}, {second}"
        assert not source.jobs
        assert not source.held
        totals = journal.state.totals.values()
        assert sum(each.unsure for each in totals) >= doubled
        if finds:
            assert sum(each.verified for each in totals) == len(set(came))
        if not killed:
            return
    pytest.fail("the move has no end")


def test_what_the_target_refuses_stays_at_the_source(tmp_path: Path) -> None:
    source, target = Source(True, jobs()), Target("once", refuses={"r1"})
    journal = run(source, target, tmp_path / "j")
    assert [job.parcel_id for job in source.jobs] == ["r1"]
    assert sorted(job.parcel_id for job in target.jobs) == ["d", "r0", "r2", "x"]
    assert journal.state.totals["ready"].taken == journal.state.totals["ready"].verified == 2


def test_a_rate_is_kept_and_takes_no_more_at_a_time(tmp_path: Path) -> None:
    slept: list[float] = []
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    source = Source(True, jobs())
    run(source, Target("once"), tmp_path / "j", rate=1.0, sleep=sleep, clock=lambda: now)
    assert source.biggest == 1
    assert 4.0 <= now <= 6.0
    assert max(slept) <= 0.5, "it may be told to stop"


def test_it_stops_between_two_batches(tmp_path: Path) -> None:
    source, target = Source(True, jobs()), Target("once")
    journal = Journal(tmp_path / "j", ENDS)
    mover = Mover(source, target, journal, told=lambda _kind, _jobs: mover.stop())  # type: ignore[arg-type]
    mover.run(lambda: dict.fromkeys(KINDS, 5))
    assert len(target.jobs) == 2
    assert len(source.jobs) == 3
    assert journal.state.open is None


def test_large_jobs_go_in_small_batches(tmp_path: Path) -> None:
    megabyte = b"x" * 2**20
    source = Source(True, [Parcel(f"r{n}", "ready", megabyte) for n in range(60)])
    target = Target("once", batch=500)
    journal = Journal(tmp_path / "j", ENDS)
    sizes: list[int] = []
    Mover(source, target, journal, told=lambda _kind, jobs: sizes.append(jobs)).run(lambda: {"ready": 60})  # type: ignore[arg-type]
    assert sum(sizes) == 60
    assert max(sizes[1:]) <= 8
