"""Scaling policies over a grid of loads, promises and service times, beside one who knows the future.

python -m benchmarks.scaling [--quick] [--policy NAME,…] [--only LOAD…] [--min-workers N] [--seed N]
                            [--cases] [--json FILE] [--readme FILE]
python -m benchmarks.scaling --speed

Nothing is tuned to a load: one default setting of each policy meets all of them. Every policy sees the same jobs. What
the oracle finds is kept in `.cache/` for as long as the jobs and the oracle's code are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from benchmarks.report import Table
from littleq.policies.scaling import ScalingSettings
from littleq.simulation import foresight, oracle
from littleq.simulation.engine import simulate
from littleq.simulation.outcome import outcome
from littleq.simulation.policies import contestant
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.traces import read_trace
from littleq.simulation.workload import Workload, from_shape, from_trace

ROOT = Path(__file__).parents[1]
TRACES = ROOT / "examples" / "traces"
CACHE = ROOT / ".cache" / "scaling-oracle"

#: An hour each, but for the traces, which last as long as they do: 58 minutes and two hours.
SHAPES = {
    "steady": "poisson:12",
    "ramp": "ramp:1..30",
    "steps": "step:4,16@15m,8@30m,24@45m",
    "onoff": "onoff:20,5m,5m,2",
    "flash": "flash:4,40@20m,2m",
    "diurnal": "diurnal:2..24,30m",
}
LOADS = ("llm_conv", "elb_requests", *SHAPES)
QUICK_LOADS = ("llm_conv", "elb_requests", "onoff", "flash")
SLAS = (1.0, 10.0, 60.0)
SERVICE_TIMES = (0.05, 0.5, 2.0)
POLICIES = ("littleq", "hpa-cpu", "keda-list:5", "aws-backlog", "horizon", "static")
SHAPE_SECONDS = 3600.0
#: Of the tables, wherever they go.
WIDTH = 150


@dataclass(frozen=True)
class Case:
    """One cell of the grid; start-up 30 s, 99 %, exponential services, a thread a worker, up to 1000 workers."""

    load: str
    sla: float
    service_time: float
    seed: int = 0
    min_workers: int = 0

    @property
    def settings(self) -> ScalingSettings:
        return ScalingSettings(sla_seconds=self.sla, min_workers=self.min_workers)

    def workload(self) -> Workload:
        service = parse_service(f"exp:{self.service_time}")
        if self.load in SHAPES:
            shape = parse_shape(SHAPES[self.load], SHAPE_SECONDS)
            return from_shape(shape, service, seconds=SHAPE_SECONDS, seed=self.seed)
        return from_trace(read_trace(TRACES / f"{self.load}.csv"), service, seed=self.seed)


def play(case: Case, policies: Sequence[str]) -> dict[str, Any]:
    """All policies on one case."""
    workload, settings = case.workload(), case.settings
    best = _oracle(workload, settings)
    results = {}
    for name in policies:
        player = contestant(name, workload, settings)
        run = simulate(workload, player.policy, settings, initial_workers=player.initial_workers)
        result = outcome(run, settings)
        ratio = result.worker_seconds / best["worker_seconds"] if best["feasible"] else None
        results[name] = {**result.as_dict(), "ratio_to_oracle": ratio}
    return {**asdict(case), "jobs": len(workload.arrivals), "oracle": best, "policies": results}


def _oracle(workload: Workload, settings: ScalingSettings) -> dict[str, Any]:
    known = CACHE / f"{_fingerprint(workload, settings)}.json"
    if known.exists():
        return dict(json.loads(known.read_text()))
    best = oracle.find_oracle(workload, settings)
    found = {
        "feasible": best.feasible,
        "worker_seconds": best.worker_seconds if best.feasible else None,
        "floor_seconds": best.floor_seconds,
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    written = known.with_suffix(f".{os.getpid()}")
    written.write_text(json.dumps(found))
    written.replace(known)  # a reader never sees half of it
    return found


def _fingerprint(workload: Workload, settings: ScalingSettings) -> str:
    code = "".join(Path(module.__file__ or "").read_text() for module in (oracle, foresight))
    promise = (settings.sla_seconds, settings.percentile, settings.startup_seconds, settings.max_workers)
    jobs = [workload.seconds, *workload.arrivals, *workload.services]
    return hashlib.sha256(repr((code, promise, jobs)).encode()).hexdigest()[:24]


def summary(cases: Sequence[dict[str, Any]], policies: Sequence[str]) -> Table:
    """What each policy met, and at what cost."""
    feasible = [case for case in cases if case["oracle"]["feasible"]]
    rows = []
    for name in policies:
        results = [(case, case["policies"][name]) for case in feasible]
        cells = [name, f"{sum(result['met'] for _, result in results)} of {len(feasible)}"]
        for sla in SLAS:
            within = [result["met"] for case, result in results if case["sla"] == sla]
            cells.append(f"{sum(within)} of {len(within)}")
        cells.append(_mean(result["ratio_to_oracle"] for _, result in results if result["met"]))
        cells.append(_mean(result["ratio_to_oracle"] for _, result in results))
        long = [
            result["ratio_to_oracle"] for case, result in results if case["sla"] == SLAS[-1] and result["met"]
        ]
        cells.append(_mean(long))
        rows.append(cells)
    heads = [
        "policy",
        "met",
        *(f"SLA {sla:g} s" for sla in SLAS),
        "cost, where met",
        "cost, all",
        "cost, 60 s",
    ]
    title = f"Cases with 99 % of the jobs in time, of {len(feasible)} that can be met; cost over the oracle's"
    return Table(title, heads, rows)


def _mean(values: Any) -> str:
    found = list(values)
    return f"{fmean(found):.2f} ×" if found else "–"


def details(cases: Sequence[dict[str, Any]], policies: Sequence[str]) -> Table:
    """Every case: share in the SLA and cost over the oracle's, of each policy."""
    rows = []
    for case in cases:
        cells = [f"{case['load']} S {case['service_time']:g} SLA {case['sla']:g}", f"{case['jobs']:,}"]
        for name in policies:
            result = case["policies"][name]
            cost = f"{result['ratio_to_oracle']:.2f}" if result["ratio_to_oracle"] else "–"
            mark = " " if result["met"] else "✗"
            cells.append(f"{mark} {100 * result['share_in_sla']:.2f} {cost:>5}")
        rows.append(cells)
    return Table("Every case: % in time, cost over the oracle's", ["case", "jobs", *policies], rows)


