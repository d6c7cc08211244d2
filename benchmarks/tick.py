"""How long one decision about a large fleet takes, and how much memory the controller needs for it.

python -m benchmarks.tick [--queues N] [--workers N] [--ticks N] [--profile]

A real Valkey, a ledger that worker processes count in and say that they live, queues with jobs that wait and jobs that
are delayed. The workers are made up: they do in the ledger what real ones do, and run nothing. The controller is a
process of its own, and takes over what another one has decided for ten minutes: all queues are busy, none is young.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import pstats
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks.fleet import INTERVAL, Fleet, make_config
from benchmarks.processes import ROOT
from benchmarks.report import Table, circumstances
from benchmarks.server import Server, running_server
from littleq.autoscale import controller as controllers
from littleq.autoscale import memory, observer
from littleq.backends import backend_for, build_broker
from littleq.backends.redis.schedule import RedisSchedule
from littleq.ledger import open_ledger
from littleq.ledger.redis import RedisLedger
from littleq.policies import scaling

#: The aims.
SECONDS, MEGABYTES = 1.0, 200.0
#: Seconds of this tick by phase, by the clock and of this process's own CPU time: other work may run on the machine.
PHASES: dict[str, tuple[float, float]] = {}


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    ended = clocks()
    return ended[0] - began[0], ended[1] - began[1]


def timed(owner: Any, name: str, phase: str) -> None:
    """Add what a function takes to a phase."""
    function: Callable[..., Any] = getattr(owner, name)

    def measured(*arguments: Any, **named: Any) -> Any:
        began = clocks()
        try:
            return function(*arguments, **named)
        finally:
            (clock, cpu), (more_clock, more_cpu) = PHASES.get(phase, (0.0, 0.0)), since(began)
            PHASES[phase] = clock + more_clock, cpu + more_cpu

    setattr(owner, name, measured)


def be_the_controller(url: str, queues: int, profile: Path | None) -> None:
    """A tick for each line on stdin; a line on stdout tells how it went."""
    logging.disable(logging.WARNING)  # nobody works: that jobs are late is no news
    config = make_config(url, queues)
    backend = backend_for(build_broker(config))
    timed(RedisLedger, "lease", "lease")
    timed(RedisLedger, "records", "read states")
    timed(memory.Memory, "recall", "read states")
    timed(RedisLedger, "snapshot", "snapshot")
    timed(type(backend.inspector), "truth", "truth")
    timed(RedisSchedule, "due_times_of", "due times")
    timed(observer, "observe", "observe")
    timed(scaling, "decide", "decide")
    timed(controllers, "sla_events", "events")
    timed(controllers, "document", "as records")
    timed(memory.Remembered, "as_dict", "as records")
    timed(RedisLedger, "publish", "publish")
    controller = controllers.Controller(config, open_ledger(config), backend)
    profiler = cProfile.Profile() if profile else None
    for _ in sys.stdin:
        PHASES.clear()
        began = clocks()
        tick = profiler.runcall(controller.tick) if profiler else controller.tick()
        seconds = since(began)
        workers = sum(decision.inputs["workers"] for decision in tick.decisions.values())
        answer = {"outcome": tick.outcome, "queues": len(tick.decisions), "workers": workers}
        print(json.dumps({**answer, "seconds": seconds, "phases": PHASES, "megabytes": peak()}), flush=True)
    if profiler and profile:
        profiler.dump_stats(profile)


def peak() -> float:
    """Most memory that this process has had, in MB. Not by getrusage, where a child inherits from its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextmanager
def controller_process(url: str, queues: int, profile: Path | None) -> Iterator[Callable[[], dict[str, Any]]]:
    command = [sys.executable, "-m", "benchmarks.tick", "--controller", url, "--queues", str(queues)]
    command += ["--profile", str(profile)] if profile else []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def tick() -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("The controller has ended.")
            return dict(json.loads(line))

        yield tick
        if process.stdin is not None:
            process.stdin.close()


def measure(server: Server, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    fleet = Fleet(make_config(server.url, arguments.queues), arguments.workers)
    fleet.prepare()
    time.sleep(INTERVAL)  # what has just been decided is not decided again
    found = []
    with controller_process(server.url, arguments.queues, arguments.profile) as tick:
        for _ in range(arguments.ticks + 1):
            due = time.monotonic() + INTERVAL
            fleet.beat()
            found.append(tick())
            if found[-1]["outcome"] != "decided" or found[-1]["queues"] != arguments.queues:
                raise RuntimeError(f"That was no decision about all queues: {found[-1]}.")
            time.sleep(max(0.0, due - time.monotonic()))
    return found


def table(first: dict[str, Any], later: list[dict[str, Any]], title: str) -> Table:
    """Seconds a tick by phase; the rest is what none of them covers."""
    for each in (first, *later):
        covered = [sum(parts) for parts in zip(*each["phases"].values(), strict=True)]
        each["phases"]["the rest"] = [a - b for a, b in zip(each["seconds"], covered, strict=True)]
        each["phases"]["**all**"] = each["seconds"]
    rows = []
    for name in {**first["phases"], **later[0]["phases"]}:
        seconds = [each["phases"].get(name, (0.0, 0.0)) for each in later]
        medians = [median(column) for column in zip(*seconds, strict=True)]
        cells = (first["phases"].get(name, (0.0, 0.0))[0], *medians)
        rows.append([name, *(f"{cell:.3f}" for cell in cells)])
    return Table(title, ["s", "first tick", "later ones (median)", "of them own CPU"], rows)


def main() -> int:
    """Print the table; 1 if an aim was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tick", description=__doc__.splitlines()[0])
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=7, help="after the first one")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="where the controller's time goes")
    parser.add_argument("--controller", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.controller:
        be_the_controller(arguments.controller, arguments.queues, arguments.profile)
        return 0
    console = Console(highlight=False)
    with running_server() as server:
        first, *later = measure(server, arguments)
        load = circumstances(server.version)["load_average_at_start"]
    title = f"A decision about {first['queues']:,} queues and {later[-1]['workers']:,} worker processes"
    console.print(table(first, later, title).for_terminal())
    seconds, cpu = (median(column) for column in zip(*(each["seconds"] for each in later), strict=True))
    megabytes = later[-1]["megabytes"]
    console.print(
        f"{seconds:.2f} s a tick (aim {SECONDS:g} s), {cpu:.2f} s of them own CPU;"
        f" {megabytes:.0f} MB at most (aim {MEGABYTES:g} MB). Load average {load}."
    )
    if arguments.profile:
        pstats.Stats(str(arguments.profile)).sort_stats("tottime").print_stats(25)
    return 0 if seconds <= SECONDS and megabytes <= MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
