"""A picture of a run: what arrived, what waited, for how long, and with how many workers."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from littleq.figures import COLOURS, new_figure, save_figure, tidy
from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import Run
from littleq.simulation.workload import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points on the time axis of arrivals, depth and waits: as many as one can see.
POINTS = 240
#: Waits are drawn on a logarithmic axis from this share of the SLA on: nobody's promise is about less.
LEAST_WAIT = 0.01


def draw(path: Path, workload: Workload, runs: Sequence[Run], settings: ScalingSettings) -> None:
    """Draw the runs of a workload, one colour a policy, into a PNG, SVG or PDF, by the ending of `path`.

    Raises:
        ConfigurationError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(11, 10)
    panels = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1.2, 1.4, 1.6])
    unit, word = (60.0, "minutes") if workload.seconds >= 300 else (1.0, "seconds")
    end = min(max([workload.seconds, *(run.end for run in runs)]), 1.25 * workload.seconds)
    edges = [end * point / POINTS for point in range(POINTS + 1)]
    times = [edge / unit for edge in edges]
    _arrivals(panels[0], workload, times, edges)
    for run, colour in zip(runs, _colours(), strict=False):
        style: dict[str, Any] = {"color": colour, "linewidth": 1.3, "label": run.policy}
        if run is runs[0]:
            style |= {"linewidth": 1.8, "zorder": 3}  # the one that is looked at, above the others
        panels[1].plot(times, _depths(run, edges), **style)
        panels[2].plot(times[1:], _slowest(run, edges, settings), **style)
        panels[3].step(*_pool(run, unit), where="post", **style)
    _label(panels, settings, word)
    panels[0].set_xlim(0, end / unit)
    figure.legend(
        *panels[3].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=max(1, len(runs)),
        frameon=False,
    )
    save_figure(figure, path)


def _colours() -> Sequence[str]:
    return COLOURS * 4


def _arrivals(panel: Axes, workload: Workload, times: list[float], edges: list[float]) -> None:
    counts = [bisect_right(workload.arrivals, edge) for edge in edges]
    width = edges[1]
    rates = [(after - before) / width for before, after in pairwise(counts)]
    panel.stairs(rates, times, fill=True, color="#B0B0B0")


def _depths(run: Run, edges: Sequence[float]) -> list[int]:
    """Jobs that wait at each moment."""
    return [bisect_right(run.arrivals, edge) - bisect_right(run.starts, edge) for edge in edges]


def _slowest(run: Run, edges: Sequence[float], settings: ScalingSettings) -> list[float]:
    """The longest wait (or sojourn) of the jobs that arrived in each span; NaN where none did."""
    least = LEAST_WAIT * settings.sla_seconds
    slowest = [math.nan] * (len(edges) - 1)
    width = edges[1]
    for arrival, start, service in zip(run.arrivals, run.starts, run.services, strict=False):
        span = min(len(slowest) - 1, int(arrival / width))
        took = max(least, start - arrival + (service if settings.sojourn else 0.0))
        if not slowest[span] >= took:
            slowest[span] = took
    return slowest


def _pool(run: Run, unit: float) -> tuple[list[float], list[int]]:
    """Workers that are paid for, from decision to decision."""
    times = [moment.at / unit for moment in run.moments]
    pools = [moment.workers + moment.starting for moment in run.moments]
    first = run.initial_workers
    return [0.0, *times, run.end / unit], [first, *pools, pools[-1] if pools else first]


def _label(panels: Sequence[Axes], settings: ScalingSettings, word: str) -> None:
    what = "sojourn" if settings.sojourn else "wait"
    panels[0].set_ylabel("arrivals /s")
    panels[1].set_ylabel("jobs that wait")
    panels[1].set_yscale("symlog", linthresh=10)
    panels[1].set_ylim(bottom=0)
    panels[2].set_ylabel(f"longest {what} (s)")
    panels[2].set_yscale("log")
    panels[2].set_ylim(bottom=LEAST_WAIT * settings.sla_seconds)
    panels[2].axhline(settings.sla_seconds, color="black", linestyle="--", linewidth=1)
    panels[2].annotate(
        f"SLA {settings.sla_seconds:g} s",
        (0.995, settings.sla_seconds),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )
    panels[3].set_ylabel("workers, starting ones too")
    panels[3].set_ylim(bottom=0)
    panels[3].set_xlabel(word)
    for panel in panels:
        tidy(panel)
