"""The metrics page, written from one reading: pure, values in, metric families out.

What could not be read is None and leaves its series out, so a page never repeats an old value. Series of a
closed label set start at 0, or the first increment of each would be invisible to `rate()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from littleq.backends.base import TruthTable
from littleq.config import Config
from littleq.ledger import fields
from littleq.ledger.base import Counts, LedgerSnapshot
from littleq.ledger.decisions import Published
from littleq.metrics import labels, names
from littleq.metrics.histograms import cumulative
from littleq.metrics.observe import QueueReport, observe
from littleq.metrics.steps import stepped
from littleq.policies.scaling.inputs import BREAKER_OPEN


def empty_family(metric: names.Metric) -> Family:
    """The family of a metric, without samples."""
    if metric.kind == "counter":
        return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    if metric.kind == "histogram":
        return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)


class Page:
    """Samples by family, in the order of `names.METRICS`."""

    def __init__(self) -> None:
        self._families = {metric: empty_family(metric) for metric in names.METRICS}

    def add(self, metric: names.Metric, value: float | None, *values: str) -> None:
        """One sample; None leaves it out."""
        family = self._families[metric]
        if value is not None and isinstance(family, CounterMetricFamily | GaugeMetricFamily):
            family.add_metric(values, value)

    def add_histogram(
        self, metric: names.Metric, counts: Counts, histogram: str, bounds: tuple[float, ...], *values: str
    ) -> None:
        """The histogram `histogram` of the ledger's `counts`."""
        family = self._families[metric]
        if isinstance(family, HistogramMetricFamily):
            buckets = [(_le(upper), count) for upper, count in cumulative(counts, histogram, bounds)]
            family.add_metric(values, buckets, counts.get(f"{histogram}:sum", 0.0))

    def families(self) -> list[Family]:
        """Those that have samples."""
        return [family for family in self._families.values() if family.samples]


def write_page(
    snapshot: LedgerSnapshot | None,
    truths: Mapping[str, TruthTable] | None,
    config: Config,
    decisions: Mapping[str, Published] | None = None,
) -> list[Family]:
    """All families of one scrape but `sla_up`.

    Args:
        snapshot: the ledger; None if it could not be read.
        truths: truth table by queue; None if the broker could not be read.
        config: settings of queues whose workers have published none.
        decisions: what was decided, by queue; None if it could not be read.
    """
    page = Page()
    for queue, report in observe(snapshot, truths, config).items():
        if report.truth is not None:
            _write_truth(page, report.truth)
        if snapshot is not None:
            _write_counters(page, queue, snapshot.queue(queue).totals)
            page.add(names.TIMED, snapshot.queue(queue).totals.get(f"{report.promised}:count", 0.0), queue)
            _write_histograms(page, report, snapshot.queue(queue).totals)
        _write_report(page, report)
    if snapshot is not None:
        page.add(names.WORKERS, len(snapshot.workers))
        for queue, ledger in sorted(snapshot.queues.items()):
            for place, count in sorted(by_qualifier(ledger.totals, fields.ERRORS).items()):
                page.add(names.INTERNAL_ERRORS, count, queue, place)
    for _, published in sorted((decisions or {}).items()):
        _write_decision(page, published)
    return page.families()


def by_qualifier(counts: Counts, field: str, known: Iterable[str] = ()) -> dict[str, float]:
    """The counters of `field` by qualifier, with 0 for those that are `known` and absent.

    >>> by_qualifier({"dead:poison": 2, "done": 1}, "dead", known=["refused"])
    {'refused': 0.0, 'poison': 2}
    """
    found = dict.fromkeys(known, 0.0)
    prefix = f"{field}:"
    for name, count in counts.items():
        if name.startswith(prefix):
            found[name.removeprefix(prefix)] = count
    return found


def _le(upper: float) -> str:
    """The label of a bucket, spelt as Prometheus spells it."""
    return str(floatToGoString(upper))  # type: ignore[no-untyped-call]


