"""What the demo shows while it runs: the monitor on a terminal, a line a queue elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from examples.demo.fleet import Pool
from examples.demo.load import FLOOD_AT, FLOOD_SECONDS, Load
from littleq.cli.screen import frame, plain_line
from littleq.cli.show import bar, number, rate, seconds, sparkline
from littleq.cli.watch import Watch

#: How often the screen is drawn, and how often the lines of a log are written, in seconds.
DRAW_SECONDS, LINE_SECONDS = 1.0, 5.0
#: Lines above the monitor.
_OWN = 3
_BAR = 12


class View:
    """A full screen that ends with the demo, or lines for a log.

    Args:
        watch: what the monitor reads.
        metrics_url: where the exporter is, for the header.
        name: of the pool.
    """

    def __init__(
        self, console: Console, watch: Watch, load: Load, metrics_url: str, name: str, pool: Pool
    ) -> None:
        self._console, self._watch, self._load, self._url = console, watch, load, metrics_url
        self._name, self._pool = name, pool
        self._workers: list[float | None] = []
        self._live: Live | None = None
        self._due = 0.0
        if sys.stdout.isatty() and not console.is_dumb_terminal:
            self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, elapsed: float) -> None:
        """Show how things are after `elapsed` seconds, if it is time for that."""
        if elapsed < self._due:
            return
        self._due = elapsed + (DRAW_SECONDS if self._live is not None else LINE_SECONDS)
        reading = self._watch.read()
        self._workers.append(float(self._pool.ready))
        if self._live is None:
            self._console.print(
                f"{self._name}: {self._pool.ready} workers of {self._pool.wanted} wanted. {self._pool.reason}",
                soft_wrap=True,
            )
            for report in reading.reports.values():
                self._console.print(plain_line(report, reading.taken_at), soft_wrap=True)
            return
        size = self._console.size
        monitor = frame(
            reading,
            self._watch.histories,
            server=self._url,
            width=size.width,
            height=size.height - _OWN,
            note="Ctrl-C ends",
        )
        self._live.update(Group(*self._own_lines(elapsed), monitor), refresh=True)

    def _own_lines(self, elapsed: float) -> list[Text]:
        load = self._load
        now = min(elapsed, load.seconds)
        first = Text.assemble(
            (f"{self._name:<10}", "bold"), f"{now:.0f} of {load.seconds:.0f} s  ",
            (bar(now / load.seconds, _BAR), "cyan"), "  ", self._moment(elapsed),
        )  # fmt: skip
        second = Text("sent      ", "dim")
        for queue, outcomes in load.outcomes().items():
            second.append(f"{queue} ", "dim")
            second.append("  ".join(f"{outcome} {number(count)}" for outcome, count in outcomes.items()))
            second.append("    ")
        third = Text.assemble(
            ("workers   ", "dim"), f"{self._pool.ready} of {self._pool.wanted} wanted  ",
            (sparkline(self._workers[-30:], 30), "cyan"), f"  {self._pool.reason}",
        )  # fmt: skip
        for line in (first, second, third):
            line.no_wrap, line.overflow = True, "ellipsis"
        return [first, second, third]

    def _moment(self, elapsed: float) -> Text:
        """What happens just now, in a few words."""
        load, tally = self._load, self._load.flood.tally
        if elapsed >= load.seconds:
            return Text("all is sent: the last jobs and retries run")
        if elapsed < load.burst_at:
            return Text(f"a burst comes in {load.burst_at - elapsed:.0f} s")
        refused = f"{number(tally.outcomes['shed'])} refused"
        if tally.outcomes["shed"]:
            refused += f", retry after {seconds(tally.retry_after[1])}"
        flood_at = FLOOD_AT * load.seconds
        if flood_at <= elapsed < flood_at + FLOOD_SECONDS:
            return Text(f"FLOOD of {rate(load.flood.plan.rate)}: {refused}", "bold yellow")
        if elapsed < load.burst_ends:
            return Text(f"BURST of {rate(load.burst.plan.rate)} more", "bold yellow")
        return Text(f"after the burst: {refused}")
