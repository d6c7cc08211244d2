"""Which workers to start and which to stop: values in, values out.

target   what a group shall have: the decision within its bounds; without a fresh one what it had
plan     what is missing is started, what is too much is stopped: those first that nobody misses
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

State = Literal["starting", "ready", "stopping"]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One process, as it was last heard of.

    Attributes:
        number: what it is called by.
        state: `starting`: it takes no jobs yet; `stopping`: it takes no more.
        running: jobs that it runs; None: it did not answer, so it is taken for busy.
        held: jobs that it runs or has prefetched.
        age: seconds since its start.
    """

    number: int
    state: State
    running: int | None = 0
    held: int = 0
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupView:
    """The workers of one queue, and how many there shall be.

    Attributes:
        target: wanted number, >= 0.
        workers: all of its processes that have not ended.
        startable: most that may be started now: 0 during a backoff.
    """

    target: int
    workers: Sequence[WorkerView] = ()
    startable: int = 1_000_000

    @property
    def standing(self) -> int:
        """Workers that take jobs, or soon do."""
        return sum(1 for worker in self.workers if worker.state != "stopping")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        start: how many, by group.
        stop: numbers of the workers to stop.
    """

    start: Mapping[str, int] = field(default_factory=dict)
    stop: Sequence[int] = ()


def target(previous: int | None, desired: int | None, *, least: int, most: int, woken: bool = False) -> int:
    """How many workers a queue shall have now.

    Args:
        previous: the last target; None: there was none.
        desired: the decision; None: there is none, or it is too old to be obeyed.
        least, most: bounds, 0 <= least <= most.
        woken: a job waits, and there was no worker: one at least.

    Returns:
        The decision within the bounds. Without one, what there was: who does not see scales nothing down.

    >>> target(4, 2, least=1, most=10), target(4, None, least=1, most=10), target(None, None, least=1, most=10)
    (2, 4, 1)
    """
    wanted = desired if desired is not None else previous if previous is not None else least
    if woken:
        wanted = max(wanted, 1)
    return min(most, max(least, wanted))


def plan(groups: Mapping[str, GroupView], *, most_starting: int) -> Plan:
    """What brings each group to its target.

    Args:
        groups: by name.
        most_starting: processes that may start at a time, over all groups, >= 1. A start is CPU time, for the app's
            imports: of ten at once on two cores all are ready late, of two after two the first ones early.

    Returns:
        What to start and stop. Who is furthest below its target is served first, so one large group keeps no other
        waiting.

    >>> plan({"mail": GroupView(2)}, most_starting=4).start
    {'mail': 2}
    """
    stop = [number for group in groups.values() for number in _surplus(group)]
    return Plan(_starts(groups, most_starting), stop)


def _starts(groups: Mapping[str, GroupView], most_starting: int) -> dict[str, int]:
    busy = sum(1 for group in groups.values() for worker in group.workers if worker.state == "starting")
    starts: dict[str, int] = {}
    for _ in range(most_starting - busy):
        short = {
            name: (group.standing + starts.get(name, 0)) / group.target
            for name, group in groups.items()
            if group.standing + starts.get(name, 0) < group.target and starts.get(name, 0) < group.startable
        }
        if not short:
            break
        worst = min(short, key=lambda name: short[name])
        starts[worst] = starts.get(worst, 0) + 1
    return starts


def _surplus(group: GroupView) -> list[int]:
    """Who is to go: whoever is missed least first."""
    too_many = group.standing - group.target
    if too_many <= 0:
        return []
    standing = [worker for worker in group.workers if worker.state != "stopping"]
    return [worker.number for worker in sorted(standing, key=_missed)[:too_many]]


def _missed(worker: WorkerView) -> tuple[int, float, int, float]:
    """How much a worker would be missed: one that takes no jobs yet, an idle one, one that holds jobs which have not
    begun, one that runs few, one that runs many; the younger of two goes.
    """
    if worker.state == "starting":
        return 0, 0, 0, worker.age
    running = float("inf") if worker.running is None else worker.running
    return 1, running, worker.held, worker.age
