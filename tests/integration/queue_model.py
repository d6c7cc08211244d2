"""A queue as it should be: what the accounting test holds the server against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_DELIVERIES = 3


@dataclass
class Model:
    """Where each job is, by its id on the server. A worker is a name; `done` and the like are running totals."""

    ready: list[str] = field(default_factory=list)
    held: dict[str, dict[str, int]] = field(default_factory=dict)  # worker -> id -> turn
    delayed: dict[str, float] = field(default_factory=dict)  # id -> due, in the test's time
    order: dict[str, float] = field(
        default_factory=dict
    )  # id -> due, as the server has it to the millisecond
    dead: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    deliveries: dict[str, int] = field(default_factory=dict)
    admitted: int = 0
    done: int = 0
    purged: int = 0
    turn: int = 0
    paused: bool = False

    @property
    def depth(self) -> int:
        return len(self.ready) + sum(len(ids) for ids in self.held.values())

    def comes_in(self, job_id: str, due: float | None) -> None:
        if due is None:
            self.ready.append(job_id)
        else:
            self.delayed[job_id] = due

    def hands_out(self, worker: str, jobs: int, now: float) -> list[str]:
        due = (job_id for job_id, at in self.delayed.items() if at <= now)
        for job_id in sorted(due, key=lambda job_id: (self.order[job_id], job_id)):
            del self.delayed[job_id]
            self.ready.append(job_id)
        if self.paused:
            return []
        given, self.ready = self.ready[:jobs], self.ready[jobs:]
        for job_id in given:
            self.turn += 1
            self.held.setdefault(worker, {})[job_id] = self.turn
        return given

    def lets_go(self, worker: str, job_id: str) -> None:
        del self.held[worker][job_id]

    def ends(self, worker: str, job_id: str) -> None:
        self.lets_go(worker, job_id)
        self.deliveries.pop(job_id, None)
        if job_id not in self.strangers:
            self.done += 1

    def dies(self, worker: str, job_id: str) -> None:
        self.lets_go(worker, job_id)
        self.deliveries.pop(job_id, None)
        self.dead.add(job_id)

    def gives_back(self, worker: str, job_ids: Iterable[str]) -> None:
        turns = {job_id: self.held[worker].pop(job_id) for job_id in job_ids}
        self.ready = sorted(turns, key=turns.__getitem__) + self.ready

    def is_buried(self, worker: str) -> None:
        """All that a dead worker held is suspect: it is not known what it ran."""
        for job_id in list(self.held.get(worker, {})):
            self.deliveries[job_id] = self.deliveries.get(job_id, 0) + 1
            if self.deliveries[job_id] >= MAX_DELIVERIES:
                self.dies(worker, job_id)
        self.gives_back(worker, list(self.held.get(worker, {})))
        self.held.pop(worker, None)

    def is_flushed(self) -> None:
        self.purged += self.depth + len(self.delayed) + len(self.dead)
        self.ready.clear()
        self.held.clear()
        self.delayed.clear()
        self.dead.clear()
        self.deliveries.clear()
