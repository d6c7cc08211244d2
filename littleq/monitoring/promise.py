"""Alerts about the promise: its error budget burns, a breach is ahead, or nothing is served at all."""

from __future__ import annotations

from typing import Final

from littleq.metrics import names
from littleq.monitoring.alert import Alert, Severity, largest
from littleq.monitoring.recording import ERROR_BUDGET, counter, misses

#: (severity, long window, short window, factor of the budget's rate, for). A factor of 14.4 spends 2 % of a budget of
#: 30 days in an hour, 6 spends 5 % in 6 h, 3 spends 10 % in a day, 1 spends 10 % in 3 days. The short window ends the
#: alert soon after the misses do. Source: Beyer et al., The Site Reliability Workbook (2018), ch. 5, table 5-8.
BURNS: Final[tuple[tuple[Severity, str, str, str, str], ...]] = (
    ("page", "1h", "5m", "14.4", "2m"),
    ("page", "6h", "30m", "6", "15m"),
    ("ticket", "1d", "2h", "3", "1h"),
    ("ticket", "3d", "6h", "1", "3h"),
)
#: Fewer misses than this in the long window are no trend: one slow job in a quiet hour wakes nobody. Somewhat
#: arbitrary.
LEAST_MISSES: Final = 3
#: A breach that is further ahead than this is the scaler's business alone, in seconds.
AHEAD_SECONDS: Final = 300


def _burns(window: str, factor: str) -> str:
    """Misses beyond the factor, or of half the jobs that must be in time.

    The second is for promises whose budget is so large that no burn reaches the factor: at p90 it is 10 at most.
    """
    missed = misses(window)
    times = f"{factor} * {ERROR_BUDGET}" if factor != "1" else ERROR_BUDGET
    return f"({missed} > on (queue) {times} or {missed} > on (queue) (1 + {ERROR_BUDGET}) / 2)"


def _burn(severity: Severity, long: str, short: str, factor: str, lasting: str) -> Alert:
    # What `increase` tells is extrapolated, hence the half.
    enough = f"increase({counter(names.BREACHES)}[{long}]) >= {LEAST_MISSES - 0.5}"
    limit = "the budget" if factor == "1" else f"{factor} times the budget"
    speed = "faster than" if factor == "1" else f"at least {factor} times as fast as"
    return Alert(
        name=f"LittleQErrorBudgetBurn{long}",
        severity=severity,
        expression=f"{_burns(long, factor)} and on (queue) {_burns(short, factor)} and on (queue) {enough}",
        lasting=lasting,
        condition=f"Over {long} and over {short} the share of attempts that missed the SLA is above {limit}"
        f" (or half of the jobs that must be in time), and {LEAST_MISSES} at least missed it.",
        summary="Queue {{ $labels.queue }} misses its SLA too often.",
        description="{{ $value | humanizePercentage }} of the attempts of the last "
        f"{long} missed the SLA of queue {{{{ $labels.queue }}}}, and it goes on: the error budget burns"
        f" {speed} it may.",
        runbook="`littleq explain --queue {{ $labels.queue }}` tells what bounds the workers, `littleq monitor`"
        " whether jobs came faster or run longer: raise max_workers, shed more, or speed the jobs up.",
    )


def _predicted() -> Alert:
    soon = f"{largest(names.TIME_TO_BREACH)} < {AHEAD_SECONDS}"
    behind = f"{largest(names.HEADROOM)} < 0"
    return Alert(
        name="LittleQBreachPredicted",
        severity="ticket",
        expression=f"{soon} or {behind}",
        lasting="3m",
        condition=f"With the workers there and starting a job misses the SLA within {AHEAD_SECONDS} s, or a "
        "job sent now "
        "would.",
        summary="Queue {{ $labels.queue }} will miss its SLA.",
        description="Time left for queue {{ $labels.queue }}: {{ $value | humanizeDuration }} (below 0: by "
        "so much a job sent now comes late). Scaling has not helped for 3 min.",
        runbook="`littleq explain --queue {{ $labels.queue }}`: if more workers are wanted than are there, "
        "see why they do not start; if not, its reason says what holds them back.",
    )


def _not_served() -> Alert:
    late = f"{largest(names.OLDEST_AGE)} > on (queue) {largest(names.TARGET)}"
    idle = f"rate({counter(names.STARTED)}[5m]) == 0"
    paused = f"{largest(names.PAUSED)} == 1"
    return Alert(
        name="LittleQQueueNotServed",
        severity="page",
        expression=f"{late} and on (queue) {idle} unless on (queue) {paused}",
        lasting="1m",
        condition="The oldest job has waited for longer than the SLA, no attempt has started for 5 min, and "
        "the queue is not paused.",
        summary="Nobody serves queue {{ $labels.queue }}.",
        description="The oldest job of queue {{ $labels.queue }} has waited for {{ $value | humanizeDuration "
        "}} and none has started for 5 min. No miss is counted before one starts, so the error budget does "
        "not show it.",
        runbook="`littleq monitor` shows the workers of {{ $labels.queue }}; none: start them (`littleq "
        "explain` tells how many); some: their logs, or jobs that run for ever.",
    )


def _paused() -> Alert:
    waiting = largest(names.QUEUE_JOBS, 'state="ready"')
    return Alert(
        name="LittleQQueuePaused",
        severity="ticket",
        expression=f"{waiting} > 0 and on (queue) {largest(names.PAUSED)} == 1",
        lasting="1h",
        condition="The queue is paused and jobs wait in it.",
        summary="Queue {{ $labels.queue }} has been paused for an hour.",
        description="{{ $value }} jobs wait in queue {{ $labels.queue }}, which has been paused for an hour: "
        "forgotten?",
        runbook="`littleq queue list`, and `littleq queue resume {{ $labels.queue }}` once what it was "
        "paused for is over.",
    )


def promise_alerts() -> list[Alert]:
    """In the order of `docs/alerts.md`."""
    return [*(_burn(*burn) for burn in BURNS), _predicted(), _not_served(), _paused()]
