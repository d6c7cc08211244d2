"""The table of `littleq up`."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from littleq.autoscale.pool.backoff import Backoff
from littleq.autoscale.pool.processes import Part
from littleq.autoscale.pool.supervisor import Crew, Group
from littleq.cli.crews import crew_table
from littleq.testing import ManualClock

PART = Part("nothing:at_all")


class Process:
    def __init__(self, state: str, running: int = 0) -> None:
        self.state, self.running = state, running


def crew(name: str, *processes: Any, scales: bool = True, **known: Any) -> Crew:
    made = Crew(Group(name, PART, 0, 9, scales=scales), Backoff(ManualClock()), list(processes))
    for attribute, value in known.items():
        setattr(made, attribute, value)
    return made


def lines(*crews: Crew, width: int = 100) -> list[str]:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(crew_table({made.group.name: made for made in crews}, width))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_queue_shows_its_workers_its_jobs_and_the_reason() -> None:
    processes = [Process("ready", 2), Process("ready", 1), Process("starting"), Process("stopping")]
    _, row = lines(crew("mail", *processes, target=3, is_fresh=True, reason="20 jobs/s need 3 workers."))
    assert row.split() == ["mail", "2", "+1", "−1", "3", "3", "20", "jobs/s", "need", "3", "workers."]


def test_without_a_fresh_decision_it_says_that_it_holds() -> None:
    assert "no fresh decision: holding" in lines(crew("mail", target=2, reason="of yesterday"))[1]


def test_a_crash_loop_is_not_to_be_overlooked() -> None:
    loop = crew("mail", target=2, is_fresh=True, reason="fine", deaths=7)
    loop.backoff.died()
    assert "7 ended unasked: see the log" in lines(loop)[1]


def test_what_runs_beside_the_workers_is_in_one_row() -> None:
    *_, row = lines(
        crew("mail", target=1, is_fresh=True),
        crew("exporter", Process("ready"), scales=False),
        crew("scheduler", scales=False),
    )
    assert row.split() == ["beside", "exporter", "scheduler", "(away)"]


def test_a_long_reason_does_not_break_the_row() -> None:
    assert len(lines(crew("mail", target=1, is_fresh=True, reason="because " * 40), width=60)) == 2
