"""`littleq producer`: load for a queue, open loop, as the world makes it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options
from littleq.cli.jobs import find_jobs
from littleq.cli.tally import Tally, outcome_of
from littleq.cli.terminal import echo_json, make_console, progress_bar, quiet_logs
from littleq.simulation.arrivals import Arrivals, Trace, generated
from littleq.simulation.traces import read_trace

if TYPE_CHECKING:
    from littleq.cli.jobs import Job

DEFAULT_COUNT = 100
DEFAULT_INTERVAL = 0.05
DEFAULT_BURST = 10


@click.command()
@click.option("--queue", "-q", metavar="QUEUE", help="Send to the actors of this queue, in rotation.")
@click.option("--actor", metavar="NAME", help="Send to this actor only.")
@click.option("--count", type=options.COUNT, metavar="N", help="Sends. [default: 100, or the whole trace]")
@click.option(
    "--interval", type=options.DURATION, metavar="TIME", help="Mean time between sends. [default: 50ms]"
)
@click.option("--rate", type=options.RATE, metavar="RATE", help="Instead of --interval: 20/s, 600/min.")
@click.option("--poisson", is_flag=True, help="Exponential gaps: independent users.")
@click.option(
    "--burst",
    is_flag=False,
    flag_value=0,
    type=options.Above(0, whole=True),
    metavar="[SIZE]",
    help=f"SIZE sends at once, at the same mean rate [default: {DEFAULT_BURST}]; with no rate, all at once.",
)
@click.option(
    "--trace", "trace_file", type=click.Path(path_type=Path), metavar="FILE", help="Replay recorded arrivals."
)
@click.option("--speed-up", type=options.FACTOR, metavar="X", help="Play the trace X times faster.")
@click.option("--args", "args_json", metavar="JSON", help="Arguments: '[1, \"a\"]' or '{\"name\": 1}'.")
@click.option(
    "--module", "modules", multiple=True, default=("actors",), show_default=True, help="Where the actors are."
)
@click.option("--seed", type=int, help="Repeat the same random arrivals.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object.")
@options.connection_options
@click.pass_context
def producer(ctx: click.Context, /, **given: Any) -> None:
    """Send jobs at a chosen rate, and tell what became of them.

    Open loop, as users are: a send happens when it is due, however slow the earlier ones were. Without
    --args, an actor whose first parameter takes a number gets the running number.

    \b
      littleq producer --queue realtime --count 100 --interval 50ms --burst
      littleq producer --queue realtime --rate 20/s --poisson --count 1000
      littleq producer --queue realtime --trace elb_requests.csv --speed-up 600

    Exit code: 0 all sends were answered (a refusal is an answer), 1 some failed, 2 the server does not answer at the
    start, 130 Ctrl-C.
    """
    plan = make_plan(**{name: given[name] for name in PLAN_OPTIONS})
    queue, jobs = find_jobs(**{name: given[name] for name in JOB_OPTIONS})
    first = next(jobs)
    options.ask_server(first[0].broker)
    jobs = itertools.chain((first,), jobs)
    tally = Tally(queue, asked_rate=plan.rate, gap=plan.gap)
    quiet_logs()  # the summary says what failed; warnings would run across the progress bar
    interrupted = False
    try:
        with progress_bar(queue, plan.total) as advance:
            run(plan, jobs, tally, advance=lambda: advance(tally.brief()))
    except KeyboardInterrupt:
        interrupted = True
    echo_json(tally.record()) if given["as_json"] else tally.print(make_console())
    if interrupted:
        raise KeyboardInterrupt
    ctx.exit(1 if tally.outcomes["failed"] else 0)


@dataclass(frozen=True)
class Plan:
    """When to send.

    Attributes:
        arrivals: seconds from the start; `total` of them.
        rate: how many there are per second, on average; None: all come at once.
        gap: mean time between two moments of arrival, in seconds; 0: not known.
    """

    arrivals: Arrivals
    total: int
    rate: float | None
    gap: float = 0.0


JOB_OPTIONS = ("queue", "actor", "modules", "args_json", "url", "config_file")
PLAN_OPTIONS = ("count", "interval", "rate", "poisson", "burst", "trace_file", "speed_up", "seed")


def make_plan(
    *,
    count: int | None,
    interval: float | None,
    rate: float | None,
    poisson: bool,
    burst: int | None,
    trace_file: Path | None,
    speed_up: float | None,
    seed: int | None,
) -> Plan:
    """The plan that the options ask for.

    Raises:
        click.UsageError: options that contradict each other.
        TraceError: the trace cannot be used.
    """
    rng = random.Random(seed)
    if trace_file is not None:
        if interval or rate or poisson or burst is not None:
            raise click.UsageError(
                "--trace has its own rate: leave out --interval, --rate, --poisson and --burst."
            )
        return _replayed(read_trace(trace_file), count, speed_up, rng)
    if speed_up is not None:
        raise click.UsageError("--speed-up is for a trace: give --trace FILE, or a higher --rate.")
    if interval and rate:
        raise click.UsageError("--interval and --rate say the same thing: give one of them.")
    total = count or DEFAULT_COUNT
    if burst == 0 and not (interval or rate or poisson):
        return Plan(itertools.repeat(0.0, total), total, None)
    mean = rate or 1 / (interval or DEFAULT_INTERVAL)
    size = 1 if burst is None else burst or DEFAULT_BURST
    arrivals = generated(rate=mean, burst=size, is_poisson=poisson, rng=rng)
    return Plan(itertools.islice(arrivals, total), total, mean, size / mean)


def _replayed(trace: Trace, count: int | None, speed_up: float | None, rng: random.Random) -> Plan:
    total = min(count or trace.total, trace.total)
    arrivals = itertools.islice(trace.arrivals(rng, speed_up), total)
    return Plan(arrivals, total, trace.total / trace.seconds(speed_up))


def run(
    plan: Plan,
    jobs: Iterator[Job],
    tally: Tally,
    *,
    advance: Callable[[], None] = lambda: None,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Send each job when it is due. One that is late is sent at once; no error ends the run."""
    start = monotonic()
    for due in plan.arrivals:
        sleep(max(0.0, start + due - monotonic()))
        tally.late(max(0.0, monotonic() - start - due))
        tally.elapsed = monotonic() - start
        send(next(jobs), tally)
        advance()


def send(job: Job, tally: Tally) -> None:
    """Send one job and note what became of it."""
    from littleq.cli.root import without_secrets
    from littleq.middleware import Overloaded

    actor, args, kwargs = job
    try:
        message = actor.send(*args, **kwargs)
    except Overloaded as refusal:
        tally.shed(refusal.retry_after)
    except Exception as error:
        tally.failed(type(error).__name__, without_secrets(str(error)).replace("\n", " "))
    else:
        tally.entered(outcome_of(message, actor.queue_name), message.queue_name)
