"""How long the jobs of a killed worker wait for another one.

A worker process runs 8 jobs that do not end and has 8 more in hand; a second one is idle. The first is killed with
SIGKILL at a random moment, and the clock runs until the second has started the last of the 16. Two cases: the worker
process alone is killed; or everything that it started as well, as where its container or host goes.

Plain Dramatiq is not measured: its worker counts as dead after 60 s, and then one command in a thousand looks
for it, which on a quiet queue takes minutes more.
"""

from __future__ import annotations

import random
import time
from statistics import median
from typing import Any

from benchmarks.measures import Size
from benchmarks.processes import PATIENCE, Producer, Workers
from benchmarks.report import Outcome, Table
from benchmarks.server import Server
from benchmarks.systems import THREADS
from benchmarks.systems.dramatiq_app import HOLD

_HELD = 2 * THREADS
_COLUMNS = ("LittleQ", "kills", "median", "lowest", "highest")


def recovery(server: Server, size: Size) -> Outcome:
    figures: dict[str, Any] = {}
    rows = []
    for key, what, kills in (
        ("recovery", "the worker process", size.kills),
        ("recovery_host", "and all that it started", size.host_kills),
    ):
        if not kills:
            continue
        seconds = [_one_kill(server, with_children=key == "recovery_host") for _ in range(kills)]
        figures |= {f"{key}_s": round(median(seconds), 3), f"{key}_max_s": round(max(seconds), 3)}
        cells = [f"{value:.2f}" for value in (median(seconds), min(seconds), max(seconds))]
        rows.append([f"kill -9: {what}", str(kills), *cells])
    title = "Jobs of a killed worker, s until another has started the last"
    return Outcome([Table(title, _COLUMNS, rows)], figures)


def _one_kill(server: Server, *, with_children: bool) -> float:
    server.empty()
    with (
        Workers("stack", server.url, count=1, **{HOLD: "600"}) as victim,
        Workers("stack", server.url, count=1) as heir,
        Producer("stack", server.url) as producer,
    ):
        heir.stop()
        producer.do("hold", _HELD)
        victim.wait_for(THREADS)
        heir.go_on()
        while not heir.marks.all():  # the victim has its hands full, and leaves what else comes
            producer.do("send", 1)
            time.sleep(0.2)
        time.sleep(random.uniform(1, 3))
        killed = time.time_ns()
        victim.kill(with_children=with_children)
        return (_last_start(heir) - killed) / 1e9


def _last_start(heir: Workers) -> int:
    deadline = time.monotonic() + PATIENCE
    while True:
        started = {number: start for start, number in heir.marks.all() if number}
        if len(started) == _HELD:
            return max(started.values())
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(started)} of {_HELD} jobs came back within {PATIENCE:.0f} s.")
        time.sleep(0.05)
