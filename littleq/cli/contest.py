"""What `littleq simulate` does with its options: the jobs, the policies, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from littleq.cli.show import NOTHING, counted, number, percent, seconds
from littleq.cli.simulate import ORACLE_JOBS
from littleq.cli.terminal import echo_json, make_console
from littleq.policies.scaling import ScalingSettings
from littleq.simulation.admission import AdmissionRule
from littleq.simulation.engine import Run, simulate
from littleq.simulation.oracle import Oracle, find_oracle
from littleq.simulation.outcome import Outcome, outcome
from littleq.simulation.policies import contestant
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.traces import ensure_writable, read_trace, write_trace
from littleq.simulation.workload import Workload, from_shape, from_trace

if TYPE_CHECKING:
    from rich.console import Console

    from littleq.simulation.arrivals import Trace

Options = Mapping[str, Any]

DEFAULT_SECONDS = 1800.0
#: Options that say when jobs arrive.
SOURCES = ("trace_file", "arrivals", "prometheus")
#: Width of a bin that is written, in seconds, unless --step says otherwise.
LEDGER_STEP, PROMETHEUS_STEP = 5.0, 15.0


@dataclass(frozen=True)
class Contest:
    """Policies on the same jobs."""

    workload: Workload
    settings: ScalingSettings
    oracle: Oracle | None
    runs: Sequence[Run]
    outcomes: Sequence[Outcome]

    def ratio(self, result: Outcome) -> float | None:
        """What a policy cost, over what the oracle did."""
        if self.oracle is None or not self.oracle.feasible or not self.oracle.worker_seconds:
            return None
        return result.worker_seconds / self.oracle.worker_seconds


def hold(given: Options) -> None:
    """Simulate, and show what came of it."""
    settings = _settings(given)
    rule = _admission(given)
    workload = _workload(given)
    if not workload.arrivals:
        raise click.UsageError("Not one job arrives in this run: give a higher rate or a longer --duration.")
    names = [name for name in given["policies"].split(",") if name.strip()]
    if not names:
        raise click.UsageError("--policy is empty: name one at least, such as littleq.")
    # All names are read before the first run: a mistake in the last one must not show after a minute.
    players = [
        contestant(name, workload, settings, initial_workers=given["initial_workers"]) for name in names
    ]
    runs = [
        simulate(workload, player.policy, settings, initial_workers=player.initial_workers, admission=rule)
        for player in players
    ]
    wanted = given["oracle"] if given["oracle"] is not None else len(workload.arrivals) <= ORACLE_JOBS
    oracle = find_oracle(workload, settings, interval=settings.interval_seconds) if wanted else None
    contest = Contest(workload, settings, oracle, runs, [outcome(run, settings) for run in runs])
    if given["picture"] is not None:
        from littleq.simulation.plot import draw

        draw(given["picture"], workload, runs, settings)
    if given["as_json"]:
        echo_json(report(contest))
    else:
        show(contest, make_console())


def record(given: Options) -> None:
    """Write what a live queue is sent as a trace."""
    from littleq.cli.options import session, shared_ledger
    from littleq.simulation.recording import record_ledger

    queue = _queue(given)
    if any(given[name] is not None for name in (*SOURCES, "picture", "save_trace")):
        raise click.UsageError("--record only records: play what it wrote with --trace, in a second command.")
    ensure_writable(given["record"])
    opened = session(given["url"], given["config_file"])
    shared_ledger(opened.config)
    step = given["step"] or LEDGER_STEP
    trace = record_ledger(opened.ledger, queue, duration=given["duration"] or DEFAULT_SECONDS, step=step)
    write_trace(given["record"], trace, source=f"littleq simulate --record, queue {queue}")
    click.echo(
        f"{counted(trace.total, 'arrival')} in {seconds(trace.seconds())}, in {given['record']}.", err=True
    )


def _settings(given: Options) -> ScalingSettings:
    percentile = given["percentile"]
    if not 1 <= percentile < 100:
        raise click.UsageError(
            f"--percentile is {percentile:g}: give a share of the jobs from 1 to below 100."
        )
    if given["min_workers"] > given["max_workers"]:
        raise click.UsageError(
            f"--min-workers {given['min_workers']} is above --max-workers {given['max_workers']}: "
            "lower one or raise the other."
        )
    initial = given["initial_workers"]
    if initial is not None and not given["min_workers"] <= initial <= given["max_workers"]:
        raise click.UsageError(
            f"--initial-workers is {initial}: give a number from --min-workers {given['min_workers']} to "
            f"--max-workers {given['max_workers']}, or auto."
        )
    return ScalingSettings(
        sla_seconds=given["sla"],
        percentile=percentile,
        sojourn=given["sla_on"] == "sojourn",
        threads_per_worker=given["threads"],
        min_workers=given["min_workers"],
        max_workers=given["max_workers"],
        startup_seconds=given["start_up"],
        interval_seconds=given["interval"],
    )


def _admission(given: Options) -> AdmissionRule:
    if given["admission"] == "contract" and given["arrival_rate"] is None:
        raise click.UsageError("--admission contract needs the rate that was declared: give --arrival-rate.")
    if given["admission"] != "contract" and given["arrival_rate"] is not None:
        raise click.UsageError("--arrival-rate is what --admission contract declares: give both or neither.")
    return AdmissionRule(given["admission"], given["arrival_rate"] or 0.0)


def _workload(given: Options) -> Workload:
    if sum(given[name] is not None for name in SOURCES) != 1:
        raise click.UsageError(
            "Say when jobs arrive, once: --trace FILE, --arrivals SHAPE or --from-prometheus URL."
        )
    if given["queue"] is not None and given["prometheus"] is None:
        raise click.UsageError(
            "--queue says whose history to take: give --record or --from-prometheus with it."
        )
    service = parse_service(given["service"])
    trace = None
    if given["arrivals"] is not None:
        if given["speed_up"] is not None:
            raise click.UsageError("--speed-up is for a trace: give --trace FILE, or a higher rate.")
        length = given["duration"] or DEFAULT_SECONDS
        shape = parse_shape(given["arrivals"], length)
        workload = from_shape(shape, service, seconds=length, seed=given["seed"])
    else:
        if given["trace_file"] is not None and given["duration"] is not None:
            raise click.UsageError("--duration is for --arrivals: a trace is as long as it is.")
        trace = read_trace(given["trace_file"]) if given["trace_file"] is not None else _history(given)
        workload = from_trace(trace, service, seed=given["seed"], speed_up=given["speed_up"])
    if given["save_trace"] is not None:
        told = given["arrivals"] or given["trace_file"] or f"Prometheus, queue {given['queue']}"
        written = trace or workload.binned(given["step"] or 1.0)
        write_trace(given["save_trace"], written, source=f"littleq simulate, {told}")
    return workload


def _history(given: Options) -> Trace:
    from littleq.simulation.recording import from_prometheus

    step = given["step"] or PROMETHEUS_STEP
    length = given["duration"] or DEFAULT_SECONDS
    url: str = given["prometheus"]
    return from_prometheus(url, _queue(given), duration=length, step=step)


def _queue(given: Options) -> str:
    if not given["queue"]:
        raise click.UsageError("Whose history? Name the queue with --queue.")
    return str(given["queue"])


def report(contest: Contest) -> dict[str, Any]:
    """The contest for scripts: seconds, shares between 0 and 1."""
    workload, settings, oracle = contest.workload, contest.settings, contest.oracle
    return {
        "jobs": len(workload.arrivals),
        "seconds": workload.seconds,
        "arrival_rate": len(workload.arrivals) / workload.seconds,
        "service_time": workload.service_time,
        "service_scv": workload.service_scv,
        "offered_load": workload.work / workload.seconds,
        "sla_seconds": settings.sla_seconds,
        "sla_on": "sojourn" if settings.sojourn else "wait",
        "percentile": settings.percentile,
        "startup_seconds": settings.startup_seconds,
        "threads_per_worker": settings.threads_per_worker,
        "oracle": oracle
        and {
            "feasible": oracle.feasible,
            "worker_seconds": oracle.worker_seconds if oracle.feasible else None,
            "floor_seconds": oracle.floor_seconds,
            "missed": oracle.missed,
        },
        "policies": [{**each.as_dict(), "ratio_to_oracle": contest.ratio(each)} for each in contest.outcomes],
    }


def show(contest: Contest, console: Console) -> None:
    """The contest as a table."""
    from rich.table import Table
    from rich.text import Text

    workload, settings, oracle = contest.workload, contest.settings, contest.oracle
    console.print(
        f"{counted(len(workload.arrivals), 'job')} in {seconds(workload.seconds)}: "
        f"λ {number(len(workload.arrivals) / workload.seconds)}/s, S {seconds(workload.service_time)}, "
        f"a {number(workload.work / workload.seconds)} erlangs",
        soft_wrap=True,
    )
    what = "done" if settings.sojourn else "started"
    console.print(
        f"promise: {settings.percentile:g} % {what} within {seconds(settings.sla_seconds)}; "
        f"a worker starts in {seconds(settings.startup_seconds)}",
        soft_wrap=True,
    )
    sheds = any(each.shed for each in contest.outcomes)
    heads = ["in SLA", "", "mean", "peak", "worker-h", *(["× oracle"] if oracle else []), "wait p50", "p99"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("policy", style="bold")
    for head in [*heads, *(["shed"] if sheds else [])]:
        table.add_column(head, justify="left" if not head else "right")
    for each in contest.outcomes:
        ratio = contest.ratio(each)
        cells: list[str | Text] = [
            percent(each.share_in_sla) if each.share_in_sla < 0.9995 or not each.missed else "99.9+ %",
            Text("met", "green") if each.met else Text("missed", "red"),
            number(each.mean_workers),
            number(each.peak_workers),
            number(each.worker_seconds / 3600),
            *([f"{ratio:.2f}" if ratio is not None else NOTHING] if oracle else []),
            seconds(each.wait_p50),
            seconds(each.wait_p99),
            *([number(each.shed)] if sheds else []),
        ]
        table.add_row(each.policy, *cells)
    console.print(table)
    console.print(Text(_remark(oracle, len(workload.arrivals) > ORACLE_JOBS), "dim"), soft_wrap=True)


def _remark(oracle: Oracle | None, is_large: bool) -> str:
    cost = "A worker costs from when it is asked for until its last job is done."
    if oracle is None:
        return (
            f"{cost} No oracle beyond {ORACLE_JOBS:,} jobs, unless --oracle asks for it."
            if is_large
            else cost
        )
    if not oracle.feasible:
        return f"{cost} Even one who knows the future cannot keep this promise within --max-workers."
    best, floor = number(oracle.worker_seconds / 3600), number(oracle.floor_seconds / 3600)
    return f"{cost} Oracle, who knows the future: {best} worker-hours; no scaler below {floor}."
