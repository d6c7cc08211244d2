"""How a plan is shown: as tables, and as one JSON object."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from littleq.cli.show import NOTHING, counted, number, percent, rate, seconds

if TYPE_CHECKING:
    from rich.console import Console

    from littleq.planning import Burst, Demand, Plan, Ride

#: More nines than a model of this kind can tell apart.
_MOST_NINES = 0.999999


def attained(share: float) -> str:
    """A share in percent, with so many digits that what is missed shows, cut so that it never looks better than it is.

    >>> attained(0.5), attained(0.989999), attained(0.99990447), attained(0.99999999), attained(0.0)
    ('50 %', '98.99 %', '99.99044 %', '>99.9999 %', '0 %')
    """
    if share > _MOST_NINES:
        return f">{100 * _MOST_NINES:g} %"
    places = 2 - math.floor(math.log10(100.0 * (1.0 - share)))
    cut = math.floor(100.0 * share * 10**places * (1.0 + 1e-12)) / 10**places
    return f"{cut:.{max(0, places)}f}".rstrip("0").rstrip(".") + " %" if cut else "0 %"


def show(console: Console, plan: Plan, warning: str | None = None) -> None:
    """Print the plan: demand, pool, cost curve, burst, assumptions."""
    console.print(Text(_asked(plan.demand), "bold"))
    for title, table in (
        ("Pool", _pool(plan)),
        ("Cost curve", _curve(plan)),
        (_burst_title(plan.burst), _burst(plan)),
    ):
        console.print()
        console.print(Text(title, "bold"))
        console.print(table)
    console.print()
    console.print(Text("Assumed", "bold"))
    for sentence in plan.assumptions:
        console.print(Padding(Text(sentence, "dim"), (0, 0, 0, 2), expand=False))
    if warning:
        console.print()
        console.print(Text(warning, "yellow"))


def _asked(demand: Demand) -> str:
    what = "are done within" if demand.sojourn else "wait at most"
    return (
        f"{rate(demand.arrival_rate)} of {seconds(demand.service_time)} each, that is "
        f"{number(demand.offered_load)} erlangs; {demand.percentile:g} % {what} {seconds(demand.sla_seconds)}"
    )


def _rows() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    return table


def _pool(plan: Plan) -> Table:
    table = _rows()
    verdict = Text("the promise holds", "green") if plan.holds else Text("the promise does not hold", "red")
    workers = f"{counted(plan.workers, 'worker')} of {counted(plan.threads, 'thread')}"
    table.add_row(
        "needed", f"{counted(plan.servers_needed, 'server')} in {counted(plan.workers_needed, 'worker')}"
    )
    table.add_row("pool", Text.assemble(f"{workers} ({counted(plan.servers, 'server')}): ", verdict))
    table.add_row("in time", attained(plan.attainment))
    table.add_row("utilization", percent(plan.utilization))
    waits = "   ".join(f"p{p:g} {seconds(wait)}" for p, wait in plan.wait_quantiles.items())
    table.add_row("wait", f"mean {seconds(plan.mean_wait)}   {waits}")
    table.add_row("sojourn", f"mean {seconds(plan.mean_sojourn)}")
    table.add_row("jobs", f"{number(plan.number_in_system)} in the system, {number(plan.queue_length)} wait")
    table.add_row("limit", f"contract {number(plan.contract_limit)}   capacity {number(plan.capacity_limit)}")
    table.add_row("model", plan.demand.model)
    return table


def _curve(plan: Plan) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    for head in ("servers", "workers", "in time", "gain a server"):
        table.add_column(head, justify="right")
    table.add_column("")
    for point in plan.curve:
        marks = []
        if point.servers == plan.servers_needed:
            marks.append("the promise holds from here")
        if point.servers == plan.servers:
            marks.append("the pool")
        gain = NOTHING if point.gain is None else f"{number(round(100 * point.gain, 4))} points"
        table.add_row(
            number(point.servers),
            number(point.workers),
            Text(attained(point.attainment), "green" if point.holds else "red"),
            gain,
            ", ".join(marks),
        )
    return table


def _burst_title(burst: Burst) -> str:
    return f"Burst of {burst.factor:g} times the rate for {seconds(burst.seconds)}: {number(round(burst.jobs))} jobs"


def _burst(plan: Plan) -> Table:
    burst, table = plan.burst, _rows()
    table.add_row("the pool alone", _ride(burst.alone))
    if burst.alone.peak_backlog > 0:
        table.add_row(
            "with admission",
            f"{number(round(burst.refused_by_admission))} jobs refused at the capacity limit, the others in time",
        )
    if burst.extra_workers:
        table.add_row("to hold it", _order(burst))
        if burst.needed_by is not None:
            table.add_row("ordered at once", _ride(burst.reinforced))
    else:
        table.add_row("to hold it", "nothing more: the promise holds at this rate for however long")
    headroom = f"{burst.headroom_workers:+,} ({counted(burst.servers_to_ride, 'server')} in all)"
    if not burst.headroom_workers:
        headroom = f"none: {counted(burst.servers_to_ride, 'server')} are enough"
    table.add_row("headroom to ride it", f"{headroom}, with nothing ordered")
    return table


def _ride(ride: Ride) -> str:
    missed = f"{number(round(ride.missed))} jobs late"
    if ride.peak_backlog == 0:
        return f"no backlog but by chance, wait up to {seconds(ride.end_wait)} at its end, {missed}"
    return (
        f"backlog +{rate(ride.growth_rate)} up to {number(round(ride.peak_backlog))}, longest wait "
        f"{seconds(ride.longest_wait)}, {missed}, drained after {seconds(ride.drained_at)}"
    )


def _order(burst: Burst) -> str:
    more = f"+{counted(burst.extra_workers, 'worker')}"
    if burst.needed_by is None:
        return f"{more}, if it lasts; it is over before the backlog makes jobs late, but by chance"
    late = burst.startup_seconds - burst.needed_by
    when = f"{seconds(late)} too late" if late > 0 else "in time"
    return (
        f"{more}, there {seconds(burst.needed_by)} after it began; ordered at once they come after "
        f"{seconds(burst.startup_seconds)}: {when}"
    )


def as_record(plan: Plan) -> dict[str, Any]:
    """The plan for JSON; times in seconds, shares from 0 to 1."""
    demand = plan.demand
    return {
        "demand": {
            "arrival_rate": demand.arrival_rate,
            "service_time_seconds": demand.service_time,
            "scv": demand.service_scv,
            "arrival_scv": demand.arrival_scv,
            "sla_seconds": demand.sla_seconds,
            "percentile": demand.percentile,
            "sla_on": "sojourn" if demand.sojourn else "wait",
            "offered_load": demand.offered_load,
        },
        "model": demand.model,
        "exact": demand.is_exact,
        "servers_needed": plan.servers_needed,
        "workers_needed": plan.workers_needed,
        "limit": {"contract": plan.contract_limit, "capacity": plan.capacity_limit},
        "pool": {
            "workers": plan.workers,
            "threads": plan.threads,
            "servers": plan.servers,
            "holds": plan.holds,
            "attainment": plan.attainment,
            "utilization": plan.utilization,
            "wait_probability": plan.wait_probability,
            "mean_wait_seconds": plan.mean_wait,
            "mean_sojourn_seconds": plan.mean_sojourn,
            "wait_quantiles_seconds": {f"p{p:g}": wait for p, wait in plan.wait_quantiles.items()},
            "queue_length": plan.queue_length,
            "number_in_system": plan.number_in_system,
        },
        "curve": [asdict(point) for point in plan.curve],
        "burst": _burst_record(plan.burst),
        "assumptions": list(plan.assumptions),
    }


def _burst_record(burst: Burst) -> dict[str, Any]:
    return {
        "factor": burst.factor,
        "seconds": burst.seconds,
        "startup_seconds": burst.startup_seconds,
        "jobs": burst.jobs,
        "alone": _ride_record(burst.alone),
        "refused_by_admission": burst.refused_by_admission,
        "servers_for_rate": burst.servers_for_rate,
        "extra_workers": burst.extra_workers,
        "needed_by_seconds": burst.needed_by,
        "reinforced": _ride_record(burst.reinforced),
        "servers_to_ride": burst.servers_to_ride,
        "headroom_workers": burst.headroom_workers,
    }


def _ride_record(ride: Ride) -> dict[str, float | None]:
    return {
        "growth_rate": ride.growth_rate,
        "peak_backlog": ride.peak_backlog,
        "longest_wait_seconds": ride.longest_wait,
        "end_wait_seconds": ride.end_wait,
        "missed": ride.missed,
        "first_miss_at_seconds": ride.first_miss_at,
        "drained_at_seconds": ride.drained_at,
    }
