"""What `up` and `controller` show: a table that stays below the log, or the log alone where nobody looks."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from littleq.cli.terminal import make_console

if TYPE_CHECKING:
    from rich.console import Console

    from littleq.autoscale.pool.supervisor import Crew, Supervisor

#: How often the table is drawn, in seconds.
DRAW_SECONDS = 0.5
LOG_FORMAT = "[%(asctime)s] [%(name)s] [%(levelname)s] %(message)s"

#: As a shell says it.
CTRL_C = 130


class _ToConsole(logging.Handler):
    """Writes the log above the table."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter(LOG_FORMAT))
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(self.format(record), "dim"), soft_wrap=True)


@contextmanager
def screen() -> Iterator[tuple[Callable[[Supervisor], None], Callable[[str], None] | None]]:
    """What to call after each step, and with each line of a worker; None: workers write to stderr themselves."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    console = make_console(stderr=True)
    if not (sys.stderr.isatty() and sys.stdout.isatty()) or console.is_dumb_terminal:
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
        yield (lambda _: None), None
        return
    from rich.live import Live

    root.addHandler(_ToConsole(console))
    drawn_at = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(supervisor: Supervisor) -> None:
            nonlocal drawn_at
            if time.monotonic() - drawn_at >= DRAW_SECONDS:
                drawn_at = time.monotonic()
                live.update(crew_table(supervisor.crews, console.width), refresh=True)

        yield show, lambda line: console.print(Text(line, "dim"), soft_wrap=True)


def leave(number: int) -> None:
    """End the command that this signal has stopped: 0 for SIGTERM, as a service should, 130 for Ctrl-C."""
    raise click.exceptions.Exit(CTRL_C if number == signal.SIGINT else 0)


def crew_table(crews: Mapping[str, Crew], width: int) -> Table:
    """A row a queue; what is not scaled is named in one row."""
    # A little narrower than the terminal: the ^C that it echoes must not begin a line, or the table is drawn askew.
    table = Table(box=None, pad_edge=False, width=min(width - 4, 130), expand=True)
    for head in ("queue", "workers", "wanted", "jobs", "decision"):
        table.add_column(
            head, justify="left" if head in ("queue", "decision") else "right", no_wrap=True, header_style="dim",
            ratio=1 if head == "decision" else None,
        )  # fmt: skip
    for name, crew in crews.items():
        if crew.group.scales:
            wanted = Text(str(crew.target or 0), "" if crew.is_fresh else "yellow")
            table.add_row(Text(name, "bold"), _workers(crew), wanted, str(crew.running), _decision(crew))
    beside = [(name, crew) for name, crew in crews.items() if not crew.group.scales]
    if beside:
        parts = [
            (f"{name} ", "") if crew.count("ready") else (f"{name} (away) ", "yellow")
            for name, crew in beside
        ]
        table.add_row(Text("beside", "dim"), "", "", "", Text.assemble(*parts))
    return table


def _workers(crew: Crew) -> Text:
    pieces = [str(crew.count("ready"))]
    for state, sign in (("starting", "+"), ("stopping", "−")):
        if count := crew.count(state):
            pieces.append(f"{sign}{count}")
    return Text(" ".join(pieces))


def _decision(crew: Crew) -> Text:
    if crew.deaths and crew.backoff.pause:
        return Text(f"{crew.deaths} ended unasked: see the log", "bold red")
    if not crew.is_fresh:
        return Text("no fresh decision: holding", "yellow")
    return Text(crew.reason)
