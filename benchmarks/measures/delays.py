"""How late a job starts: on an idle queue, and after its due time.

One worker process with 8 threads a mode. The workers of both run all the time, their jobs come in turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.measures import Size, in_turns
from benchmarks.processes import Producer, Workers
from benchmarks.report import Outcome, Table, percentiles
from benchmarks.server import Server
from benchmarks.systems import SYSTEMS

_COLUMNS = ("", "jobs", "p50", "p99", "max")
#: Milliseconds between two jobs on an idle queue, at random between these.
_PAUSE = (50, 150)
#: Milliseconds that a delayed job is delayed by.
_DELAYS = (200, 1200)


def pickup(server: Server, size: Size) -> Outcome:
    """From just before `send()` to the first line of the actor, while nothing else is queued."""
    title = "Pick-up on an idle queue, ms from send() to start"
    return _measure(server, size, "pickup", title, size.pickups, ("paced", *_PAUSE), server.modes)


def due(server: Server, size: Size) -> Outcome:
    """From the due time (the time of the send plus its delay) to the first line of the actor.

    Dramatiq cuts the due time to whole milliseconds: a job may start up to 1 ms early.
    """
    title = "Due delayed jobs, ms from due to start"
    return _measure(server, size, "due", title, size.due_jobs, ("delayed", *_DELAYS), server.delaying)


def _measure(
    server: Server,
    size: Size,
    name: str,
    title: str,
    samples: int,
    order: tuple[str, int, int],
    able: Sequence[str],
) -> Outcome:
    modes = [mode for mode in ("stack", server.baseline) if mode in able]
    what, *limits = order
    turns = size.delay_turns
    server.empty()
    late: dict[str, list[float]] = {mode: [] for mode in modes}
    with ExitStack() as stack:
        workers = {mode: stack.enter_context(Workers(mode, server.url, count=1)) for mode in modes}
        producers = {mode: stack.enter_context(Producer(mode, server.url)) for mode in modes}
        for mode in modes:
            workers[mode].warm_up(producers[mode], 1, server.jobs(100))
        for mode in in_turns(modes, turns):
            jobs = samples // turns if mode == "stack" else samples // turns // 5
            producers[mode].do(what, jobs, *limits)
            starts = workers[mode].wait_for(jobs)
            late[mode] += [(start - expected) / 1e6 for start, expected in starts]
            workers[mode].marks.forget()
    figures: dict[str, Any] = {}
    rows = []
    for mode in modes:
        key = name if mode == "stack" else f"{name}_{mode}"
        rows.append([SYSTEMS[mode].title, *percentiles(figures, key, late[mode])])
    return Outcome([Table(title, _COLUMNS, rows)], figures)
