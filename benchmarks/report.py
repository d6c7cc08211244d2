"""What a measurement gives, and how it is shown: a table for people, figures for `latest.json`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median, quantiles
from typing import Any

from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def for_terminal(self) -> RichTable:
        shown = RichTable()
        for number, column in enumerate(self.columns):
            shown.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def for_readme(self) -> str:
        rules = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [" | ".join(cells) for cells in (self.columns, rules, *self.rows)]
        return f"{self.title}:\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"


@dataclass(frozen=True)
class Outcome:
    """What one measurement found."""

    tables: Sequence[Table]
    figures: dict[str, Any] = field(default_factory=dict)


def ratios(figures: dict[str, Any], name: str, ours: Sequence[float], theirs: Sequence[float]) -> list[str]:
    """Ours ÷ theirs, round by round, into the figures; median, lowest and highest as cells."""
    found = [a / b for a, b in zip(ours, theirs, strict=True)]
    for suffix, value in (("", median(found)), ("_min", min(found)), ("_max", max(found))):
        figures[f"{name}_ratio{suffix}"] = round(value, 3)
    return [f"{value:.2f}" for value in (median(found), min(found), max(found))]


def percentiles(figures: dict[str, Any], name: str, values: Iterable[float]) -> list[str]:
    """p50, p99 and the highest of some milliseconds, into the figures and as cells."""
    sample = sorted(values)
    cuts = quantiles(sample, n=100, method="inclusive")
    cells = []
    for suffix, value in (("p50", cuts[49]), ("p99", cuts[98]), ("max", sample[-1])):
        figures[f"{name}_{suffix}_ms"] = round(value, 3)
        cells.append(f"{value:,.1f}")
    return [f"{len(sample):,}", *cells]


def circumstances(server: str) -> dict[str, Any]:
    """When, on what, with what."""
    packages = ("dramatiq", "redis", "hiredis")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "server": server,
        **{package: version(package) for package in packages},
    }
