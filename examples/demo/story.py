"""The demo from start-up to clean-up."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from examples.demo.fleet import PROCESSES, THREADS, Fleet, FleetError
from examples.demo.stopping import Stopped, StopSwitch
from littleq.backends.base import Inspector, backend_for
from littleq.cli.root import explain
from littleq.cli.show import number, rate, seconds
from littleq.cli.terminal import make_console
from littleq.cli.watch import open_watch
from littleq.config_sources import load_config
from littleq.ledger import open_ledger

if TYPE_CHECKING:
    from dramatiq import Broker

    from examples.demo.load import Load, Machine
    from examples.demo.summary import Samples, Summary

#: All of it, in seconds; and what of that is kept for the time after the last send.
TOTAL_SECONDS, END_SECONDS = 60.0, 14.0
#: Traffic without --seconds: at most, and at least where the start took long.
LONGEST, SHORTEST = 42.0, 15.0
#: Longest time for the last jobs and retries, in seconds.
DRAIN_SECONDS = 10.0
#: How often L is sampled, in seconds.
SAMPLE_SECONDS = 0.25
QUEUES = ("realtime", "batch")

NEXT = """\
  littleq worker                                            in one terminal,
  littleq producer --queue realtime --rate 20/s --poisson   in another,
  littleq monitor                                           in a third
