"""How `explain` looks: a decision with its numbers in tables, or a line a queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from littleq.cli.show import NOTHING, counted, seconds
from littleq.policies.scaling import INPUTS

if TYPE_CHECKING:
    from littleq.ledger.decisions import Published

#: The numbers between inputs and decision: unit and meaning.
STEPS: Final[Mapping[str, tuple[str, str]]] = {
    "offered_load": ("erlangs", "arrival_rate × service_time: threads that the load keeps busy"),
    "patience_seconds": ("s", "what a job may wait: scale_threshold × the SLA (less service_time for a sojourn SLA)"),
    "backlog_servers": ("threads", "for all that waits, is scheduled and comes to start in time"),
    "lean_servers": ("threads", "to keep the queue, which absorbs the rest, at its share of the promise"),
    "steady_servers": ("threads", "for the promise at arrival_rate and at headroom_rate, by Erlang C"),
    "headroom_servers": ("threads", "headroom_rate × margin × guard × service_time"),
    "wanted_workers": ("workers", "the most of these, in workers of threads_per_worker"),
    "desired_workers": ("workers", "with those that are held, min, max and the largest step"),
}  # fmt: skip

#: What the policy was given: unit and meaning.
SETTINGS: Final[Mapping[str, tuple[str, str]]] = {
    "sla_seconds": ("s", "the promise"),
    "percentile": ("%", "share of jobs that it covers"),
    "sojourn": ("", "it covers the service as well as the wait"),
    "threads_per_worker": ("", "servers of one worker process"),
    "min_workers": ("", "never fewer"),
    "max_workers": ("", "never more"),
    "startup_seconds": ("s", "start-up time until it has been learned"),
    "interval_seconds": ("s", "between two decisions"),
    "service_time": ("s", "S until it has been measured"),
    "jobs_per_worker": ("", "what a worker can hold while S is not known"),
    "scale_threshold": ("", "share of the SLA that a job may plan to wait"),
    "max_step_up": ("", "most that one decision adds"),
    "max_step_down": ("", "most that one decision takes away"),
    "concurrency_global": ("", "most jobs that run at a time"),
    "useful_workers": ("", "most workers that the broker gives jobs to at a time"),
}

#: Inputs that are lists of (seconds, how many): what is counted.
_LISTS: Final = {"backlog": "jobs", "scheduled": "jobs", "starting": "workers", "held": "workers"}


def lines(
    names: Iterable[str], decisions: Mapping[str, Published], undecided: Mapping[str, str], *, cut: bool
) -> Table:
    """A row a queue.

    Args:
        undecided: why there is no decision, for queues without one.
        cut: reasons end where the terminal does.
    """
    shown = Table(box=None, pad_edge=False, header_style="dim", expand=cut)
    shown.add_column("queue", style="bold", overflow="fold")
    for head in ("workers", "desired"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("regime", no_wrap=True)
    shown.add_column("age", justify="right", no_wrap=True)
    shown.add_column("reason", no_wrap=True, overflow="ellipsis", ratio=1 if cut else None)
    for name in names:
        published = decisions.get(name)
        if published is None:
            shown.add_row(Text(name), NOTHING, NOTHING, NOTHING, NOTHING, Text(undecided[name]))
            continue
        decision = published.decision
        shown.add_row(
            Text(name),
            str(decision.inputs["workers"]),
            str(decision.desired_workers),
            Text(decision.regime),
            Text(_age(published), "bold red" if published.is_stale else ""),
            Text(decision.reason),
        )
    return shown


def pages(published: Published) -> Group:
    """One decision in full."""
    decision = published.decision
    title = Text.assemble((published.queue, "bold"), f": {counted(decision.desired_workers, 'worker')}")
    by = f"Decided {seconds(published.age_seconds)} ago by {published.holder}"
    return Group(
        title,
        Text(decision.reason),
        Text(
            f"{by}. STALE." if published.is_stale else f"{by}.", "bold red" if published.is_stale else "dim"
        ),
        _section("Decision", _verdict(published)),
        _section("Inputs", _inputs(decision.inputs)),
        _section("Steps", _explained(decision.steps, STEPS)),
        _section("Settings", _explained(asdict(published.settings), SETTINGS)),
    )


Row = tuple[str, str, str, str]


def _verdict(published: Published) -> list[Row]:
    decision = published.decision
    ahead = decision.time_to_breach
    events = ", ".join(f"{name} {count}" for name, count in published.events.items())
    return [
        ("desired_workers", str(decision.desired_workers), "", "worker processes that the queue shall have"),
        ("required_servers", str(decision.required_servers), "threads", "that the promise needs, before any bound"),
        ("regime", decision.regime, "", "what decided"),
        ("time_to_breach", value(ahead), "" if ahead is None else "s", "none is in sight" if ahead is None
         else "until a job is late with the workers there and starting"),
        ("events", "", "", events or "none yet"),
    ]  # fmt: skip


def _inputs(inputs: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for name, given in inputs.items():
        unit, meaning = INPUTS.get(name, ("", ""))
        if name in _LISTS:
            counts = [count for _, count in given]
            total = max(counts, default=0) if name == "held" else sum(counts)
            parts = ", ".join(f"{value(at)} s: {value(count)}" for at, count in given)
            rows.append((name, value(total), _LISTS[name], f"{meaning}: {parts}" if parts else meaning))
        else:
            rows.append((name, value(given), "" if given is None else unit, meaning))
    return rows


def _explained(numbers: Mapping[str, Any], meanings: Mapping[str, tuple[str, str]]) -> list[Row]:
    rows = []
    for name, number in numbers.items():
        unit, meaning = meanings.get(name, ("", ""))
        rows.append((name, value(number), "" if number is None else unit, meaning))
    return rows


def _section(head: str, rows: Sequence[Row]) -> Group:
    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(justify="right", overflow="fold", max_width=24)
    shown.add_column(no_wrap=True)
    shown.add_column(style="dim", overflow="fold")
    for name, number, unit, meaning in rows:
        shown.add_row(f"  {name}", Text(number), Text(unit), Text(meaning))
    return Group(Text(), Text(head, "bold"), shown)


def value(given: Any) -> str:
    """A number as it was used: no digit is left out, for somebody may want to check.

    >>> value(20.1234), value(7), value(0.1 + 0.2), value(None), value(True), value("peak of 3 min")
    ('20.1234', '7', '0.3', '–', 'yes', 'peak of 3 min')
    """
    if given is None:
        return NOTHING
    if isinstance(given, bool):
        return "yes" if given else "no"
    return f"{given:.10g}" if isinstance(given, float) else str(given)


def _age(published: Published) -> str:
    return f"{seconds(published.age_seconds)}{', stale' if published.is_stale else ''}"
