"""Jobs per second, enqueued and processed: the stack against the server's baseline (plain Dramatiq), in turns.

In each round all do the same number of jobs in turns, in processes of their own with a namespace each, which start anew
with the round. While one works the others wait. A ratio is taken per round, and the median of the rounds is the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

import littleq
from benchmarks.measures import Size, in_turns
from benchmarks.processes import Producer, Workers, processed_per_second
from benchmarks.report import Outcome, Table, ratios
from benchmarks.server import Server
from benchmarks.systems import PROCESSES, SYSTEMS

#: Sends in a turn: about 50 ms.
PORTION = 250
PRODUCERS = 8
#: Messages in a `send_many`.
BATCH = 100
_COLUMNS = ("", "jobs/s", "÷ the first", "lowest round", "highest round")

#: Jobs per second of each subject, one figure a round.
Rates = dict[str, list[float]]


def enqueue(server: Server, size: Size) -> Outcome:
    """One producer, one thread: `send()` after `send()`."""
    modes, portion = server.modes, server.jobs(PORTION)

    def one_round(number: int) -> dict[str, float]:
        seconds = dict.fromkeys(modes, 0.0)
        with ExitStack() as stack:
            producers = {mode: stack.enter_context(Producer(mode, server.url)) for mode in modes}
            for mode in modes:
                producers[mode].do("send", portion)
            turns = size.jobs // PORTION
            for mode in in_turns(modes, turns, number):
                seconds[mode] += producers[mode].seconds("send", portion)
        return {mode: turns * portion / seconds[mode] for mode in modes}

    return _outcome(server, "enqueue", "Enqueue, one producer", _rates(server, size.rounds, one_round))


def enqueue8(server: Server, size: Size) -> Outcome:
    """Eight producer processes at once, from the first one's start to the last one's end."""
    modes, portion = (server.baseline, "stack"), server.jobs(PORTION)
    turns = max(2, size.jobs // (PRODUCERS * PORTION))
    with ExitStack() as stack:  # once for all rounds: these are many processes to start
        crews = {
            mode: [stack.enter_context(Producer(mode, server.url)) for _ in range(PRODUCERS)]
            for mode in modes
        }

        def one_round(number: int) -> dict[str, float]:
            seconds = dict.fromkeys(modes, 0.0)
            for mode in modes:
                _together(crews[mode], "send", server.jobs(20))
            for mode in in_turns(modes, turns, number):
                seconds[mode] += _together(crews[mode], "send", portion)
            return {mode: turns * PRODUCERS * portion / seconds[mode] for mode in modes}

        rates = _rates(server, size.rounds, one_round)
    return _outcome(server, "enqueue8", f"Enqueue, {PRODUCERS} producer processes", rates)


def bulk(server: Server, size: Size) -> Outcome:
    """`littleq.send_many` in batches against plain `send()` in a loop; making the messages counts for both."""
    if not hasattr(littleq, "send_many"):
        return Outcome([])

    base, portion, many = server.baseline, server.jobs(PORTION), max(BATCH, server.jobs(10 * BATCH))

    def one_round(number: int) -> dict[str, float]:
        seconds = {base: 0.0, "stack": 0.0}
        with Producer(base, server.url) as plain, Producer("stack", server.url) as ours:
            runs = {
                base: partial(plain.seconds, "send", portion),
                "stack": partial(ours.seconds, "bulk", many, BATCH),
            }
            for run in runs.values():
                run()
            turns = max(4, size.jobs // PORTION // 2)
            for mode in in_turns(tuple(runs), turns, number):
                seconds[mode] += runs[mode]()
        return {base: turns * portion / seconds[base], "stack": turns * many / seconds["stack"]}

    rates = _rates(server, size.rounds, one_round)
    return _outcome(
        server, "bulk_enqueue", f"Enqueue in bulk, `send_many` of {BATCH} against `send()`", rates
    )


def process(server: Server, size: Size) -> Outcome:
    """2 processes × 8 threads work off a full queue, from the first job's start to the last one's.

    The workers are there and warm, are stopped (SIGSTOP) while the queue is filled, and go on at the same instant:
    neither booting nor a process that comes late is measured.
    """

    modes, jobs = server.modes, server.jobs(size.jobs)

    def one_round(number: int) -> dict[str, float]:
        inverse = dict.fromkeys(modes, 0.0)
        with ExitStack() as stack:
            crews = {}
            for mode in modes:
                workers = stack.enter_context(Workers(mode, server.url))
                crews[mode] = (workers, stack.enter_context(Producer(mode, server.url)))
            for workers, producer in crews.values():
                workers.warm_up(producer, PROCESSES, server.jobs(100))
            for mode in in_turns(modes, size.turns, number):
                inverse[mode] += 1 / work_off(*crews[mode], jobs)[0]
        return {mode: size.turns / inverse[mode] for mode in modes}

    return _outcome(
        server, "process", "Process, 2 processes × 8 threads", _rates(server, size.rounds, one_round)
    )


def work_off(workers: Workers, producer: Producer, jobs: int) -> tuple[float, float]:
    """Jobs per second processed, and enqueued before."""
    workers.stop()
    sending = producer.seconds("send", jobs)
    workers.go_on()
    rate = processed_per_second(workers.wait_for(jobs))
    workers.marks.forget()
    return rate, jobs / sending


def _together(producers: Sequence[Producer], what: str, jobs: int) -> float:
    for producer in producers:
        producer.order(what, jobs)
    spans: list[tuple[int, int]] = [producer.answer() for producer in producers]
    return (max(ended for _, ended in spans) - min(started for started, _ in spans)) / 1e9


def _rates(server: Server, rounds: int, one_round: Callable[[int], dict[str, float]]) -> Rates:
    rates: Rates = {}
    for number in range(rounds):
        server.empty()
        for mode, rate in one_round(number).items():
            rates.setdefault(mode, []).append(rate)
    return rates


def _outcome(server: Server, name: str, title: str, rates: Rates) -> Outcome:
    figures: dict[str, Any] = {}
    rows = []
    for mode, values in rates.items():
        figures[f"{name}_{mode}_jobs_per_second"] = round(median(values))
        key = name if mode == "stack" else f"{name}_{mode}"
        cells = (
            ["", "", ""] if mode == server.baseline else ratios(figures, key, values, rates[server.baseline])
        )
        rows.append([SYSTEMS[mode].title, f"{median(values):,.0f}", *cells])
    return Outcome([Table(title, _COLUMNS, rows)], figures)
