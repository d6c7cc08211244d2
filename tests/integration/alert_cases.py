"""Time series that fire each alert, and series that come close and must not.

Values are in promtool's notation: `0+5x60` starts at 0 and grows by 5 at each of 60 steps, `7x60` stays, `_x9` is
nine times nothing, `stale` ends a series as a scrape without it does. Time begins at 0, so a decision of this moment
has the timestamp `0+60x60` where a step is 60 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

Series = dict[str, str]
QUEUE: Final = {"queue": "realtime"}


@dataclass(frozen=True)
class Case:
    """One alert.

    Attributes:
        alert: its name.
        fires: raw series, without the exporter that shows them; `Q` stands for the label of the queue.
        at: when the alert must fire.
        value: how its value is told.
        quiet: what it is that must not fire, by what is different: a series that is None is not there.
        labels: of the alert.
        step: between two samples, as Prometheus spells it.
        anywhere: series that are the same however many exporters there are.
        too_soon: when the condition holds already and the alert must not fire yet.
    """

    alert: str
    fires: Series
    at: str
    value: str
    quiet: dict[str, dict[str, str | None]]
    labels: dict[str, str] = field(default_factory=lambda: dict(QUEUE))
    step: str = "1m"
    anywhere: bool = False
    too_soon: str = ""


TIMED, BREACHED, RATIO = "sla_attempts_timed_total{Q}", "sla_breaches_total{Q}", "sla_target_ratio{Q}"
DESIRED, MAX, WORKERS = "sla_desired_workers{Q}", "sla_max_workers{Q}", "sla_queue_workers{Q}"
TIME_TO_BREACH, HEADROOM = "sla_time_to_breach_seconds{Q}", "sla_headroom_seconds{Q}"
OLDEST, TARGET, STARTED = (
    "sla_queue_oldest_age_seconds{Q}",
    "sla_target_seconds{Q}",
    "sla_attempts_started_total{Q}",
)
PAUSED, READY = "sla_queue_paused{Q}", 'sla_queue_jobs{Q,state="ready"}'
DECIDED, REGIME = "sla_decision_timestamp_seconds{Q}", 'sla_decision_regime{Q,regime="blind"}'
BREAKER = "sla_breaker_open{Q}"


def burn(
    window: str, bad: int, good: int, steps: int, clean: int, brief: int, late: int, step: str = "1m"
) -> Case:
    """1000 attempts a step at p99.

    Args:
        bad, good: misses a step that are above and below the limit.
        steps: length of the story.
        clean: steps without a miss that leave the short window clean.
        brief: steps with misses, enough for the short window and no more than a little for the long one.
        late: steps since the two misses of a queue that had eight attempts, all within the short window.
    """
    at = steps * int(step.removesuffix("m"))
    return Case(
        f"LittleQErrorBudgetBurn{window}",
        {TIMED: f"0+1000x{steps}", BREACHED: f"0+{bad}x{steps}", RATIO: f"0.99x{steps}"},
        at=f"{at}m",
        value=f"{bad / 10:g}%",
        quiet={
            "fewer misses": {BREACHED: f"0+{good}x{steps}"},
            "it is over": {BREACHED: f"0+{bad}x{steps - clean} {bad * (steps - clean)}x{clean}"},
            "it has only begun": {BREACHED: f"0x{steps - brief} 0+{bad}x{brief}"},
            "no traffic": {TIMED: f"0x{steps}", BREACHED: f"0x{steps}"},
            "a slow job or two in a quiet queue": {
                TIMED: f"0x{steps - late} 8x{late}",
                BREACHED: f"0x{steps - late} 2x{late}",
            },
            "a promise that allows it": {RATIO: f"0.5x{steps}"},
        },
        step=step,
    )


PROMISE = [
    burn("1h", bad=200, good=130, steps=130, clean=10, brief=7, late=4),
    burn("6h", bad=80, good=50, steps=300, clean=20, brief=22, late=12, step="2m"),
    burn("1d", bad=40, good=28, steps=240, clean=44, brief=58, late=30, step="3m"),
    burn("3d", bad=20, good=9, steps=360, clean=95, brief=100, late=70, step="4m"),
    Case(
        "LittleQBreachPredicted",
        {TIME_TO_BREACH: "120x20", HEADROOM: "5x20"},
        at="10m",
        too_soon="2m",
        value="2m 0s",
        quiet={
            "far ahead": {TIME_TO_BREACH: "301x20"},
            "none in sight": {TIME_TO_BREACH: None},
            "the scaler has helped": {TIME_TO_BREACH: "120x5 stale _x2 120x2 stale _x9"},
        },
    ),
    Case(
        "LittleQQueueNotServed",
        {OLDEST: "0+60x20", TARGET: "10x20", STARTED: "7x20", PAUSED: "0x20"},
        at="15m",
        too_soon="1m",
        value="15m 0s",
        quiet={
            "in time": {TARGET: "3600x20"},
            "served, and late": {STARTED: "7+1x20"},
            "paused": {PAUSED: "1x20"},
            "empty": {OLDEST: "0x20"},
        },
    ),
    Case(
        "LittleQQueuePaused",
        {READY: "3x120", PAUSED: "1x120"},
        at="65m",
        too_soon="59m",
        value="3",
        quiet={
            "not for long": {PAUSED: "0x30 1x90"},
            "empty": {READY: "0x120"},
            "not paused": {PAUSED: "0x120"},
        },
    ),
]
DECISIONS = [
    Case(
        "LittleQDecisionStale",
        {DECIDED: "0+60x10 600x10"},
        at="13m",
        too_soon="12m",
        value="3m 0s",
        quiet={
            "decided": {DECIDED: "0+60x20"},
            "late once": {DECIDED: "0+60x10 600 600 720 780 840"},
            "not scaled": {
                DECIDED: None,
                'sla_decision_timestamp_seconds{queue="realtimes"}': "0x20",
            },
        },
    ),
    Case(
        "LittleQDecisionAbsent",
        {TARGET: "30x20"},
        at="15m",
        too_soon="9m",
        value="30s",
        quiet={
            "decided": {DECIDED: "0+60x20"},
            "decided long ago, which another alert tells": {DECIDED: "0x20"},
            "not scaled": {TARGET: None, 'sla_target_seconds{queue="other"}': "30x20"},
        },
    ),
    Case(
        "LittleQDecisionBlind",
        {REGIME: "1x20"},
        at="12m",
        too_soon="9m",
        value="1",
        quiet={
            "it sees again": {REGIME: "1x8 stale _x11", 'sla_decision_regime{Q,regime="steady"}': "_x9 1x11"},
        },
    ),
    Case(
        "LittleQBreakerOpen",
        {BREAKER: "1x10"},
        at="5m",
        too_soon="0m",
        value="1",
        quiet={"closed": {BREAKER: "0x10"}, "a moment": {BREAKER: "0x4 1 0x5"}},
    ),
    Case(
        "LittleQWorkersAtMax",
        {DESIRED: "10x20", MAX: "10x20", TIME_TO_BREACH: "60x20", RATIO: "0.99x20"}
        | {TIMED: "0+100x20", BREACHED: "0x20"},
        at="10m",
        too_soon="4m",
        value="10",
        quiet={
            "one more may be had": {DESIRED: "9x20"},
            "it is enough": {TIME_TO_BREACH: None},
            "it is enough, but for what may be late": {TIME_TO_BREACH: None, BREACHED: "0+1x20"},
        },
    ),
    Case(
        "LittleQWorkersShort",
        {DESIRED: "5x40", WORKERS: "3x40"},
        at="20m",
        too_soon="14m",
        value="2",
        quiet={
            "they came": {WORKERS: "3x14 5x26"},
            "more than wanted": {WORKERS: "6x40"},
            "stale, so nothing is wanted": {DESIRED: "5x5 stale _x34"},
        },
    ),
]
