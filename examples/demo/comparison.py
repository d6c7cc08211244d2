"""The two pools side by side: the same arrivals, the same machine, and about the same cost."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from examples.demo.performance import Turn
from littleq.cli.show import number, percent, seconds

_LABEL, _CELL = 12, 9
_QUEUE = "realtime"


def attainment(turn: Turn) -> float | None:
    """Share of the jobs that came in and started within the promise."""
    ratio = turn.summary.queues[_QUEUE].report.breach_ratio
    return None if ratio is None else 1 - ratio


def show(console: Console, elastic: Turn, fixed: Turn) -> None:
    """Print it, at most 90 cells wide."""
    report = elastic.summary.queues[_QUEUE].report
    promise = f"{number(report.percentile)} % within {seconds(report.sla_seconds)}"
    heads = _cells("mean", "cost", "sent", "refused", "in time", "p99 wait")
    console.print()
    console.print(Text(f"{_QUEUE:<{_LABEL}}{'workers':>13}{heads}  {promise}", "dim"), soft_wrap=True)
    for turn in (elastic, fixed):
        console.print(_row(turn), soft_wrap=True)
    console.print()
    console.print(_words(elastic, fixed), soft_wrap=True)


def _row(turn: Turn) -> Text:
    result, meter, load = turn.summary.queues[_QUEUE], turn.meter, turn.summary.load
    begins = meter.times[0]
    workers = (meter.at(begins + load.burst_at), meter.span[1], meter.counts[-1])
    cells = (
        f"{meter.mean:.1f}",
        f"{meter.worker_seconds:.0f} w·s",
        number(result.outcomes.total()),
        number(result.outcomes["shed"]),
        percent(attainment(turn)),
        seconds(result.report.wait_p99),
    )
    kept = {True: ("✔ kept", "green"), False: ("✘ missed", "bold red"), None: ("", "")}[result.is_kept]
    path = " → ".join(map(str, workers))
    return Text.assemble((f"{turn.name:<{_LABEL}}", "bold"), f"{path:>13}", _cells(*cells), "  ", kept)


def _words(elastic: Turn, fixed: Turn) -> Text:
    costs = elastic.meter.worker_seconds, fixed.meter.worker_seconds
    return Text(
        "Workers when the burst began, at most, and at the end. Cost in worker-seconds, from the start of\n"
        f"each process to its end: {costs[0]:.0f} against {costs[1]:.0f}. Both pools are real, and had the same "
        "arrivals one after the other.",
        "dim",
    )


def _cells(*cells: str) -> str:
    return "".join(f"{cell:>{_CELL}}" for cell in cells)
