"""`littleq simulate`: what a policy would have done, on the same jobs as the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from littleq.cli import options

ALL = "littleq,hpa-cpu,keda-list:5,aws-backlog,horizon,static"
#: The oracle searches; beyond so many jobs it takes longer than all the policies together.
ORACLE_JOBS = 200_000


class StartUp(options.Duration):
    """A duration, or 0: at once."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, str) and value.strip() in ("0", "0s"):
            return 0.0
        return super().convert(value, param, ctx)


def _initial(_: click.Context, param: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    return int(options.Above(0, whole=True).convert(value, param, None))


FILE = click.Path(path_type=Path, dir_okay=False)
ATLEAST_0 = options.Above(0, whole=True)


@click.command()
@click.option(
    "--trace",
    "trace_file",
    type=FILE,
    metavar="FILE",
    help="Recorded arrivals: a CSV of bins.",
)
@click.option("--speed-up", type=options.FACTOR, metavar="X", help="Play the trace X times faster.")
@click.option(
    "--arrivals",
    metavar="SHAPE",
    help="Instead of a trace, such as poisson:20; see above.",
)
@click.option(
    "--duration",
    type=options.DURATION,
    metavar="TIME",
    help="Length of what is made up, recorded or looked up. [default: 30m]",
)
@click.option(
    "--service",
    default="exp:0.2",
    show_default=True,
    metavar="DIST",
    help="How long jobs take; see above.",
)
@click.option(
    "--policy",
    "policies",
    default=ALL,
    metavar="NAME,…",
    help="Who decides; see above. [default: all]",
)
@click.option(
    "--sla",
    type=options.DURATION,
    default="1s",
    show_default=True,
    metavar="TIME",
    help="The longest wait that is promised.",
)
@click.option(
    "--percentile",
    type=float,
    default=99.0,
    show_default=True,
    metavar="P",
    help="To so many percent of the jobs.",
)
@click.option(
    "--sla-on",
    type=click.Choice(["wait", "sojourn"]),
    default="wait",
    show_default=True,
    help="Whether the promise is on the wait, or covers the service too.",
)
@click.option(
    "--start-up",
    type=StartUp(),
    default="30s",
    show_default=True,
    metavar="TIME",
    help="From asking for a worker until it takes jobs.",
)
@click.option(
    "--interval",
    type=options.DURATION,
    default="5s",
    show_default=True,
    metavar="TIME",
    help="Between two decisions of littleq, or of the oracle.",
)
@click.option(
    "--threads",
    type=options.COUNT,
    default=1,
    show_default=True,
    metavar="N",
    help="Threads of a worker.",
)
@click.option(
    "--min-workers",
    type=ATLEAST_0,
    default=0,
    show_default=True,
    metavar="N",
    help="Never fewer.",
)
@click.option(
    "--max-workers",
    type=options.COUNT,
    default=1000,
    show_default=True,
    metavar="N",
    help="Never more.",
)
@click.option(
    "--initial-workers",
    default="auto",
    show_default=True,
    callback=_initial,
    metavar="N|auto",
    help="Ready when it begins; auto: enough for the first minute.",
)
@click.option(
    "--admission",
    type=click.Choice(["off", "contract", "capacity"]),
    default="off",
    show_default=True,
    help="Who is let in; shed jobs count as missed.",
)
@click.option(
    "--arrival-rate",
    type=options.RATE,
    metavar="RATE",
    help="The rate that --admission contract declares.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Another one gives other jobs.",
)
@click.option(
    "--oracle/--no-oracle",
    default=None,
    help=f"What knowing the future would cost. [default: up to {ORACLE_JOBS:,} jobs]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--plot",
    "picture",
    type=FILE,
    metavar="FILE",
    help="Draw arrivals, depth, waits and workers.",
)
@click.option("--save-trace", type=FILE, metavar="FILE", help="Write the arrivals as a trace.")
@click.option(
    "--record",
    type=FILE,
    metavar="FILE",
    help="Instead: write what --queue is sent during --duration as a trace.",
)
@click.option(
    "--from-prometheus",
    "prometheus",
    metavar="URL",
    help="The arrivals of --queue in the last --duration.",
)
@click.option("--queue", "-q", metavar="QUEUE", help="The queue to record or to look up.")
@click.option(
    "--step",
    type=options.DURATION,
    metavar="TIME",
    help="Width of a bin. [default: 5s; 15s from Prometheus; 1s of a shape]",
)
@options.connection_options
def simulate(**given: Any) -> None:
    """Play jobs to scaling policies in virtual time, and compare what each promise costs.

    \b
    --arrivals   poisson:20           independent users, 20 a second
                 steady:20            one every 50 ms
                 ramp:5..50           from 5 to 50 a second over the run
                 step:5,50@10m        5 a second, 50 from minute 10 on; more steps may follow
                 onoff:50,2m,3m       2 minutes at 50, 3 minutes at none; a fourth number: at so many
                 flash:5,100@10m,1m   at minute 10 from 5 to 100 at once, then half as many every minute
                 diurnal:5..50,1h     a wave between 5 and 50, an hour long
    --service    exp:0.2  constant:200ms  lognormal:0.2,cv=2  gamma:0.2,cv=0.5  uniform:0.1..0.3
    --policy     littleq  hpa-cpu:70  keda-list:5  aws-backlog  horizon  static:12

    \b
      littleq simulate --trace examples/traces/llm_conv.csv --service exp:2 --sla 10s
      littleq simulate --arrivals flash:5,50@10m,1m --policy littleq,hpa-cpu --plot flash.png
      littleq simulate --record today.csv --queue realtime --duration 8h

    A worker costs from the moment when it is asked for until its last job is done. The oracle is a plan made by one
    who knows every job beforehand and changes the pool every 5 s.
    """
    from littleq.cli import contest

    if given["record"] is not None:
        contest.record(given)
    else:
        contest.hold(given)
