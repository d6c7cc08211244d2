"""Runs the measurements, prints their tables and writes `latest.json`.

python -m benchmarks [--broker redis|rabbitmq|sqs|kafka] [--quick] [--only NAME…] [--readme FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.brokers import BROKERS, serving
from benchmarks.measures import QUICK, Size
from benchmarks.measures.delays import due, pickup
from benchmarks.measures.load import load
from benchmarks.measures.others import others
from benchmarks.measures.recovery import recovery
from benchmarks.measures.scripts import scripts
from benchmarks.measures.throughput import bulk, enqueue, enqueue8, process
from benchmarks.report import Outcome, circumstances

FOLDER = Path(__file__).parent
MEASURES: dict[str, Callable[[Any, Size], Outcome]] = {
    "enqueue": enqueue,
    "enqueue8": enqueue8,
    "bulk": bulk,
    "process": process,
    "pickup": pickup,
    "due": due,
    "recovery": recovery,
    "load": load,
    "scripts": scripts,
    "others": others,
}
#: What is measured on brokers other than Redis; the rest is about Redis, or about others on it.
EVERYWHERE = ("enqueue", "enqueue8", "bulk", "process", "pickup", "due")


def run(broker: str, names: Sequence[str], size: Size, console: Console) -> tuple[dict[str, Any], list[str]]:
    """All figures, and the tables as Markdown. A measurement that fails leaves the others be.

    Each has a server of its own: what one has sent and left is not in the next one's way.
    """
    texts: list[str] = []
    figures: dict[str, Any] = {}
    for name in names:
        started = time.monotonic()
        try:
            with serving(broker) as server:
                figures = figures or circumstances(server.version)
                outcome = MEASURES[name](server, size)
        except Exception as error:
            figures.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            continue
        figures |= outcome.figures
        for table in outcome.tables:
            console.print(table.title, style="bold")
            console.print(table.for_terminal())
            texts.append(table.for_readme())
        console.print(f"{name}: {time.monotonic() - started:.0f} s", style="dim")
    return figures, texts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two minutes, for a first look")
    parser.add_argument(
        "--only", nargs="+", choices=MEASURES, metavar="NAME", help=f"of: {', '.join(MEASURES)}"
    )
    parser.add_argument("--readme", type=Path, help="write the tables to this file, as Markdown")
    parser.add_argument("--broker", choices=BROKERS, default="redis", help="default: redis")
    arguments = parser.parse_args()
    broker = arguments.broker
    able = tuple(MEASURES) if broker == "redis" else EVERYWHERE
    if not set(arguments.only or ()) <= set(able):
        parser.error(f"on {broker} there are {', '.join(able)}")
    logging.disable(logging.WARNING)  # that a server was stopped at the end of a measurement is no news
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # take the workers along
    console = Console(width=None if sys.stdout.isatty() else 120)
    figures, texts = run(broker, arguments.only or able, QUICK if arguments.quick else Size(), console)
    latest = FOLDER / ("latest.json" if broker == "redis" else f"latest-{broker}.json")
    latest.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.readme:
        arguments.readme.write_text("\n".join(texts), encoding="utf-8")
    console.print(", ".join(f"{name} {value}" for name, value in figures.items() if name in HEADLINES))
    return 1 if "failed" in figures else 0


HEADLINES = (
    "enqueue_ratio",
    "bulk_enqueue_ratio",
    "process_ratio",
    "pickup_p99_ms",
    "due_p99_ms",
    "recovery_s",
    "ahead_of_others",
)

if __name__ == "__main__":
    sys.exit(main())
