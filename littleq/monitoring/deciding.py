"""Alerts about decisions, and about workers that do not follow them."""

from __future__ import annotations

import re
from typing import Final

from littleq.config import Config
from littleq.ledger.decisions import stale_after
from littleq.metrics import names
from littleq.monitoring.alert import Alert, largest
from littleq.monitoring.promise import AHEAD_SECONDS
from littleq.monitoring.queries import quoted
from littleq.monitoring.recording import ERROR_BUDGET, misses

#: So many times the age at which a decision is stale: a controller that moves to another node is none of ours.
STALE_TIMES: Final = 3
STALE_LEAST_SECONDS: Final = 60.0
#: Workers that do not come within so many start-ups are stuck.
STARTUPS: Final = 3
STARTUPS_LEAST_SECONDS: Final = 900


def scaled_queues(config: Config) -> list[str]:
    """The queues that are decided about."""
    return sorted(
        name for name, queue in config.queues.items() if queue.autoscale and name != config.control_queue
    )


def guard_seconds(config: Config) -> float:
    """The age from which a decision is too old for a query to show, and for an alert to keep quiet.

    >>> guard_seconds(Config()), guard_seconds(Config(decide_seconds=15.0))
    (60.0, 135.0)
    """
    return max(STALE_LEAST_SECONDS, STALE_TIMES * stale_after(config.decide_seconds))


def _stale(config: Config, ours: str) -> Alert:
    limit = f"{guard_seconds(config):g}"
    return Alert(
        name="LittleQDecisionStale",
        severity="page",
        expression=f"time() - {largest(names.DECISION_TIMESTAMP, ours)} > {limit}",
        lasting="1m",
        condition="A queue that is scaled was last decided about longer ago than three times the age at "
        "which a decision "
        f"is stale (60 s at least; here {limit} s).",
        summary="Nobody decides about queue {{ $labels.queue }}.",
        description="The last decision about queue {{ $labels.queue }} is {{ $value | humanizeDuration }} "
        "old. Its workers stay as they are, whatever comes.",
        runbook="`littleq explain --queue {{ $labels.queue }}` tells who decided last and when; start "
        "`littleq controller` or read its log.",
    )


def _absent(ours: str) -> Alert:
    return Alert(
        name="LittleQDecisionAbsent",
        severity="ticket",
        expression=f"{largest(names.TARGET, ours)} unless on (queue) {largest(names.DECISION_TIMESTAMP)}",
        lasting="10m",
        condition="A queue that is to be scaled is known, and no decision about it is.",
        summary="Queue {{ $labels.queue }} has never been decided about.",
        description="Queue {{ $labels.queue }} (SLA {{ $value | humanizeDuration }}) is to be scaled, but "
        "there is no decision about it, or none of the last day.",
        runbook="Start `littleq controller`, with a littleq.toml that names {{ $labels.queue }}; `littleq "
        "controller --once` says what it decides.",
    )


def _blind() -> Alert:
    blind = largest(names.DECISION_REGIME, 'regime="blind"')
    return Alert(
        name="LittleQDecisionBlind",
        severity="ticket",
        expression=f"{blind} == 1",
        lasting="10m",
        condition="Decisions are made without numbers (regime `blind`).",
        summary="Queue {{ $labels.queue }} is decided about blindly.",
        description="For 10 min the controller has not seen what it needs to decide about queue {{ "
        "$labels.queue }}: it keeps the workers that were there before.",
        runbook="`littleq explain --queue {{ $labels.queue }}` names what is missing; see whether the "
        "controller reaches the broker.",
    )


def _breaker() -> Alert:
    return Alert(
        name="LittleQBreakerOpen",
        severity="ticket",
        expression=f"{largest(names.BREAKER_OPEN)} == 1",
        lasting="1m",
        condition="The last decision found the queue's breaker open.",
        summary="The breaker of queue {{ $labels.queue }} is open.",
        description="What the jobs of queue {{ $labels.queue }} depend on fails: the queue is not consumed, "
        "its jobs wait, and no workers are added.",
        runbook="Look at the service that the actors of {{ $labels.queue }} call; `littleq monitor` shows "
        "the backlog, which is served when the breaker closes.",
    )


def _at_max() -> Alert:
    full = f"{largest(names.DESIRED_WORKERS)} >= on (queue) {largest(names.MAX_WORKERS)}"
    soon = f"{largest(names.TIME_TO_BREACH)} < {AHEAD_SECONDS}"
    return Alert(
        name="LittleQWorkersAtMax",
        severity="page",
        expression=f"{full} and on (queue) ({soon} or {misses('5m')} > on (queue) {ERROR_BUDGET})",
        lasting="5m",
        condition="max_workers are wanted, and the SLA is missed (more than may be, over 5 min) or will be "
        f"within {AHEAD_SECONDS} s.",
        summary="Queue {{ $labels.queue }} is at max_workers and misses its SLA.",
        description="{{ $value }} workers are wanted for queue {{ $labels.queue }}, all that max_workers "
        "allows, and they are not enough for its SLA.",
        runbook="`littleq explain --queue {{ $labels.queue }}` shows the threads that the promise needs: "
        "raise max_workers (and what the cluster can hold), or shed more.",
    )


def _short(config: Config) -> Alert:
    startups = [STARTUPS * config.queues[queue].startup_seconds for queue in scaled_queues(config)]
    lasting = max([STARTUPS_LEAST_SECONDS, *startups])
    return Alert(
        name="LittleQWorkersShort",
        severity="ticket",
        expression=f"{largest(names.DESIRED_WORKERS)} - on (queue) {largest(names.QUEUE_WORKERS)} > 0",
        lasting=f"{round(lasting)}s",
        condition=f"Fewer workers live than are wanted, for {STARTUPS} start-ups (15 min at least).",
        summary="Queue {{ $labels.queue }} has fewer workers than decided.",
        description="{{ $value }} workers of queue {{ $labels.queue }} are wanted and do not come.",
        runbook="Kubernetes: `kubectl describe scaledobject,hpa,pods` (quota, image, unschedulable); "
        "elsewhere the log of `littleq up`. `littleq explain --queue {{ $labels.queue }}` shows both "
        "numbers.",
    )


def deciding_alerts(config: Config) -> list[Alert]:
    """In the order of `docs/alerts.md`; those about missing decisions only where there is a queue to decide "
    "about."""
    queues = scaled_queues(config)
    ours = f"queue=~{quoted('|'.join(map(re.escape, queues)))}"
    about_ours = [_stale(config, ours), _absent(ours)] if queues else []
    return [*about_ours, _blind(), _breaker(), _at_max(), _short(config)]
