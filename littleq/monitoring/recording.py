"""Recording rules: the fleet's counters without the exporter that showed them, and what follows from them.

All exporters show the same counters, those of the ledger, so the largest of their answers *is* the counter. It is
recorded first, and rates are taken of that. The usual order, rates of each series first, would lose what came before
whenever an exporter is replaced, and a window of days sees many deploys. One fleet for one Prometheus: the recorded
names know no other label than the queue.

Where nothing was measured there is no sample rather than NaN, so no comparison with it is ever true.
"""

from __future__ import annotations

from typing import Any, Final

from littleq.metrics import names

Rule = dict[str, Any]

#: Windows in which misses are counted: those of the burn rates, and a short one for pictures.
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
#: The error budget is counted over so long. The 30 days of the textbooks need more than the 15 that Prometheus keeps
#: by itself; a week holds a whole cycle of most traffic.
BUDGET_WINDOW: Final = "7d"
#: Windows of days are averaged again only so often; less than the 5 min after which a sample is forgotten.
SLOW_SECONDS: Final = 60
QUICK_SECONDS: Final = 15
_SLOW = ("1d", "3d", BUDGET_WINDOW)

#: A counter by the labels that are kept, and those that are summed away.
_COUNTERS: Final = (
    (names.OFFERED, "queue", "criticality"),
    (names.ADMISSIONS, "queue, outcome", "criticality"),
    (names.STARTED, "queue", ""),
    (names.TIMED, "queue", ""),
    (names.BREACHES, "queue", ""),
    (names.DEAD_LETTERS, "queue, reason", ""),
    (names.INTERNAL_ERRORS, "queue, place", ""),
)
_QUANTILES: Final = (("p50", "0.5"), ("p99", "0.99"))

ERROR_BUDGET: Final = "queue:sla_error_budget:ratio"
BUDGET_LEFT: Final = f"queue:sla_error_budget_left:ratio{BUDGET_WINDOW}"


def counter(metric: names.Metric) -> str:
    """The recorded name of a counter.

    >>> counter(names.DEAD_LETTERS)
    'queue_reason:sla_dead_letters_total:max'
    """
    kept = next(by for each, by, _ in _COUNTERS if each is metric)
    return f"{kept.replace(', ', '_')}:{metric.name}:max"


def buckets(metric: names.Metric) -> str:
    """The recorded name of a histogram's buckets.

    >>> buckets(names.WAIT)
    'queue_le:sla_wait_seconds_bucket:max'
    """
    return f"queue_le:{metric.name}_bucket:max"


def rate_name(metric: names.Metric) -> str:
    """The recorded rate of a counter over five minutes.

    >>> rate_name(names.OFFERED)
    'queue:sla_jobs_offered:rate5m'
    """
    return f"{counter(metric).rsplit(':', 1)[0].removesuffix('_total')}:rate5m"


def quantile_name(metric: names.Metric, which: str) -> str:
    """The recorded quantile of a time over five minutes.

    >>> quantile_name(names.WAIT, "p99")
    'queue:sla_wait_seconds:p99_5m'
    """
    return f"queue:{metric.name}:{which}_5m"


def misses(window: str) -> str:
    """The recorded share of attempts that missed the SLA in a window.

    >>> misses("1h")
    'queue:sla_misses:ratio1h'
    """
    return f"queue:sla_misses:ratio{window}"


def _record(name: str, expression: str) -> Rule:
    return {"record": name, "expr": expression}


def _counted() -> list[Rule]:
    rules = []
    for metric, by, summed in _COUNTERS:
        of = f"sum without ({summed}) ({metric.name})" if summed else metric.name
        rules.append(_record(counter(metric), f"max by ({by}) ({of})"))
    for metric in (names.WAIT, names.SOJOURN):
        rules.append(_record(buckets(metric), f"max by (queue, le) ({metric.name}_bucket)"))
    return rules


def _paced() -> list[Rule]:
    rules = [
        _record(rate_name(metric), f"rate({counter(metric)}[5m])")
        for metric in (names.OFFERED, names.ADMISSIONS)
    ]
    for metric in (names.WAIT, names.SOJOURN):
        for which, share in _QUANTILES:
            quantile = f"histogram_quantile({share}, rate({buckets(metric)}[5m]))"
            rules.append(_record(quantile_name(metric, which), f"{quantile} >= 0"))  # NaN is not
    for metric in (names.NUMBER_IN_SYSTEM, names.NUMBER_IN_SYSTEM_EXPECTED):
        rules.append(_record(f"queue:{metric.name}:avg", f"avg by (queue) ({metric.name})"))
    return rules


def _missed(window: str) -> Rule:
    missed, timed = (f"rate({counter(metric)}[{window}])" for metric in (names.BREACHES, names.TIMED))
    return _record(misses(window), f"clamp_max({missed} / ({timed} > 0), 1)")


def _budget() -> list[Rule]:
    """What may be missed, and how much of it is left: 1 is all, 0 none, below 0 more was missed than may be."""
    left = f"1 - {misses(BUDGET_WINDOW)} / on (queue) {ERROR_BUDGET}"
    return [
        _record(ERROR_BUDGET, f"1 - max by (queue) ({names.TARGET_RATIO.name})"),
        _record(BUDGET_LEFT, f"({left}) or ({ERROR_BUDGET} * 0 + 1)"),
    ]


def recording_groups() -> list[dict[str, Any]]:
    """The groups of recording rules, as in a rules file of Prometheus; they know no name of a queue."""
    quick = [_missed(window) for window in WINDOWS if window not in _SLOW]
    slow = [_missed(window) for window in (*WINDOWS, BUDGET_WINDOW) if window in _SLOW]
    return [
        _group("littleq.counters", QUICK_SECONDS, [*_counted(), *_paced()]),
        _group("littleq.misses", QUICK_SECONDS, quick),
        _group("littleq.budget", SLOW_SECONDS, [*slow, *_budget()]),
    ]


def _group(name: str, seconds: int, rules: list[Rule]) -> dict[str, Any]:
    return {"name": name, "interval": f"{seconds}s", "rules": rules}
