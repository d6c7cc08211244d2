"""The panels of the dashboard: what each shows of a queue, and in which unit.

Every query takes one answer of however many exporters there are. `$queue` is the dashboard's variable; Grafana spells
its value as a regular expression, hence `=~`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from littleq.metrics import labels, names
from littleq.monitoring.recording import (
    BUDGET_LEFT,
    ERROR_BUDGET,
    counter,
    misses,
    quantile_name,
    rate_name,
)

Kind = Literal["timeseries", "stat", "bargauge", "table"]
QUEUE: Final = 'queue=~"$queue"'


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel and how its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title, about: what it shows; `about` is what a reader should see in it.
        unit: as Grafana calls it: `short`, `s`, `reqps` (events per second), `percentunit` (1 is 100 %).
        queries: one at least.
        kind: of Grafana's panels.
        decimals: of its numbers; None: as Grafana likes.
        red_below, red_above: values that are wrong; None: none is.
        now: only the value of this moment is asked for.
    """

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    decimals: int | None = None
    red_below: float | None = None
    red_above: float | None = None
    now: bool = False


def _one(metric: names.Metric, legend: str, *matchers: str, by: str = "queue") -> Query:
    """A gauge, from the exporter that shows most."""
    return Query(f"max by ({by}) ({metric.name}{{{','.join((QUEUE, *matchers))}}})", legend)


def _recorded(name: str, legend: str, *matchers: str) -> Query:
    return Query(f"{name}{{{','.join((QUEUE, *matchers))}}}", legend)


def _burn(window: str) -> Query:
    budget = f"{ERROR_BUDGET}{{{QUEUE}}}"
    return Query(f"{misses(window)}{{{QUEUE}}} / on (queue) {budget}", f"over {window}")


_JOBS = tuple(
    _one(names.QUEUE_JOBS, state, f'state="{state}"')
    for state in labels.STATES
    if state in ("ready", "in_flight")
)

#: What the whole fleet looks like: above the rows of the queues.
OVERVIEW: Final = (
    Panel(
        "Sources",
        "1 while at least one exporter reads the ledger, the broker, and can make the page of it.",
        "short",
        (Query(f"max by (source) ({names.UP.name})", "{{source}}"),),
        kind="stat",
        red_below=1,
        now=True,
    ),
    Panel(
        "Error budget left, all queues",
        "Share of the misses that the last 7 days allow and that have not been made; below 0 more were.",
        "percentunit",
        (Query(BUDGET_LEFT, "{{queue}}"),),
        kind="bargauge",
        decimals=1,
        red_below=0,
        now=True,
    ),
    Panel(
        "Alerts that fire",
        "Those of LittleQ's rules; docs/alerts.md says what each means and what to do first.",
        "short",
        (
            Query(
                'sum by (alertname, severity, queue) (ALERTS{alertname=~"LittleQ.+",alertstate="firing"})',
                "{{alertname}}",
            ),
        ),
        kind="table",
        now=True,
    ),
)

#: What one queue looks like, three to a line.
OF_A_QUEUE: Final = (
    Panel(
        "Depth and limit",
        "Jobs that wait or run; a send of full criticality is refused at the limit.",
        "short",
        (_one(names.QUEUE_DEPTH, "depth"), _one(names.QUEUE_LIMIT, "limit"), *_JOBS),
    ),
    Panel(
        "Wait against the SLA",
        "Quantiles over 5 min. For a promise on the sojourn compare the sojourn with the SLA.",
        "s",
        (
            _recorded(quantile_name(names.WAIT, "p50"), "wait p50"),
            _recorded(quantile_name(names.WAIT, "p99"), "wait p99"),
            _recorded(quantile_name(names.SOJOURN, "p99"), "sojourn p99"),
            _one(names.TARGET, "SLA"),
        ),
    ),
    Panel(
        "Offered, admitted, shed",
        "Sends per second over 5 min: what was asked for, and what became of it.",
        "reqps",
        (
            _recorded(rate_name(names.OFFERED), "offered"),
            _recorded(rate_name(names.ADMISSIONS), "{{outcome}}"),
        ),
    ),
    Panel(
        "Workers",
        "Desired by the last decision (a gap: it is stale), live, and the most that it may ask for.",
        "short",
        (
            _one(names.DESIRED_WORKERS, "desired"),
            _one(names.QUEUE_WORKERS, "live"),
            _one(names.MAX_WORKERS, "max_workers"),
        ),
        decimals=0,
    ),
    Panel(
        "L against λW",
        "Both agree while the load is steady. L far above: a backlog that is new, or jobs that never leave.",
        "short",
        (
            _recorded(f"queue:{names.NUMBER_IN_SYSTEM.name}:avg", "L"),
            _recorded(f"queue:{names.NUMBER_IN_SYSTEM_EXPECTED.name}:avg", "λW"),
        ),
    ),
    Panel(
        "Error budget left",
        "Of the last 7 days: 100 % nothing was missed, 0 % all that may be, below 0 more.",
        "percentunit",
        (_recorded(BUDGET_LEFT, "left"),),
        kind="stat",
        decimals=1,
        red_below=0,
    ),
    Panel(
        "Burn rate",
        "Share of attempts that missed the SLA over the share that may: at 1 the budget lasts as long as it must.",
        "short",
        (_burn("5m"), _burn("1h"), _burn("6h")),
        decimals=1,
        red_above=14.4,
    ),
    Panel(
        "Dead letters",
        "Those that are kept now, and those that came within the last hour, by reason.",
        "short",
        (
            _one(names.QUEUE_JOBS, "kept", 'state="dead"'),
            Query(f"increase({counter(names.DEAD_LETTERS)}{{{QUEUE}}}[1h])", "{{reason}}"),
        ),
        decimals=0,
    ),
    Panel(
        "Decision",
        "Its age, and the time until a job misses the SLA with the workers there and starting (a gap: none will).",
        "s",
        (_one(names.DECISION_AGE, "age"), _one(names.TIME_TO_BREACH, "time to breach")),
    ),
    Panel(
        "Oldest job and predicted wait",
        "How long the oldest ready job has waited, how long one that is sent now will, and the promise.",
        "s",
        (
            _one(names.OLDEST_AGE, "oldest"),
            _one(names.PREDICTED_WAIT, "predicted"),
            _one(names.TARGET, "SLA"),
        ),
    ),
    Panel(
        "Utilization",
        "ρ: demand over the threads that are there; above 100 % the backlog grows.",
        "percentunit",
        (_one(names.UTILIZATION, "ρ"),),
        decimals=0,
        red_above=1,
    ),
    Panel(
        "Service time",
        "S: mean of the last minute, and its squared coefficient of variation (0 clockwork, 1 exponential).",
        "s",
        (_one(names.SERVICE_TIME, "S"), _one(names.SERVICE_SCV, "scv (no unit)")),
    ),
)