def _write_truth(page: Page, truth: TruthTable) -> None:
    page.add(names.QUEUE_DEPTH, truth.number_in_system, truth.queue)
    page.add(names.NUMBER_IN_SYSTEM, truth.number_in_system, truth.queue)
    for state in labels.STATES:
        page.add(names.QUEUE_JOBS, getattr(truth, state), truth.queue, state)
    page.add(names.OLDEST_AGE, truth.oldest_age if truth.ready else 0.0, truth.queue)
    page.add(names.NEXT_DUE, truth.next_due, truth.queue)
    page.add(names.PAUSED, float(truth.paused), truth.queue)
    page.add(names.IMBALANCE, truth.imbalance, truth.queue)


def _write_counters(page: Page, queue: str, totals: Counts) -> None:
    for criticality, count in by_qualifier(totals, fields.OFFERED, labels.CRITICALITIES).items():
        page.add(names.OFFERED, count, queue, criticality)
    for outcome in labels.OUTCOMES:
        for criticality, count in by_qualifier(totals, outcome, labels.CRITICALITIES).items():
            page.add(names.ADMISSIONS, count, queue, outcome, criticality)
    page.add(names.STARTED, fields.total(totals, fields.STARTED), queue)
    for status in labels.STATUSES:
        page.add(names.PROCESSED, fields.total(totals, status), queue, status)
    page.add(names.RETRIES, fields.total(totals, fields.RETRIED), queue)
    for reason, count in by_qualifier(totals, fields.DEAD, labels.DEATH_REASONS).items():
        page.add(names.DEAD_LETTERS, count, queue, reason)
    page.add(names.BREACHES, fields.total(totals, fields.BREACHED), queue)


def _write_histograms(page: Page, report: QueueReport, totals: Counts) -> None:
    waits = fields.wait_bounds(report.sla_seconds)
    page.add_histogram(names.JOB_DURATION, totals, fields.SERVICE, fields.SERVICE_BOUNDS, report.queue)
    page.add_histogram(names.WAIT, totals, fields.WAIT, waits, report.queue)
    page.add_histogram(names.SOJOURN, totals, fields.SOJOURN, waits, report.queue)


def _write_report(page: Page, report: QueueReport) -> None:
    if report.window_seconds is None:  # the ledger could not be read, and its settings win over ours
        return
    values: Sequence[tuple[names.Metric, float | None]] = (
        (names.TARGET, report.sla_seconds),
        (names.TARGET_RATIO, report.percentile / 100.0),
        (names.BURN_RATE, report.burn_rate),
        (names.PREDICTED_WAIT, report.predicted_wait),
        (names.HEADROOM, report.headroom),
        (names.QUEUE_LIMIT, report.queue_limit),
        (names.ARRIVAL_RATE, report.arrival_rate),
        (names.RETRY_RATE, report.retry_rate),
        (names.SERVICE_TIME, report.service_time),
        (names.SERVICE_SCV, report.service_scv),
        (names.UTILIZATION, report.utilization),
        (names.NUMBER_IN_SYSTEM_EXPECTED, report.number_in_system_expected),
        (names.QUEUE_WORKERS, report.workers),
        (names.QUEUE_THREADS, report.servers),
    )
    for metric, value in values:
        page.add(metric, value, report.queue)


def _write_decision(page: Page, published: Published) -> None:
    """Of a stale decision only its age and time are told: whoever scales by the rest must see that there is none."""
    queue, decision = published.queue, published.decision
    page.add(names.DECISION_AGE, published.age_seconds, queue)
    page.add(names.DECISION_TIMESTAMP, published.decided_at, queue)  # so that a query can tell that it is old
    for event in labels.EVENTS:
        page.add(names.EVENTS_TOTAL, published.events.get(event, 0), queue, event)
    if published.is_stale:
        return
    page.add(names.DESIRED_WORKERS, decision.desired_workers, queue)
    page.add(names.DESIRED_WORKERS_STEPPED, stepped(decision.desired_workers), queue)
    page.add(names.MAX_WORKERS, published.settings.max_workers, queue)
    page.add(names.BREAKER_OPEN, float(decision.inputs.get("halted") == BREAKER_OPEN), queue)
    page.add(names.REQUIRED_SERVERS, decision.required_servers, queue)
    page.add(names.TIME_TO_BREACH, decision.time_to_breach, queue)
    page.add(names.DECISION_REGIME, 1.0, queue, decision.regime)
    for name in labels.DECISION_INPUTS:
        page.add(names.DECISION_INPUT, decision.inputs.get(name), queue, name)
