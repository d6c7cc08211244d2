"""How `littleq queue` shows truth tables and due times: as tables, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from littleq.cli.show import bar, counted, number, seconds

if TYPE_CHECKING:
    from rich.console import Console

    from littleq.backends.base import TruthTable

#: The counts of a truth table, in the order of a job's life.
STATES = ("ready", "in_flight", "delayed", "dead", "orphaned")

#: Where one bin of due times ends and the next begins, in seconds from now, and in words. What is due within 0 s
#: is ready, whether it has been moved to its queue yet or not.
DUE_BOUNDS = {
    0.0: "now",
    1.0: "1 s",
    10.0: "10 s",
    60.0: "1 min",
    600.0: "10 min",
    3600.0: "1 h",
    21600.0: "6 h",
    86400.0: "1 d",
    604800.0: "7 d",
    math.inf: "∞",
}
_BAR_WIDTH = 20


@dataclass(frozen=True, slots=True)
class DueBin:
    """Delayed jobs that are due more than `low` and at most `high` seconds from now."""

    low: float
    high: float
    jobs: int

    @property
    def words(self) -> str:
        """`now to 1 s`, `1 s to 10 s`, …, `after 7 d`."""
        if self.high == math.inf:
            return f"after {DUE_BOUNDS[self.low]}"
        return f"{DUE_BOUNDS[self.low]} to {DUE_BOUNDS[self.high]}"

    def record(self) -> dict[str, float | None]:
        """For scripts; null for no end."""
        return {"low": self.low, "high": self.high if math.isfinite(self.high) else None, "jobs": self.jobs}


def due_bins(cumulative: Sequence[int]) -> list[DueBin]:
    """Delayed jobs by due time.

    Args:
        cumulative: jobs that are due within each of `DUE_BOUNDS`.

    >>> [each.jobs for each in due_bins([2, 2, 3, 3, 6, 6, 6, 6, 7, 9])]
    [0, 1, 0, 3, 0, 0, 0, 1, 2]
    """
    # A broker may count one bound after the other, and jobs go meanwhile.
    jobs = (max(0, upto - before) for before, upto in pairwise(cumulative))
    return [DueBin(low, high, count) for (low, high), count in zip(pairwise(DUE_BOUNDS), jobs, strict=True)]


def queue_record(table: TruthTable) -> dict[str, Any]:
    """A queue for scripts: counts, times in seconds, null where a time is not known."""
    return {
        "queue": table.queue,
        **{state: getattr(table, state) for state in STATES},
        "oldest_age": table.oldest_age,
        "next_due": table.next_due,
        "paused": table.paused,
        "approximate": sorted(table.approximate),
    }


def print_queues(console: Console, tables: Sequence[TruthTable]) -> None:
    """One row a queue; `~` before what is not exact."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("queue", style="bold", overflow="fold")
    for head in (*STATES, "oldest", "next_due"):
        shown.add_column(head.replace("_", " "), justify="right", no_wrap=True)
    shown.add_column("paused", no_wrap=True)
    for table in tables:
        about = {name: "~" for name in table.approximate if getattr(table, name) is not None}
        cells = [about.get(state, "") + number(getattr(table, state)) for state in STATES]
        cells.append(about.get("oldest_age", "") + seconds(table.oldest_age))
        cells.append(about.get("next_due", "") + seconds(table.next_due))
        paused = Text("yes", "yellow") if table.paused else Text("no", "dim")
        # Text, not str: Rich reads [queue] in a str as markup.
        shown.add_row(Text(table.queue), *cells, paused)
    console.print(shown)


def due_record(table: TruthTable, due: Sequence[DueBin]) -> dict[str, Any]:
    """The delayed jobs of a queue for scripts."""
    return {
        "queue": table.queue,
        "delayed": sum(each.jobs for each in due),
        "next_due": table.next_due,
        "due": [each.record() for each in due],
    }


def print_due(console: Console, table: TruthTable, due: Sequence[DueBin]) -> None:
    """The delayed jobs of a queue as a histogram of due times."""
    delayed = sum(each.jobs for each in due)
    line = Text.assemble((table.queue, "bold"), f"  {counted(delayed, 'delayed job')}")
    if delayed and table.next_due is not None:
        line.append(f", the next due {f'in {seconds(table.next_due)}' if table.next_due > 0 else 'now'}")
    console.print(line, soft_wrap=True)
    for each in due if delayed else ():
        share = each.jobs / delayed
        console.print(Text(f"  {each.words:<16}{each.jobs:>8,}  {bar(share, _BAR_WIDTH)}"), soft_wrap=True)
