"""One pool's turn: send, watch, and sum up."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from examples.demo.app import broker
from examples.demo.fleet import QUEUES, Fleet, Pool
from examples.demo.load import Load, Machine, make_load
from examples.demo.meter import Meter
from examples.demo.stopping import Stopped, StopSwitch
from examples.demo.summary import Samples, Summary, summarize
from examples.demo.view import View
from littleq.backends import backend_for
from littleq.backends.base import Inspector
from littleq.background import Background
from littleq.cli.options import Session
from littleq.cli.watch import open_watch
from littleq.config.sources import load_config
from littleq.ledger import open_ledger
from littleq.ledger.base import Counts

#: Longest time for the last jobs and retries, in seconds.
DRAIN_SECONDS = 8.0
#: How often L is sampled, in seconds: often enough to see a burst of a few seconds, by a thread of its own, for drawing
#: the screen takes longer just then.
SAMPLE_SECONDS = 0.04
#: The same where looking costs the broker several requests.
REMOTE_SAMPLE_SECONDS = 0.5
#: How often the screen is drawn, in seconds.
VIEW_SECONDS = 0.25


@dataclass(frozen=True)
class Turn:
    """What one pool did with the arrivals.

    Attributes:
        meter: the workers of `realtime` while jobs were sent.
        totals: the ledger's counters after it, by queue.
    """

    name: str
    summary: Summary
    meter: Meter
    totals: Mapping[str, Counts]

    @property
    def same_size(self) -> int:
        """A fixed pool of the same mean size, to the nearest whole worker."""
        return max(1, math.floor(self.meter.mean + 0.5))


def perform(
    *,
    console: Console,
    fleet: Fleet,
    switch: StopSwitch,
    name: str,
    seconds: float,
    machine: Machine,
    before: Turn | None = None,
) -> Turn:
    """Send it all to the pool that runs, watch, stop the pool, and sum up. A signal only cuts it short.

    Args:
        name: of this pool.
        before: the turn before this one, whose counts are not counted again.
    """
    load = make_load(seconds, machine)
    samples, config = Samples(), load_config()
    opened = Session(config, broker, backend_for(broker), open_ledger(config))
    pool = fleet.pool
    assert pool is not None
    view = View(console, open_watch(config, QUEUES), load, fleet.metrics_url, name, pool)
    began = time.monotonic()
    try:
        with view:
            _watch(fleet, switch, load, samples, opened.backend.inspector, view)
    except Stopped:
        console.print("Stopping…")
    load.end()
    ended = time.monotonic()
    fleet.stop_pool()  # the last counts of the workers go to the ledger now, and ours after them
    broker.littleq_gate.admission.recorder.close()
    before_totals = {} if before is None else before.totals
    summary = summarize(load, samples, opened, before_totals)
    totals = {queue: result.all_totals for queue, result in summary.queues.items()}
    return Turn(name, summary, _while_sent(pool, began, min(ended, began + load.seconds)), totals)


def _while_sent(pool: Pool, began: float, ended: float) -> Meter:
    return pool.meter.between(began, ended)


def _watch(
    fleet: Fleet, switch: StopSwitch, load: Load, samples: Samples, inspector: Inspector, view: View
) -> None:
    """Show, while L is sampled, until the queues are empty again, or that takes too long."""
    start = time.monotonic()
    pause = SAMPLE_SECONDS if fleet.broker == "redis" else REMOTE_SAMPLE_SECONDS
    sampler = Background(
        "demo-sampler", pause, lambda: samples.add(time.monotonic(), inspector.depths(QUEUES))
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
