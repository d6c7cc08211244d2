"""What a job costs the server: CPU time, round trips and memory, enqueued and processed."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.measures import Size
from benchmarks.processes import Producer, Workers
from benchmarks.report import Outcome, Table
from benchmarks.server import Load, Valkey
from benchmarks.systems import PROCESSES, SYSTEMS

#: Until the last acknowledgement and count is in, in seconds.
_SETTLING = 1.2
_COLUMNS = (
    "",
    "enqueue: CPU µs",
    "round trips",
    "process: CPU µs",
    "round trips",
    "memory, bytes a queued job",
)


def load(server: Valkey, size: Size) -> Outcome:
    """One producer sends, then 2 processes × 8 threads work off the full queue; the server counts.

    Polls and heartbeats while that goes on are counted in: they are part of the price.
    """
    figures: dict[str, Any] = {}
    rows = []
    jobs = size.queued
    for mode in server.modes:
        server.empty()
        with Workers(mode, server.url) as workers, Producer(mode, server.url) as producer:
            workers.warm_up(producer, PROCESSES)
            workers.stop()
            memory, before = server.data_memory(), server.load()
            producer.do("send", jobs)
            sent = server.load().since(before)
            time.sleep(_SETTLING)
            memory = server.data_memory() - memory
            before = server.load()
            workers.go_on()
            workers.wait_for(jobs)
            time.sleep(_SETTLING)
            done = server.load().since(before)
        rows.append([SYSTEMS[mode].title, *_cells(figures, mode, jobs, sent, done), f"{memory / jobs:,.0f}"])
        figures[f"memory_{mode}_bytes_per_job"] = round(memory / jobs)
    return Outcome([Table("Per job, on the server", _COLUMNS, rows)], figures)


def _cells(figures: dict[str, Any], mode: str, jobs: int, sent: Load, done: Load) -> list[str]:
    cells = []
    for phase, load in (("enqueue", sent), ("process", done)):
        cpu, trips = load.cpu_seconds * 1e6 / jobs, load.round_trips / jobs
        figures[f"{phase}_{mode}_redis_cpu_us_per_job"] = round(cpu, 1)
        figures[f"{phase}_{mode}_round_trips_per_job"] = round(trips, 3)
        cells += [f"{cpu:.0f}", f"{trips:.2f}"]
    return cells
