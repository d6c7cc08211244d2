"""A supervisor with processes that only pretend, on a clock that only moves when told to."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from littleq.autoscale.pool.plan import State, WorkerView
from littleq.autoscale.pool.processes import Part
from littleq.autoscale.pool.sight import Desired, Sight
from littleq.autoscale.pool.supervisor import BOOT_SECONDS, Group, Supervisor
from littleq.testing import ManualClock

PROGRAM = Part("nothing:at_all")


class Pretended:
    """As `Process`."""

    def __init__(self, number: int, clock: ManualClock) -> None:
        self.number, self.pid, self.started_at = number, 1000 + number, clock.monotonic()
        self.state: State = "starting"
        self.exit: int | None = None
        self.kill_at: float | None = None
        self.running = self.kills = 0
        self.says_ready = False
        self.is_listening = False

    def view(self, now: float) -> WorkerView:
        return WorkerView(self.number, self.state, self.running, self.running, now - self.started_at)

    def listen(self, now: float) -> bool:
        if self.says_ready and self.state == "starting":
            self.state = "ready"
            return True
        return False

    def ask(self, now: float) -> None:
        """It would answer."""

    def stop(self, now: float) -> None:
        if self.state != "stopping":
            self.state, self.kill_at = "stopping", now + 35

    def kill(self) -> None:
        self.kills += 1
        self.exit = -9

    def status(self) -> int | None:
        return self.exit


class Launcher:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.made: list[Pretended] = []
        self.error: OSError | None = None

    def start(self, program: Part) -> Pretended:
        if self.error is not None:
            raise self.error
        self.made.append(Pretended(len(self.made), self.clock))
        return self.made[-1]


class World:
    def __init__(self, *groups: Group, **options: Any) -> None:
        self.clock = ManualClock()
        self.launcher = Launcher(self.clock)
        self.decided: dict[str, int] = {}
        self.waiting: frozenset[str] = frozenset()
        self.age = 0.0
        launcher: Any = self.launcher
        options = {"stale_seconds": 20.0, "wake_seconds": 15.0, "most_starting": 8, **options}
        self.supervisor = Supervisor(groups, launcher, sight=self.sight, clock=self.clock, **options)

    def sight(self) -> Sight:
        decisions = {queue: Desired(workers, self.age) for queue, workers in self.decided.items()}
        return Sight(decisions, self.waiting, self.clock.monotonic())

    def step(self, seconds: float = 0.25) -> None:
        self.clock.advance(seconds)
        self.supervisor.step()

    def settle(self) -> None:
        """Until all that are starting are ready and all that are stopping are gone."""
        for _ in range(3):
            self.step()
            for process in self.launcher.made:
                process.says_ready = True
                if process.state == "stopping" and process.exit is None:
                    process.exit = 0
        self.step()

    def count(self, queue: str = "q") -> int:
        return self.supervisor.crews[queue].count("ready")


@pytest.fixture
def world() -> World:
    return World(Group("q", PROGRAM, 0, 5, scales=True))


def test_it_follows_the_decision_within_the_bounds(world: World) -> None:
    for decided, expected in ((3, 3), (9, 5), (1, 1), (0, 0), (2, 2)):
        world.decided["q"] = decided
        world.settle()
        assert world.count() == expected


def test_without_a_fresh_decision_it_keeps_what_it_has_and_replaces_the_dead(world: World) -> None:
    world.decided["q"] = 3
    world.settle()
    for blind in (
        world.decided.clear,
        lambda: (world.decided.update(q=0), setattr(world, "age", 21.0)),
    ):
        blind()
        world.settle()
        assert world.count() == 3
    next(p for p in world.launcher.made if p.exit is None).exit = -9
    world.step(1.0)
    world.settle()
    assert world.count() == 3
    world.age = 0.0
    world.settle()
    assert world.count() == 0


def test_before_any_decision_it_has_the_least() -> None:
    world = World(Group("q", PROGRAM, 2, 5, scales=True))
    world.settle()
    assert world.count() == 2


def test_a_waiting_job_wakes_a_worker_that_stays_until_a_decision_has_seen_the_job(world: World) -> None:
    world.decided["q"] = 0
    world.settle()
    world.waiting = frozenset({"q"})
    world.settle()
    assert world.count() == 1
    world.waiting = frozenset()  # it has taken the job
    world.step(10.0)
    assert world.count() == 1
    world.step(6.0)
    world.settle()
    assert world.count() == 0


def test_a_queue_is_not_woken_where_a_worker_is(world: World) -> None:
    world.decided["q"] = 1
    world.settle()
    assert world.supervisor.empty() == []
    world.decided["q"] = 0
    world.step()
    assert world.supervisor.empty() == ["q"], "one that stops takes no jobs"


def test_a_crash_loop_grows_slower_and_its_end_is_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "littleq.pool")
    world.decided["q"] = 4
    world.step()
    assert len(world.launcher.made) == 4
    for process in world.launcher.made:
        process.exit = 3
    for _ in range(120 * 4):  # two minutes
        world.step()
        for process in world.launcher.made:
            process.exit = 3
    assert 4 < len(world.launcher.made) < 15
    assert "ended unasked (status 3)" in caplog.text


def test_a_process_that_never_gets_ready_counts_as_dead(world: World) -> None:
    world.decided["q"] = 1
    world.step()
    world.step(BOOT_SECONDS + 1)
    assert [process.kills for process in world.launcher.made] == [1]
    world.step()
    assert world.supervisor.crews["q"].deaths == 1


def test_a_process_that_does_not_stop_is_killed_after_its_grace_period_and_not_before(world: World) -> None:
    world.decided["q"] = 1
    world.settle()
    world.decided["q"] = 0
    world.step()
    [process] = world.launcher.made
    world.step(34.0)
    assert process.kills == 0
    world.step(2.0)
    assert process.kills == 1
    world.step()
    assert world.supervisor.crews["q"].deaths == 0, "it was asked to"


def test_a_system_without_processes_left_is_tried_again(world: World) -> None:
    world.launcher.error = OSError(11, "Resource temporarily unavailable")
    world.decided["q"] = 2
    world.step()
    assert world.launcher.made == []
    world.launcher.error = None
    world.step(1.0)
    world.settle()
    world.settle()
    assert world.count() == 2


def test_a_part_that_has_done_its_work_is_left_alone_and_one_that_fails_is_not() -> None:
    world = World(Group("done", PROGRAM, ends=True), Group("failing", PROGRAM, ends=True))
    world.settle()
    done, failing = world.launcher.made
    done.exit, failing.exit = 0, 1
    world.step()
    world.step(1.0)
    assert len(world.launcher.made) == 3
    assert not world.supervisor.crews["done"].processes
    assert world.supervisor.crews["failing"].processes


def test_what_is_stopping_starts_nothing_and_is_over_when_all_have_ended(world: World) -> None:
    world.decided["q"] = 3
    world.settle()
    world.supervisor.stop()
    world.step()
    assert not world.supervisor.is_over
    world.settle()
    assert world.supervisor.is_over
    assert len(world.launcher.made) == 3


def test_the_second_stage_ends_all_at_once(world: World) -> None:
    world.decided["q"] = 3
    world.settle()
    world.supervisor.stop()
    world.step()
    world.supervisor.kill()
    world.step()
    world.step()
    assert world.supervisor.is_over
    assert [process.kills for process in world.launcher.made] == [1, 1, 1]