def speed(policies: Sequence[str], console: Console) -> None:
    """How long a million jobs take, policy by policy, in one process."""
    began = time.monotonic()
    shape, service = parse_shape("poisson:100", 10_000.0), parse_service("exp:0.2")
    workload = from_shape(shape, service, seconds=10_000.0, seed=0)
    console.print(f"{len(workload.arrivals):,} jobs made up in {time.monotonic() - began:.1f} s.")
    settings = ScalingSettings(sla_seconds=1.0)
    for name in policies:
        player = contestant(name, workload, settings)
        began = time.monotonic()
        run = simulate(workload, player.policy, settings, initial_workers=player.initial_workers)
        took = time.monotonic() - began
        console.print(f"{name}: played in {took:.1f} s, {len(run.moments):,} decisions among them.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK_LOADS)}, S 0.5 s")
    parser.add_argument("--speed", action="store_true", help="instead: how long a million jobs take")
    parser.add_argument("--policy", default=",".join(POLICIES), help="names, with commas between them")
    parser.add_argument("--only", nargs="*", choices=LOADS, help="only these loads")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other jobs")
    parser.add_argument("--min-workers", type=int, default=0, help="1: KEDA's list is not let go to 0")
    parser.add_argument("--cases", action="store_true", help="show every case")
    parser.add_argument("--json", type=Path, help="write every figure")
    parser.add_argument("--readme", type=Path, help="write the tables as Markdown")
    return parser.parse_args()


def main() -> None:
    """Play the grid, two processes at a time, and print what came of it."""
    wanted, console = arguments(), Console(highlight=False, width=WIDTH)
    policies = [name for name in wanted.policy.split(",") if name]
    if wanted.speed:
        speed(policies, console)
        return
    loads = wanted.only or (QUICK_LOADS if wanted.quick else LOADS)
    services = (0.5,) if wanted.quick else SERVICE_TIMES
    grid = [
        Case(load, sla, service, wanted.seed, wanted.min_workers)
        for load, service, sla in itertools.product(loads, services, SLAS)
    ]
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        cases = list(processes.map(play, grid, itertools.repeat(policies)))
    tables = [summary(cases, policies), *([details(cases, policies)] if wanted.cases else [])]
    for table in tables:
        console.print(table.for_terminal())
    console.print(f"{len(cases)} cases in {time.monotonic() - began:.0f} s.")
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"cases": cases}, indent=1))
    if wanted.readme is not None:
        wanted.readme.write_text("\n".join(table.for_readme() for table in tables))


if __name__ == "__main__":
    main()
