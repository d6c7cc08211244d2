"""Ready, alive, or why not: a table of processes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from littleq.health.pulse import Kind, State
from littleq.health.readings import Reading
from littleq.health.verdict import judge

NOW = 1000.0


def worker(**changes: Any) -> Reading:
    """A healthy worker, but for the changes; `ago` seconds are easier to read than stamps."""
    healthy = {
        "pid": 7,
        "parent": 1,
        "kind": Kind.WORKER,
        "state": State.RUNNING,
        "since": NOW - 500,
        "heard_at": NOW - 0.5,
        "answered_at": NOW - 0.7,
        "consumers": 2,
        "threads": 2,
        "name": "q",
    }
    return Reading(**{**healthy, **changes})


def launcher(**changes: Any) -> Reading:
    return worker(**{"pid": 1, "kind": Kind.LAUNCHER, "state": State.STARTING, "since": NOW - 5, **changes})


def supervisor(**changes: Any) -> Reading:
    return worker(**{"pid": 1, "kind": Kind.SUPERVISOR, **changes})


HEALTHY = worker()
SILENT = {"heard_at": NOW - 40, "answered_at": NOW - 41}


@pytest.mark.parametrize(
    ("readings", "ready", "alive", "says"),
    [
        ([HEALTHY], True, True, "1 worker process, 0 jobs running."),
        (
            [HEALTHY, worker(pid=8, jobs=(NOW + 9, NOW + 3))],
            True,
            True,
            "2 worker processes, 2 jobs running.",
        ),
        (
            [worker(state=State.STARTING, since=NOW - 12)],
            False,
            True,
            "worker process 7 is starting, for 12 s.",
        ),
        ([worker(state=State.STARTING, since=NOW - 601)], False, False, "has been starting for 601 s"),
        ([worker(state=State.STOPPING, since=NOW - 4)], False, True, "is stopping, for 4 s."),
        ([worker(lives=False)], False, False, "has ended without a word: it was killed."),
        ([HEALTHY, worker(pid=9, lives=False)], False, False, "worker process 9 has ended"),
        # Silence, and what excuses it.
        ([worker(heard_at=NOW - 12, answered_at=NOW - 12)], False, True, "has given no sign for 12 s."),
        ([worker(**SILENT)], False, False, "hangs: it has given no sign for 40 s and it runs no job."),
        ([worker(**SILENT, jobs=(NOW + 1,))], True, True, ""),
        ([worker(**SILENT, jobs=(math.inf,))], True, True, ""),
        ([worker(**SILENT, jobs=(NOW - 1,))], False, False, "its job is past its time limit"),
        ([worker(**SILENT, state=State.STOPPING, jobs=(NOW + 1,))], False, True, "is stopping"),
        # The broker.
        ([worker(answered_at=NOW - 12.5)], False, True, "which has not answered for 12 s."),
        ([worker(answered_at=0.0)], False, True, "has had no answer from the broker yet, for 500 s."),
        ([worker(away_since=NOW - 3)], False, True, "cannot consume queue 'q', for 3 s."),
        ([worker(consumers=0)], False, True, "serves no queue."),
        # Loops.
        ([worker(stuck_seconds=9.0)], True, True, ""),
        ([worker(stuck_seconds=20.0)], False, True, "the loop of queue 'q' has not turned for 20 s."),
        ([worker(stuck_seconds=61.0)], False, False, "hangs: the loop of queue 'q' has not turned for 61 s."),
        ([worker(stuck_seconds=61.0, answered_at=NOW - 61)], False, True, "waits for the broker"),
        ([worker(stuck_seconds=301.0, answered_at=NOW - 301)], False, False, "hangs: the loop"),
        ([worker(dead_consumers=1)], False, False, "1 of its 2 consumer threads have ended."),
        ([worker(dead_threads=1)], True, True, ""),
        ([worker(dead_threads=2)], False, False, "all of its 2 worker threads have ended."),
        ([worker(jobs=(NOW - 1, NOW + 5))], True, True, ""),
        ([worker(jobs=(NOW - 1, NOW - 5))], False, False, "jobs of all its 2 worker threads are past"),
        # Who starts workers.
        ([launcher()], False, True, "process 1 is starting, for 5 s."),
        ([launcher(since=NOW - 501), HEALTHY], True, True, ""),
        ([supervisor(wanted=0)], True, True, "0 worker processes, 0 jobs running."),
        ([supervisor(wanted=2)], False, True, "none of 2 worker processes has started yet."),
        ([supervisor(wanted=1), HEALTHY], True, True, ""),
        ([supervisor(wanted=1, **SILENT), HEALTHY], False, False, "supervisor 1 hangs"),
    ],
)
def test_a_verdict(readings: list[Reading], ready: bool, alive: bool, says: str) -> None:
    answers = judge(readings, NOW, live=False), judge(readings, NOW, live=True)
    assert [answer.ok for answer in answers] == [ready, alive]
    assert any(says in answer.reason for answer in answers), answers
    assert all(answer.known for answer in answers)


@pytest.mark.parametrize("readings", [[], [launcher(lives=False)]])
def test_where_nobody_is_there_is_no_answer(readings: list[Reading]) -> None:
    for live in (False, True):
        found = judge(readings, NOW, live=live)
        assert (found.ok, found.known) == (False, False)
