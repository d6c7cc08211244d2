"""`littleq monitor`: queues against their service levels, live."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from littleq.cli import options
from littleq.cli.terminal import echo_json, make_console, quiet_logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from littleq.cli.watch import Reading, Watch


@click.command()
@options.queues_option("Only this queue; may be repeated. Default: all queues.")
@click.option(
    "--interval",
    type=options.DURATION,
    default="2s",
    show_default=True,
    metavar="TIME",
    help="Between two readings.",
)
@click.option("--once", is_flag=True, help="One reading, then exit.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a reading.")
@options.connection_options
def monitor(
    *,
    queues: tuple[str, ...],
    interval: float,
    once: bool,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Watch queues against their service levels.

    \b
      depth     jobs that wait or run, of the queue limit; then where they are
      flow      λ offered, attempts done, refused and retried per second; the next delayed job
      law       L, mean depth of the last minute, beside λW of Little's Law; W = Wq + S
      servers   c, worker threads, and their utilization ρ = (λ + retries) S / c
      wait      measured waits; what a job sent now would wait; what the SLA leaves
      breaches  in all, and as a share beside the share that the promise allows

    Rates and times are those of the last minute, over the whole fleet; the sparklines show depth and λ from
    one reading to the next. Without a terminal it prints a line a queue. A server that is away is tried
    again.

    \b
      littleq monitor --queue realtime --interval 2s
      littleq monitor --once --json | jq .queues.realtime.wait_p99
    """
    from littleq.cli.watch import open_watch

    quiet_logs()  # what goes wrong is said on the screen; the log would write across it
    config = options.load_config(url, config_file)
    options.shared_ledger(config)
    watch = open_watch(config, queues)
    server = _server(config.url)
    if once:
        _once(watch, server, as_json)
    elif as_json:
        _repeat(watch, interval, lambda reading: echo_json(reading.record()))
    elif sys.stdout.isatty():
        live(watch, server, interval)
    else:
        _repeat(watch, interval, _print_plain)


def _server(url: str) -> str:
    from littleq.redaction import redact_url

    return redact_url(url)


def _once(watch: Watch, server: str, as_json: bool) -> None:
    from littleq.cli.screen import frame

    reading = _first(watch)
    if as_json:
        echo_json(reading.record())
    else:
        console = make_console()
        width = console.width if console.is_terminal else 80
        console.print(frame(reading, watch.histories, server=server, width=width))
    if outage := reading.outage():
        what, why = outage
        raise click.ClickException(f"{what} ({why}): {watch.advice}.")


def _first(watch: Watch) -> Reading:
    """The first reading, which shows whether the queues exist."""
    reading = watch.read()
    for name in watch.unknown(reading):
        raise click.UsageError(options.unknown_queue(name, watch.known))
    return reading


def _repeat(watch: Watch, interval: float, show: Callable[[Reading], None]) -> None:
    reading = _first(watch)
    while True:
        show(reading)
        sys.stdout.flush()
        time.sleep(interval)
        reading = watch.read()


def _print_plain(reading: Reading) -> None:
    from littleq.cli.screen import plain_line

    if outage := reading.outage():
        click.echo(f"littleq: {outage[0]}, trying again: {outage[1]}", err=True)
    for report in reading.reports.values():
        click.echo(plain_line(report, reading.taken_at))


def live(watch: Watch, server: str, interval: float) -> None:
    """A full screen, redrawn at each reading; the last one stays on the terminal after Ctrl-C."""
    from rich.live import Live

    from littleq.cli.screen import frame

    console = make_console()
    note = f"every {interval:g} s · Ctrl-C ends"
    reading: Reading | None = None
    try:
        with Live(console=console, screen=True, auto_refresh=False) as screen:
            while True:
                due = time.monotonic() + interval
                reading = _first(watch) if reading is None else watch.read()
                size = console.size
                shown = frame(
                    reading, watch.histories, server=server, width=size.width, height=size.height, note=note
                )
                screen.update(shown, refresh=True)
                time.sleep(max(0.0, due - time.monotonic()))
    except KeyboardInterrupt:
        if reading is not None:
            console.print(frame(reading, watch.histories, server=server, width=console.width))
        raise
