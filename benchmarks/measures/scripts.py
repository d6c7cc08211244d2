"""What each step of a job costs the server as the queue grows.

Queues of all lengths are there at once, in both modes, and the steps are measured on them in turns, driven through the
broker's public operations one after the other in this process. The cost is the server's own measure, `INFO
commandstats`: µs spent in scripts and blocking commands (without waiting) per job, the lower quartile of batches of 16
jobs: the network and Python are no part of it, and what else runs disturbs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import quantiles
from typing import Any

from benchmarks.measures import Size
from benchmarks.processes import Producer
from benchmarks.report import Outcome, Table
from benchmarks.server import Valkey
from benchmarks.systems import SYSTEMS
from benchmarks.systems.dramatiq_app import App
from littleq.backends import backend_for

#: Jobs in a batch: what a process with 8 threads prefetches.
_BATCH = 16
#: Batches of a step in a row, and rounds of all steps and queues.
_BATCHES, _ROUNDS = 4, 8
_AN_HOUR_MS = 3_600_000
#: Messages in one round trip while a queue is filled.
_FILL = 500
_MODES = ("stack", "plain")
#: Longer queues of plain Dramatiq take too long to fill.
_MOST_FOR_PLAIN = 100_000
_STEPS = {
    "enqueue": "enqueue",
    "schedule": "enqueue with a delay",
    "fetch_ack": "fetch and ack",
    "fetch_requeue": "fetch and requeue",
    "fetch_nack": "fetch and nack",
    "truth": "truth table of the queue, a scrape",
}


def scripts(server: Valkey, size: Size) -> Outcome:
    server.empty()
    _fill(server, size.lengths)
    steps = {
        (mode, length): _Steps(server, mode, length)
        for length in size.lengths
        for mode in _MODES
        if mode == "stack" or length <= _MOST_FOR_PLAIN
    }
    for _ in range(_ROUNDS):
        for queue in steps.values():
            queue.run()
    for queue in steps.values():
        queue.close()
    server.empty()
    shortest, longest = min(size.lengths), max(size.lengths)
    growth = [steps["stack", longest].cost(step) / steps["stack", shortest].cost(step) for step in _STEPS]
    figures: dict[str, Any] = {"script_growth": round(max(growth), 3)}  # of the step that grows most
    rows = []
    for mode in _MODES:
        for step, words in _STEPS.items():
            measured = [n for n in size.lengths if (mode, n) in steps and step in steps[mode, n].batches]
            costs = {n: steps[mode, n].cost(step) for n in measured}
            figures |= {f"script_{mode}_{step}_{n}_us": round(cost, 1) for n, cost in costs.items()}
            cells = [f"{costs[n]:.0f}" if n in costs else "" for n in size.lengths]
            if costs:
                rows.append([f"{SYSTEMS[mode].title}: {words}", *cells])
    columns = ("jobs in the queue", *(f"{length:,}" for length in size.lengths))
    return Outcome([Table("Scripts, µs a job on the server", columns, rows)], figures)


def _queue(length: int) -> str:
    return f"bench-{length}"


def _fill(server: Valkey, lengths: Sequence[int]) -> None:
    """Two producers at a time: of both modes, or of the one whose queues go on growing."""
    for length in lengths:
        modes = _MODES if length <= _MOST_FOR_PLAIN else ("stack", "stack")
        jobs = length // modes.count("stack")
        with ExitStack() as stack:
            producers = [stack.enter_context(Producer(mode, server.url, _queue(length))) for mode in modes]
            for producer in producers:
                producer.order("bulk", jobs, min(_FILL, jobs))
            for producer in producers:
                producer.answer()


class _Steps:
    """The steps of a job on one queue, which is as long after each round as before."""

    def __init__(self, server: Valkey, mode: str, length: int) -> None:
        self._server = server
        self._app = App(mode, server.url, _queue(length))
        self._broker = self._app.broker
        self._broker.declare_queue(self._app.queue)
        self._consumer = self._broker.consume(self._app.queue, prefetch=_BATCH, timeout=100)
        self._inspector = None if mode == "plain" else backend_for(self._broker).inspector
        #: Microseconds a job, by step.
        self.batches: dict[str, list[float]] = {}

    def cost(self, step: str) -> float:
        return quantiles(self.batches[step], n=4)[0]

    def run(self) -> None:
        nothing, consumer, inspector = self._app.nothing, self._consumer, self._inspector
        self._time("enqueue", nothing.send)
        self._time("schedule", lambda: nothing.send_with_options(delay=_AN_HOUR_MS))
        self._settle("fetch_ack", consumer.ack)
        self._settle("fetch_requeue", None)
        self._settle("fetch_nack", consumer.nack)
        for _ in range(_BATCHES * _BATCH):
            nothing.send()
        if inspector is not None:
            self._time("truth", lambda: inspector.truth([self._app.queue]))

    def close(self) -> None:
        self._consumer.close()
        self._broker.close()

    def _settle(self, step: str, settle: Callable[[Any], object] | None) -> None:
        """Batches are fetched and settled. What is told to the server with the next fetch counts there: the first batch
        of a step bears another one's, which the lower quartile leaves out."""
        for _ in range(_BATCHES):
            with self._timed(step):
                messages = [next(self._consumer) for _ in range(_BATCH)]
                if None in messages:
                    raise RuntimeError("A queue that has jobs gave none.")
                if settle is None:
                    self._consumer.requeue(messages)
                else:
                    for message in messages:
                        settle(message)
            if settle is None:  # stock: a requeued message stays on the consumer's list of its own
                for message in messages:
                    getattr(self._consumer, "queued_message_ids", set()).discard(message.message_id)

    def _time(self, step: str, action: Callable[[], object]) -> None:
        for _ in range(_BATCHES):
            with self._timed(step):
                for _ in range(_BATCH):
                    action()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        before = self._server.load()
        yield
        spent = self._server.load().since(before).script_seconds
        self.batches.setdefault(step, []).append(spent * 1e6 / _BATCH)
