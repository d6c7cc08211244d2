"""Keeps groups of processes at their targets: what `littleq up` and `littleq controller` do.

    sight ──> target ──> plan ──> start, stop        once a step, four steps a second, at once when a process speaks
    processes ──> ready, busy, ended ──┘

Failures. A process that ends unasked is replaced, after a pause that grows (`Backoff`) and that only its own group
sees. One that does not become ready within `BOOT_SECONDS` counts as dead. One that does not stop is killed after its
grace period. Without a fresh decision a group keeps the number that it has. If this process is killed its children
notice (`leash`), finish, and end.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from littleq.autoscale.pool.backoff import Backoff
from littleq.autoscale.pool.child import Work
from littleq.autoscale.pool.plan import GroupView, plan, target
from littleq.autoscale.pool.processes import Launcher, Part, Process
from littleq.autoscale.pool.sight import Sight
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.health import pulse

logger = logging.getLogger("littleq.pool")

#: A process that is not ready after so long is taken for dead, in seconds.
BOOT_SECONDS = 120.0
#: Until a process has been started here, it is taken to need so long, in seconds.
GUESSED_START_SECONDS = 1.0


@dataclass(frozen=True)
class Group:
    """Processes that do the same.

    Attributes:
        name: the queue, or what it is.
        program: what they run.
        least, most: how many.
        scales: follows decisions; else it has `least`.
        ends: one that ends with status 0 has done its work, and is not replaced.
    """

    name: str
    program: Work | Part
    least: int = 1
    most: int = 1
    scales: bool = False
    ends: bool = False


@dataclass
class Crew:
    """A group and its processes.

    Attributes:
        reason: of the last decision.
        woken_until: a worker was started for a waiting job, and stays until then (monotonic).
        deaths: processes that ended unasked.
    """

    group: Group
    backoff: Backoff
    processes: list[Process] = field(default_factory=list)
    target: int | None = None
    reason: str = ""
    is_fresh: bool = False
    woken_until: float = float("-inf")
    deaths: int = 0
    is_done: bool = False

    def count(self, state: str) -> int:
        """Processes in a state."""
        return sum(1 for process in self.processes if process.state == state)

    @property
    def running(self) -> int:
        """Jobs that run, as last heard."""
        return sum(process.running for process in self.processes)

    def view(self, now: float) -> GroupView:
        startable = self.backoff.startable(self.count("starting"))
        wanted = 0 if self.is_done else self.target or 0
        return GroupView(wanted, [process.view(now) for process in self.processes], startable)


class Supervisor:
    """See the module.

    Args:
        groups: what to keep running.
        launcher: starts the processes.
        sight: what is seen of the fleet, asked each step; no I/O.
        stale_seconds: a decision older than that is not obeyed.
        wake_seconds: how long a worker stays that was started because a job waited, whatever was decided before.
        most_starting: processes that may start at a time; default: two, or as many as there are CPUs.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        launcher: Launcher,
        *,
        sight: Callable[[], Sight] = Sight,
        clock: Clock = SYSTEM_CLOCK,
        stale_seconds: float = 20.0,
        wake_seconds: float = 15.0,
        most_starting: int | None = None,
    ) -> None:
        self.crews = {group.name: Crew(group, Backoff(clock)) for group in groups}
        self.start_seconds = GUESSED_START_SECONDS
        self.is_stopping = self._is_killing = False
        self.sight = sight
        self._launcher, self._clock = launcher, clock
        self._stale_seconds, self._wake_seconds = stale_seconds, wake_seconds
        self._most_starting = most_starting or max(2, os.cpu_count() or 1)

    @property
    def processes(self) -> Iterator[tuple[Crew, Process]]:
        """All that have not ended."""
        for crew in self.crews.values():
            for process in tuple(crew.processes):
                yield crew, process

    @property
    def is_over(self) -> bool:
        """Whether all has ended that was to stop."""
        return self.is_stopping and not any(crew.processes for crew in self.crews.values())

    def empty(self) -> list[str]:
        """The groups that follow decisions and have no worker now."""
        return [
            name
            for name, crew in tuple(self.crews.items())
            if crew.group.scales and crew.count("ready") + crew.count("starting") == 0
        ]

    def step(self) -> None:
        """Look after all processes once. Waits for nothing."""
        now = self._clock.monotonic()
        for crew, process in self.processes:
            self._listen(crew, process, now)
        self._reap(now)
        if not self.is_stopping:
            self._aim(now)
            self._act(now)
        for _, process in self.processes:
            if self.is_stopping:
                process.stop(now)
            if self._is_killing:
                process.kill()
            process.ask(now)

    @property
    def wanted(self) -> int:
        """Worker processes that there shall be."""
        return sum(crew.target or 0 for crew in self.crews.values() if isinstance(crew.group.program, Work))

    def stop(self) -> None:
        """Have all stopped by the next steps. May be called from another thread."""
        self.is_stopping = True

    def kill(self) -> None:
        """Have all that is left ended by the next step, at once."""
        self.is_stopping = self._is_killing = True

    def _listen(self, crew: Crew, process: Process, now: float) -> None:
        if process.listen(now):
            took = now - process.started_at
            self.start_seconds = took
            logger.info("%s: process %d is ready after %.1f s", crew.group.name, process.pid, took)

    def _reap(self, now: float) -> None:
        for crew, process in self.processes:
            status = process.status()
            if status is not None:
                crew.processes.remove(process)
                self._ended(crew, process, status)
            elif process.kill_at is not None and now >= process.kill_at:
                logger.warning("%s: process %d does not stop: killed", crew.group.name, process.pid)
                process.kill()
            elif process.state == "starting" and now - process.started_at > BOOT_SECONDS:
                logger.warning(
                    "%s: process %d is not ready after %g s: killed",
                    *(crew.group.name, process.pid, BOOT_SECONDS),
                )
                process.kill()

    def _ended(self, crew: Crew, process: Process, status: int) -> None:
        name = crew.group.name
        pulse.forget(process.pid)  # it is seen to, here
        if process.state == "stopping":
            logger.info("%s: process %d has stopped (%s)", name, process.pid, in_words(status))
        elif status == 0 and crew.group.ends:
            crew.is_done = True
            logger.info("%s: process %d has nothing more to do", name, process.pid)
        else:
            crew.deaths += 1
            pause = crew.backoff.died()
            logger.warning(
                "%s: process %d ended unasked (%s); the next start is in %g s",
                *(name, process.pid, in_words(status), pause),
            )

    def _aim(self, now: float) -> None:
        sight = self.sight()
        for name, crew in self.crews.items():
            group = crew.group
            desired = sight.desired(name, now, self._stale_seconds) if group.scales else None
            if group.scales and name in sight.waiting and name in self.empty():
                crew.woken_until = now + self._wake_seconds
            woken = now < crew.woken_until
            crew.is_fresh = desired is not None
            wanted = target(
                crew.target,
                None if desired is None else desired.workers,
                least=group.least,
                most=group.most,
                woken=woken,
            )
            if woken and (desired is None or desired.workers < 1):
                crew.reason = "A job waits."
            elif desired is not None:
                crew.reason = desired.reason
            elif crew.target is None:
                crew.reason = "No decision yet."
            if wanted != (crew.target or 0) and group.scales:
                logger.info("%s: %d -> %d workers. %s", name, crew.target or 0, wanted, crew.reason)
            crew.target = wanted

    def _act(self, now: float) -> None:
        views = {name: crew.view(now) for name, crew in self.crews.items()}
        wanted = plan(views, most_starting=self._most_starting)
        for _, process in self.processes:
            if process.number in wanted.stop:
                process.stop(now)
        for name, count in wanted.start.items():
            self._start(self.crews[name], count)

    def _start(self, crew: Crew, count: int) -> None:
        for _ in range(count):
            try:
                crew.processes.append(self._launcher.start(crew.group.program))
            except OSError as error:
                pause = crew.backoff.died()
                logger.warning(
                    "%s: no process can be started (%s); trying again in %g s",
                    *(crew.group.name, error, pause),
                )
                return


def in_words(status: int) -> str:
    """An exit status, for a log.

    >>> in_words(3), in_words(-9)
    ('status 3', 'killed by SIGKILL')
    """
    if status >= 0:
        return f"status {status}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"
