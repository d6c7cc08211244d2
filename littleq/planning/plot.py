"""A picture of a plan: how much more servers buy, and what a burst does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from littleq.figures import COLOURS, new_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from littleq.planning.pool import Plan

_GOOD, _BAD, _HELPED = COLOURS[:3]
#: The lowest share of misses that is drawn; fewer look the same.
_LEAST_MISS = 1e-5
_POINTS = 300


def draw(path: Path, plan: Plan) -> None:
    """Draw the cost curve and the burst into a PNG, SVG or PDF, by the ending of `path`.

    Raises:
        ConfigurationError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(11, 4.8)
    curve, burst = figure.subplots(1, 2)
    _curve(curve, plan)
    _burst(burst, plan)
    for panel in (curve, burst):
        tidy(panel)
    save_figure(figure, path)


def _curve(panel: Axes, plan: Plan) -> None:
    """Misses on a logarithmic axis, labelled with what is attained: each nine is as high as the one before."""
    demand = plan.demand
    points = plan.curve
    misses = [max(_LEAST_MISS, 1.0 - point.attainment) for point in points]
    servers = [point.servers for point in points]
    panel.plot(servers, misses, color="#7F7F7F", linewidth=1.2, zorder=1)
    for holds, colour, label in ((False, _BAD, "promise missed"), (True, _GOOD, "promise kept")):
        shown = [at for at, point in enumerate(points) if point.holds is holds]
        if shown:
            xs, ys = [servers[at] for at in shown], [misses[at] for at in shown]
            panel.scatter(xs, ys, color=colour, s=28, zorder=2, label=label)
    panel.axhline(demand.miss, color="black", linestyle="--", linewidth=1)
    panel.axvline(plan.servers_needed, color=_GOOD, linestyle=":", linewidth=1)
    panel.set_yscale("log")
    panel.set_ylim(2.0, _LEAST_MISS / 2.0)
    ticks = [0.5, 0.1, 0.01, 0.001, 0.0001, 0.00001]
    panel.set_yticks(ticks, [f"{100.0 - 100.0 * tick:g} %" for tick in ticks[:-1]] + ["99.999 % or more"])
    panel.minorticks_off()
    panel.set_xlim(servers[0] - 0.5, servers[-1] + 0.5)
    panel.locator_params(axis="x", integer=True)
    panel.set_xlabel(f"servers (threads; {plan.threads} a worker)")
    panel.set_ylabel("jobs in time")
    panel.set_title(
        f"Servers for {demand.percentile:g} % within {demand.sla_seconds:g} s: {plan.servers_needed}"
    )
    panel.legend(frameon=False, loc="upper left")


def _burst(panel: Axes, plan: Plan) -> None:
    burst, demand = plan.burst, plan.demand
    reinforced = (plan.workers + burst.extra_workers) * plan.threads
    end = 1.1 * max(burst.seconds, burst.alone.drained_at, burst.reinforced.drained_at)
    corners = {burst.seconds, burst.startup_seconds, burst.alone.drained_at, burst.reinforced.drained_at}
    times = sorted({*(end * point / _POINTS for point in range(_POINTS + 1)), *corners})
    panel.axvspan(0.0, burst.seconds, color="#E0E0E0", label=f"{burst.factor:g} times the rate")
    panel.plot(times, _backlogs(plan, plan.servers, times), color=_BAD, label=f"{plan.servers} servers")
    if burst.extra_workers:
        panel.plot(
            times,
            _backlogs(plan, reinforced, times),
            color=_HELPED,
            linestyle="--",
            label=f"{reinforced} servers, ordered at once",
        )
        if burst.startup_seconds <= end:
            panel.axvline(burst.startup_seconds, color=_HELPED, linestyle=":", linewidth=1)
    limit = plan.servers * demand.patience / demand.service_time
    panel.axhline(limit, color="black", linestyle="--", linewidth=1, label="cleared within the SLA")
    panel.set_xlim(0.0, end)
    panel.set_ylim(bottom=0.0)
    panel.set_xlabel("seconds after the burst began")
    panel.set_ylabel("jobs that wait (mean)")
    panel.set_title(f"Jobs late in the burst with {plan.servers} servers: {burst.alone.missed:,.0f}")
    panel.legend(frameon=False, loc="upper right")


def _backlogs(plan: Plan, later: int, times: Sequence[float]) -> list[float]:
    """The fluid's backlog at each moment, with `later` servers after the start-up."""
    burst, demand = plan.burst, plan.demand
    backlogs, before = [0.0], times[0]
    for time in times[1:]:
        middle = (before + time) / 2.0
        rate = demand.arrival_rate * (burst.factor if middle < burst.seconds else 1.0)
        servers = plan.servers if middle < burst.startup_seconds else later
        growth = (rate - servers / demand.service_time) * (time - before)
        backlogs.append(max(0.0, backlogs[-1] + growth))
        before = time
    return backlogs