"""


def tell(wanted: float | None, switch: StopSwitch, began: float) -> int:
    """Run the demo; its exit code: 0 fine, 1 something is wrong, 128 + n after signal n.

    Args:
        wanted: seconds of traffic; None: what fits into a minute.
        began: when the program started, by the monotonic clock.
    """
    console = make_console()
    demo = Demo(console, switch, began)
    code = 1
    try:
        code = 0 if demo.run(wanted) else 1
    except Stopped:
        console.print("Stopping…")
    except Exception as error:
        sentence = str(error) if isinstance(error, FleetError) else explain(error)
        if sentence is None:
            raise
        console.print(Text(f"✘ {sentence}", "red"), soft_wrap=True)
    finally:  # nothing is printed before it is done: the reader of a pipe may have gone away
        left = demo.clean_up()
    took = f"{time.monotonic() - began:.0f} s"
    if left:
        console.print(Text(f"✘ Still running after {took}: {', '.join(left)}.", "bold red"), soft_wrap=True)
        code = 1
    if switch.signal is not None:
        if not left:
            console.print(f"Stopped after {took}. Nothing is left running.")
        return 128 + switch.signal
    if code == 0:
        console.print(
            f"\nThat took {took}. Server, workers and exporter are stopped, nothing is left running."
        )
        console.print(NEXT, end="")
    return code


class Demo:
    """One run."""

    def __init__(self, console: Console, switch: StopSwitch, began: float) -> None:
        self._console, self._switch, self._began = console, switch, began
        self._fleet = Fleet(switch)
        self._broker: Broker | None = None

    def run(self, wanted: float | None) -> bool:
        """All of it but the clean-up; whether nothing went wrong.

        Raises:
            Stopped: a signal came. If there was any traffic, its summary has been printed.
            FleetError, LittleQError: a part does not work.
        """
        self._console.print(Text.assemble(("LittleQ demo", "bold"), ": about a minute, Ctrl-C ends it\n"))
        self._fleet.take_environment()
        # Nothing of ours, or of Redis', may write across the screen.
        logging.basicConfig(filename=self._fleet.folder / "demo.log", level=logging.WARNING)
        machine = self._start()

        from examples.demo.load import make_load  # noqa: PLC0415  # now, as in `_start`
        from examples.demo.summary import Samples, show, summarize  # noqa: PLC0415

        config = load_config()
        promised = config.queue("realtime").arrival_rate or 20.0
        load = make_load(wanted or self._affordable(), promised, machine)
        self._announce(load, promised)
        samples = Samples()
        inspector = self._inspector()
        try:
            self._watch(load, samples, inspector)
        except Stopped:
            self._console.print("Stopping…")
        load.join()
        self._fleet.stop_workers()  # their last counts go to the ledger now
        self._close_recorder()
        summary = summarize(load, samples, inspector, open_ledger(config), config)
        show(self._console, summary)
        self._switch.check()
        return self._is_fine(summary)

    def clean_up(self) -> list[str]:
        """Stop everything, and delete what is on the disk; what would not stop, in words."""
        self._fleet.stop_workers()
        self._close_recorder()
        self._fleet.stop_server()
        left = self._fleet.leftovers()
        if not left:
            self._fleet.remove_folder()
        return left

    def _start(self) -> Machine:
        """Start all, the slowest first; meanwhile render the photos."""
        fleet, status = self._fleet, self._console.status
        with status("starting a Valkey server"):
            began = time.monotonic()
            fleet.start_server()
            self._line("server", f"Valkey, embedded, in {fleet.folder}", began)
        self._switch.check()
        with status(f"starting {PROCESSES} worker processes"):
            began = time.monotonic()
            fleet.start_workers()
            # Not before: the actors bind to the broker that the environment names.
            import actors  # noqa: PLC0415
            from examples.demo.load import measure, render_photos  # noqa: PLC0415

            self._broker = actors.broker
            render_photos(self._switch)
            series = fleet.await_workers()
            self._line("workers", f"dramatiq actors, {PROCESSES} processes × {THREADS} threads", began)
        self._line("exporter", f"{fleet.metrics_url}, {series} series")
        with status("measuring this machine"):
            return measure(self._switch)

    def _affordable(self) -> float:
        """Seconds of traffic that fit into the minute."""
        used = time.monotonic() - self._began
        return min(LONGEST, max(SHORTEST, TOTAL_SECONDS - END_SECONDS - used))

    def _announce(self, load: Load, promised: float) -> None:
        from examples.demo.load import BURST_SECONDS, TRACE_NAME, TRICKLE_RATE  # noqa: PLC0415

        trace, burst = load.trace.plan, load.burst.plan
        self._line(
            "realtime",
            f"{trace.total:,} {TRACE_NAME}, {load.speed_up:.1f} × as fast: "
            f"{rate(trace.rate)} of {rate(promised)} promised",
        )
        self._line("", f"and a burst in the middle, {number(burst.total)} sends in {seconds(BURST_SECONDS)}")
        self._line("batch", f"a trickle of rows, checksums and files to compress, {rate(TRICKLE_RATE)}")

    def _line(self, label: str, text: str, began: float | None = None) -> None:
        line = Text.assemble((f"{label:<10}", "dim"), text)
        if began is not None:
            line.append(f"  {time.monotonic() - began:.1f} s", "dim")
        self._console.print(line, soft_wrap=True)

    def _inspector(self) -> Inspector:
        if self._broker is None:
            raise RuntimeError("the actors are imported first")
        return backend_for(self._broker).inspector

    def _watch(self, load: Load, samples: Samples, inspector: Inspector) -> None:
        """Send, sample and show, until the queues are empty again or that takes too long."""
        from examples.demo.view import View  # noqa: PLC0415

        watch = open_watch(load_config(), QUEUES)
        with View(self._console, watch, load, self._fleet.metrics_url) as view:
            start = time.monotonic()
            load.start(self._switch)
            while True:
                elapsed = time.monotonic() - start
                self._fleet.check()
                is_over = load.is_over()  # before the look: what was sent last is in it
                truths = inspector.truth(QUEUES)
                samples.add(elapsed, {queue: table.number_in_system for queue, table in truths.items()})
                view.show(elapsed)
                is_idle = not any(table.number_in_system + table.delayed for table in truths.values())
                if is_over and (is_idle or elapsed > load.seconds + DRAIN_SECONDS):
                    return
                self._switch.sleep(SAMPLE_SECONDS)

    def _is_fine(self, summary: Summary) -> bool:
        if summary.failed_sends:
            self._console.print(f"\n✘ {summary.failed_sends} sends got no answer.", style="red")
        return summary.holds and not summary.failed_sends

    def _close_recorder(self) -> None:
        """Send our own counts, while the server is there to take them."""
        if self._broker is not None:
            self._broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
