"""The demo from start-up to clean-up: starts the fleet, hands over to `performance`, and leaves nothing."""

from __future__ import annotations

import logging
import time

from rich.console import Console
from rich.text import Text

from examples.demo.farewell import become
from examples.demo.fleet import PROCESSES, THREADS, Fleet, FleetError
from examples.demo.stopping import Stopped, StopSwitch
from littleq.cli.root import explain
from littleq.cli.terminal import make_console

#: All of it, in seconds; and what of that is kept for the time after the last send.
TOTAL_SECONDS, END_SECONDS = 60.0, 14.0
#: Traffic without --seconds: at most, and at least where the start took long.
LONGEST, SHORTEST = 42.0, 15.0


def tell(wanted: float | None, switch: StopSwitch, began: float) -> None:
    """Run the demo, and end this process: with 0 if all is fine, 1 if not, 128 + n after signal n.

    Args:
        wanted: seconds of traffic; None: what fits into a minute.
        began: when the program started, by the monotonic clock.
    """
    console, fleet, code = make_console(), Fleet(switch), 1
    try:
        code = 0 if _play(console, fleet, switch, wanted, began) else 1
    except Stopped:
        console.print("Stopping…")
    except Exception as error:
        _complain(console, error)
    finally:  # nothing is printed before it is done: the reader of a pipe may have gone away
        fleet.stop_workers()
        if switch.signal is not None:
            code = 128 + switch.signal
        become(fleet.folder, fleet.port, began, code)


def _play(console: Console, fleet: Fleet, switch: StopSwitch, wanted: float | None, began: float) -> bool:
    """All of it but the end; whether nothing went wrong.

    Raises:
        Stopped: a signal came before there was any traffic; later it only cuts that short.
    """
    console.print(Text.assemble(("LittleQ demo", "bold"), ": about a minute, Ctrl-C ends it\n"))
    fleet.take_environment()
    # Nothing of ours, or of Redis', may write across the screen.
    logging.basicConfig(filename=fleet.folder / "demo.log", level=logging.WARNING)
    with console.status("starting a Valkey server"):
        since = time.monotonic()
        fleet.start_server()
        tell_line(console, "server", f"Valkey, embedded, in {fleet.folder}", since)
    switch.check()
    with console.status(f"starting {PROCESSES} worker processes"):
        since = time.monotonic()
        fleet.start_workers()
        # Not at the top: the actors that it imports bind to the broker that the environment names.
        from examples.demo import performance  # noqa: PLC0415

        performance.prepare(switch)
        series = fleet.await_workers()
        tell_line(console, "workers", f"dramatiq actors, {PROCESSES} processes × {THREADS} threads", since)
    tell_line(console, "exporter", f"{fleet.metrics_url}, {series} series")
    load = performance.plan(console, switch, lambda: wanted or _affordable(began))
    return performance.perform(console, fleet, switch, load)


def _affordable(began: float) -> float:
    """Seconds of traffic that fit into the minute."""
    used = time.monotonic() - began
    return min(LONGEST, max(SHORTEST, TOTAL_SECONDS - END_SECONDS - used))


def tell_line(console: Console, label: str, text: str, since: float | None = None) -> None:
    """One line of the start, with the time that it took."""
    line = Text.assemble((f"{label:<10}", "dim"), text)
    if since is not None:
        line.append(f"  {time.monotonic() - since:.1f} s", "dim")
    console.print(line, soft_wrap=True)


def _complain(console: Console, error: Exception) -> None:
    """Say what went wrong; a traceback if it is a bug."""
    if isinstance(error, ModuleNotFoundError):
        words: str | None = f"The demo needs {error.name}: pip install 'littleq[demo]', or run make demo."
    else:
        words = str(error) if isinstance(error, FleetError) else explain(error)
    if words is None:
        console.print_exception()
    else:
        console.print(Text(f"✘ {words}", "red"), soft_wrap=True)
