"""The demo from start-up to clean-up: two pools take their turn, and nothing is left."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from examples.demo.farewell import become
from examples.demo.fleet import MOST_WORKERS, Fleet, FleetError
from examples.demo.servers import TITLES
from examples.demo.stopping import Stopped, StopSwitch
from littleq.cli.root import explain
from littleq.cli.show import number, rate, seconds
from littleq.cli.terminal import make_console

if TYPE_CHECKING:
    from examples.demo.load import Machine

#: How long jobs are sent to each of the two pools, without --seconds.
TURN_SECONDS = 26.0


def tell(wanted: float | None, broker: str, switch: StopSwitch, began: float) -> None:
    """Run the demo, and end this process: with 0 if all is fine, 1 if not, 128 + n after signal n.

    Args:
        broker: one of `servers.BROKERS`.
        wanted: seconds of traffic for each pool; None: `TURN_SECONDS`.
        began: when the program started, by the monotonic clock.
    """
    console, fleet, code = make_console(), Fleet(switch, broker), 1
    try:
        code = 0 if _play(console, fleet, switch, wanted or TURN_SECONDS) else 1
    except Stopped:
        console.print("Stopping…")
    except Exception as error:
        _complain(console, error)
    finally:  # nothing is printed before it is done: the reader of a pipe may have gone away
        fleet.stop_pool()
        fleet.stop_server()
        if switch.signal is not None:
            code = 128 + switch.signal
        become(fleet.folder, fleet.port, began, code)


def _play(console: Console, fleet: Fleet, switch: StopSwitch, turn: float) -> bool:
    """All of it but the end; whether nothing went wrong.

    Raises:
        Stopped: a signal came while no jobs were sent; else it only cuts that short.
    """
    console.print(Text.assemble(("LittleQ demo", "bold"), ": little more than a minute, Ctrl-C ends it\n"))
    fleet.take_environment()
    # Nothing of ours, or of Redis', may write across the screen.
    logging.basicConfig(filename=fleet.folder / "demo.log", level=logging.WARNING)
    with console.status("starting a server"):
        since = time.monotonic()
        fleet.start_server()
        words = f"Valkey, embedded, in {fleet.folder}"
        if fleet.broker != "redis":
            words = f"{TITLES[fleet.broker]}; the ledger on an embedded Valkey, in {fleet.folder}"
        tell_line(console, "server", words, since)
    switch.check()
    # Not at the top: the actors that they import bind to the broker that the environment names.
    from examples.demo import comparison, load, performance, summary  # noqa: PLC0415

    with console.status("measuring this machine"):
        load.render_photos(switch)
        machine = load.measure(switch)
    _tell_load(console, machine, turn)
    _start(console, fleet, "elastic", f"1 to {MOST_WORKERS} processes, as the controller decides each second")
    perform = partial(
        performance.perform, console=console, fleet=fleet, switch=switch, seconds=turn, machine=machine
    )
    first = perform(name="elastic")
    summary.show(console, first.summary)
    if switch.signal is not None or not first.summary.holds:
        return first.summary.is_fine
    size = first.same_size
    console.print()
    _start(
        console, fleet, "fixed", f"{size} processes all the time: what the elastic one had on average", size
    )
    second = perform(name=f"fixed at {size}", before=first)
    comparison.show(console, first, second)
    return first.summary.is_fine and second.summary.is_fine


def _start(console: Console, fleet: Fleet, name: str, words: str, size: int | None = None) -> None:
    with console.status(f"starting the {name} pool"):
        since = time.monotonic()
        fleet.start_pool(None if size is None else {"realtime": size, "batch": 1})
        series = fleet.await_pool()
        tell_line(console, name, words, since)
    if size is None:
        tell_line(console, "exporter", f"{fleet.metrics_url}, {series} series")


def _tell_load(console: Console, machine: Machine, turn: float) -> None:
    """What will be sent."""
    from examples.demo.load import TRICKLE_RATE, make_load  # noqa: PLC0415

    load = make_load(turn, machine)
    trace, burst, flood = load.trace.plan, load.burst.plan, load.flood.plan
    text = Text.assemble(
        (f"{'realtime':<10}", "dim"),
        f"{number(trace.total)} recorded chat requests (llm_conv.csv, Azure), {load.speed_up:.1f} × as fast: "
        f"{rate(trace.rate)},\n",
        f"{'':<10}a burst of {rate(burst.rate)} more for {seconds(load.burst_ends - load.burst_at)}, "
        f"and in it a flood: {number(flood.total)} in 1 s\n",
        (f"{'batch':<10}", "dim"),
        f"a trickle of rows, checksums and files to compress: {rate(TRICKLE_RATE)}",
    )
    console.print(text, soft_wrap=True)


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
