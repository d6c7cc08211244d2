"""The same empty job in Celery, RQ, Huey and TaskIQ, in turn with Dramatiq and LittleQ on the same server."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.measures import Size, in_turns
from benchmarks.measures.throughput import work_off
from benchmarks.processes import Producer, Workers
from benchmarks.report import Outcome, Table
from benchmarks.server import Server
from benchmarks.systems import PROCESSES, SYSTEMS, System

#: The others are Dramatiq in another set-up, or no task queue.
_COMPARED = [SYSTEMS[name] for name in ("stack", "plain", "huey", "taskiq", "celery", "rq")]


def others(server: Server, size: Size) -> Outcome:
    """Processing as in `process`, and enqueueing while the workers stand still."""
    processed: dict[str, list[float]] = {system.name: [] for system in _COMPARED}
    enqueued: dict[str, list[float]] = {system.name: [] for system in _COMPARED}
    for name in in_turns(list(processed), size.others_rounds):
        server.empty()
        jobs = min(SYSTEMS[name].jobs, size.jobs)
        with Workers(name, server.url) as workers, Producer(name, server.url) as producer:
            workers.warm_up(producer, PROCESSES, min(100, jobs // 5))
            for _ in range(2):
                rates = work_off(workers, producer, jobs)
                processed[name].append(rates[0])
                enqueued[name].append(rates[1])
    figures: dict[str, Any] = {}
    rows = []
    for system in sorted(_COMPARED, key=lambda system: -median(processed[system.name])):
        rate, sent = median(processed[system.name]), median(enqueued[system.name])
        share = rate / median(processed["plain"])
        figures[f"others_{system.name}_jobs_per_second"] = round(rate)
        rows.append([_label(system), system.setup, f"{rate:,.0f}", f"{share:.2f}", f"{sent:,.0f}"])
    figures["ahead_of_others"] = all(
        median(processed["stack"]) >= median(rates) for name, rates in processed.items() if name != "stack"
    )
    columns = ("", "workers", "processed, jobs/s", "÷ Dramatiq", "enqueued, jobs/s")
    return Outcome([Table("The same empty job in other task queues", columns, rows)], figures)


def _label(system: System) -> str:
    return f"{system.title} {system.version}"
