"""What happens between start-up and clean-up: measure, send, watch, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from actors import broker
from examples.demo.fleet import Fleet
from examples.demo.load import BURST_SECONDS, TRICKLE_RATE, Load, make_load, measure, render_photos
from examples.demo.stopping import Stopped, StopSwitch
from examples.demo.summary import Samples, show, summarize
from examples.demo.view import View
from littleq.backends import backend_for
from littleq.backends.base import Inspector
from littleq.background import Background
from littleq.cli.show import number, rate, seconds
from littleq.cli.watch import open_watch
from littleq.config.sources import load_config
from littleq.ledger import open_ledger

#: Longest time for the last jobs and retries, in seconds.
DRAIN_SECONDS = 10.0
#: How often L is sampled, in seconds: often enough to see a burst of a few seconds, by a thread of its own, for drawing
#: the screen takes longer just then.
SAMPLE_SECONDS = 0.04
#: How often the screen is drawn, in seconds.
VIEW_SECONDS = 0.25
QUEUES = ("realtime", "batch")


def prepare(switch: StopSwitch) -> None:
    """What can be done while the workers start."""
    render_photos(switch)


def plan(console: Console, switch: StopSwitch, traffic_seconds: Callable[[], float]) -> Load:
    """Measure the machine, decide on the load, and tell about it."""
    with console.status("measuring this machine"):
        machine = measure(switch)
    promised = load_config().queue("realtime").arrival_rate
    if promised is None:
        raise RuntimeError("littleq.toml promises no arrival_rate for realtime: the demo needs one")
    load = make_load(traffic_seconds(), promised, machine)
    trace, burst = load.trace.plan, load.burst.plan
    text = Text.assemble(
        (f"{'realtime':<10}", "dim"),
        f"{number(trace.total)} real chat requests (llm_conv.csv, Azure), {load.speed_up:.1f} × as fast:\n",
        f"{'':<10}{rate(trace.rate)} of the {rate(promised)} that are promised, and in the middle a burst\n",
        f"{'':<10}of {number(burst.total)} in {seconds(BURST_SECONDS)}\n",
        (f"{'batch':<10}", "dim"),
        f"a trickle of rows, checksums and files to compress: {rate(TRICKLE_RATE)}",
    )
    console.print(text, soft_wrap=True)
    return load


def perform(console: Console, fleet: Fleet, switch: StopSwitch, load: Load) -> bool:
    """Send it all, watch, and sum up; whether nothing went wrong. A signal only cuts it short."""
    samples, backend, config = Samples(), backend_for(broker), load_config()
    view = View(console, open_watch(config, QUEUES), load, fleet.metrics_url)
    try:
        with view:
            _watch(fleet, switch, load, samples, backend.inspector, view)
    except Stopped:
        console.print("Stopping…")
    load.end()
    fleet.stop_workers()  # their last counts go to the ledger now, and ours after them
    broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
    summary = summarize(load, samples, backend.inspector, open_ledger(config), config)
    show(console, summary)
    return summary.holds and not summary.failed_sends


def _watch(
    fleet: Fleet, switch: StopSwitch, load: Load, samples: Samples, inspector: Inspector, view: View
) -> None:
    """Show, while L is sampled, until the queues are empty again, or that takes too long."""
    start = time.monotonic()
    sampler = Background(
        "demo-sampler", SAMPLE_SECONDS, lambda: samples.add(time.monotonic(), inspector.depths(QUEUES))
    )
    sampler.start()
    try:
        load.start(switch)
        while True:
            elapsed = time.monotonic() - start
            fleet.check()
            is_over = load.is_over()  # before the look: what was sent last is in it
            truths = inspector.truth(QUEUES)
            view.show(elapsed)
            is_idle = not any(table.number_in_system + table.delayed for table in truths.values())
            if (is_over and is_idle) or elapsed > load.seconds + DRAIN_SECONDS:
                return
            switch.sleep(VIEW_SECONDS)
    finally:
        sampler.stop()
