"""`littleq plan`: what a promise takes, before anything runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options

if TYPE_CHECKING:
    from littleq.config import SLAQueueConfig
    from littleq.planning import Demand

#: A run time without a unit that is so many times the SLA was meant in milliseconds; an SLA that is so many times the
#: run time too. Either is legal with its unit.
_LONG_RUN, _LONG_SLA = 10.0, 1000.0


class _Bare(float):
    """Seconds that were given without a unit."""


class _Time(options.Duration):
    """A duration that remembers whether its unit was given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = super().convert(value, param, ctx)
        return seconds if not isinstance(value, str) or value.strip()[-1].isalpha() else _Bare(seconds)


class _Variability(options._Float):
    """A squared coefficient of variation."""

    name = "scv"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if 0 <= number < math.inf:
            return number
        return self.fail(
            f"{value!r} is not variance / mean²: give 0 for clockwork, 1 for exponential or Poisson, more for bursty.",
            param,
            ctx,
        )


FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--arrival-rate", type=options.RATE, metavar="RATE", help="First-time sends, such as 20 or 600/min."
)
@click.option("--service-time", type=_Time(), metavar="TIME", help="Mean run time of a job.")
@click.option(
    "--scv",
    type=_Variability(),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Variance / mean² of the run times.",
)
@click.option(
    "--arrival-scv",
    type=_Variability(),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Variance / mean² of the gaps between sends.",
)
@click.option("--sla", type=_Time(), metavar="TIME", help="The longest wait that is promised.")
@click.option("--percentile", type=float, metavar="P", help="To so many percent of the jobs. [default: 99]")
@click.option(
    "--sla-on",
    type=click.Choice(["wait", "sojourn"]),
    help="Whether the promise covers the run time too. [default: wait]",
)
@click.option(
    "--threads",
    type=options.COUNT,
    default=8,
    show_default=True,
    metavar="N",
    help="Threads of a worker.",
)
@click.option(
    "--workers", type=options.COUNT, metavar="N", help="Look at so many instead of the fewest that do."
)
@click.option(
    "--start-up",
    "startup",
    type=options.DURATION,
    default="30s",
    show_default=True,
    metavar="TIME",
    help="From ordering a worker until it takes jobs.",
)
@click.option(
    "--burst",
    type=options.FACTOR,
    default=3.0,
    show_default=True,
    metavar="X",
    help="A burst: X times the arrival rate.",
)
@click.option(
    "--burst-for",
    type=options.DURATION,
    metavar="TIME",
    help="How long it lasts. [default: the start-up]",
)
@click.option("--queue", "-q", metavar="QUEUE", help="Take what is not given from its configuration.")
@click.option(
    "--config", "config_file", type=FILE, metavar="FILE", help="Another than the littleq.toml that is found."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--plot", "picture", type=FILE, metavar="FILE", help="Draw the cost curve and the burst.")
def plan(**given: Any) -> None:
    """Plan a pool: limits, workers, waits, what one more or less would do, and what a burst does.

    \b
      littleq plan --arrival-rate 20 --service-time 0.2 --scv 1.5 --sla 1s --percentile 99
      littleq plan --queue realtime --threads 4 --burst 5 --burst-for 2m
      littleq plan --arrival-rate 600/min --service-time 2s --sla 10s --sla-on sojourn --plot plan.png

    Nothing is measured and no server is asked. What the answer assumes stands below it.
    """
    from littleq.cli.planned import as_record, show
    from littleq.cli.terminal import echo_json, make_console
    from littleq.planning import plan as make_plan

    queue = _queue(given["queue"], given["config_file"])
    planned = make_plan(
        _demand(given, queue),
        threads=int(given["threads"]),
        workers=None if given["workers"] is None else int(given["workers"]),
        burst=given["burst"],
        burst_seconds=given["burst_for"],
        startup_seconds=given["startup"],
    )
    if given["picture"] is not None:  # first, so that a wrong name leaves stdout clean
        from littleq.planning.plot import draw

        draw(given["picture"], planned)
    if given["as_json"]:
        echo_json(as_record(planned))
    else:
        show(make_console(), planned, _beyond(planned.workers_needed, queue))


def _queue(name: str | None, config_file: Path | None) -> SLAQueueConfig | None:
    if name is None:
        if config_file is not None:
            raise click.UsageError("--config needs --queue: name the queue whose settings to take.")
        return None
    config = options.load_config(None, config_file)
    if name not in config.queues:
        raise click.UsageError(options.unknown_queue(name, set(config.queues)))
    return config.queues[name]


def _demand(given: dict[str, Any], queue: SLAQueueConfig | None) -> Demand:
    """The command line, then the queue's settings."""
    from littleq.planning import Demand

    wanted = {
        "arrival_rate": given["arrival_rate"],
        "service_time_seconds": given["service_time"],
        "sla_seconds": given["sla"],
        "percentile": given["percentile"],
        "sla_on": given["sla_on"],
    }
    found: dict[str, Any] = {
        name: getattr(queue, name, None) if value is None else value for name, value in wanted.items()
    }
    for name, option in (
        ("arrival_rate", "--arrival-rate"),
        ("service_time_seconds", "--service-time"),
        ("sla_seconds", "--sla"),
    ):
        if found[name] is None:
            where = f"{name} of queue {queue.name!r} is not set" if queue else "no --queue is named"
            raise click.UsageError(f"{option} is missing, and {where}: give it.")
    service, sla = found["service_time_seconds"], found["sla_seconds"]
    _check_units(service, sla)
    return Demand(
        arrival_rate=float(found["arrival_rate"]),
        service_time=float(service),
        sla_seconds=float(sla),
        percentile=99.0 if found["percentile"] is None else found["percentile"],
        service_scv=given["scv"],
        arrival_scv=given["arrival_scv"],
        sojourn=found["sla_on"] == "sojourn",
    )


def _check_units(service: float, sla: float) -> None:
    """Refuse milliseconds that were taken for seconds."""
    if isinstance(service, _Bare) and service >= _LONG_RUN * sla:
        name, value, against = "--service-time", service, f"an SLA of {sla:g} s"
    elif isinstance(sla, _Bare) and sla >= _LONG_SLA * service:
        name, value, against = "--sla", sla, f"a run time of {service:g} s"
    else:
        return
    raise click.UsageError(
        f"{name} {value:g} without a unit is {value:g} s, against {against}: write {value:g}ms or {value:g}s."
    )


def _beyond(workers: int, queue: SLAQueueConfig | None) -> str | None:
    """What to say if the queue's settings do not let the pool be."""
    if queue is None or workers <= queue.max_workers:
        return None
    return f"Queue {queue.name!r} may have {queue.max_workers} workers (max_workers) and needs {workers}."
