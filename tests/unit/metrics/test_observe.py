"""The numbers of a report, against values worked out by hand."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import pytest

from littleq.backends.base import TruthTable
from littleq.config import Config, SLAQueueConfig
from littleq.ledger import fields
from littleq.ledger.base import LedgerSnapshot, QueueLedger
from littleq.metrics.observe import QueueReport, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from littleq.ledger.base import Presence

#: 60 s: 240 first sends (40 shed), 20 retries; 200 waits of 1.5 s, services of 0.5 s, sojourns of 2 s.
BUSY = {
    "offered:critical": 40.0,
    "offered:default": 200.0,
    "admitted:critical": 40.0,
    "admitted:default": 150.0,
    "deferred:default": 10.0,
    "shed:default": 40.0,
    "retried": 20.0,
    "done": 180.0,
    "failed": 20.0,
    "skipped": 5.0,
    "breached": 4.0,
    "wait:count": 200.0,
    "wait:sum": 300.0,
    "service:count": 200.0,
    "service:sum": 100.0,
    "service:sumsq": 50.0,
    "sojourn:count": 200.0,
    "sojourn:sum": 400.0,
}


def one(
    recent: Mapping[str, float] | None = None,
    *,
    totals: Mapping[str, float] | None = None,
    seconds: float = 60.0,
    settings: Mapping[str, float | str] | None = None,
    workers: tuple[Presence, ...] = (),
    truth: TruthTable | None = None,
    **declared: Any,
) -> QueueReport:
    """The report on queue `q`."""
    ledger = QueueLedger(totals or {}, recent or {}, seconds, settings or {})
    queues = {"q": SLAQueueConfig("q", **declared)} if declared else {}
    snapshot = LedgerSnapshot(0.0, {"q": ledger}, workers)
    return observe(snapshot, None if truth is None else {"q": truth}, Config(queues=queues))["q"]


def test_rates_are_per_second_of_the_window() -> None:
    report = one(BUSY)
    assert report.arrival_rate == 4.0
    assert report.shed_rate == pytest.approx(40 / 60)
    assert report.retry_rate == pytest.approx(20 / 60)
    assert report.entry_rate == pytest.approx(220 / 60)
    assert report.completion_rate == pytest.approx(200 / 60)


def test_without_a_window_no_rate_is_known() -> None:
    report = one(seconds=0.0)
    assert report.arrival_rate is report.retry_rate is report.entry_rate is report.completion_rate is None
    assert report.number_in_system_expected is report.utilization is report.breach_ratio is None


def test_means_are_those_of_the_window() -> None:
    report = one(BUSY)
    assert (report.service_time, report.waiting_time, report.sojourn_time) == (0.5, 1.5, 2.0)
    assert report.service_scv == 0.0


def test_littles_law_counts_what_entered_not_what_was_offered() -> None:
    """220 entries (190 admitted, 10 deferred, 20 retried) in 60 s, 2 s each."""
    report = one(BUSY, truth=TruthTable("q", ready=5, in_flight=2, orphaned=1, delayed=50, dead=9))
    assert report.number_in_system_expected == pytest.approx(220 / 60 * 2.0)
    assert report.number_in_system == 8


@pytest.mark.parametrize(
    ("recent", "expected"),
    [({}, 0.0), ({"admitted:default": 6.0}, None), ({"sojourn:count": 1.0, "sojourn:sum": 3.0}, 0.0)],
)
def test_where_nothing_enters_nothing_is_expected_and_where_nothing_has_left_nothing_is_known(
    recent: dict[str, float], expected: float | None
) -> None:
    assert one(recent).number_in_system_expected == expected


def test_without_measured_sojourns_w_is_the_sum_of_wait_and_service() -> None:
    recent = {name: value for name, value in BUSY.items() if not name.startswith("sojourn")}
    assert one(recent).sojourn_time == 2.0


@pytest.mark.parametrize(
    ("recent", "totals", "hint", "expected"),
    [
        ({"service:count": 2.0, "service:sum": 1.0}, {"service:count": 9.0, "service:sum": 90.0}, 7.0, 0.5),
        ({}, {"service:count": 9.0, "service:sum": 90.0}, 7.0, 10.0),
        ({}, {}, 7.0, 7.0),
        ({}, {}, None, None),
    ],
    ids=["recent", "ever", "hint", "unknown"],
)
def test_a_service_time_is_recent_else_of_all_time_else_a_hint(
    recent: dict[str, float], totals: dict[str, float], hint: float | None, expected: float | None
) -> None:
    assert one(recent, totals=totals, sla_seconds=1.0, service_time_seconds=hint).service_time == expected


def test_utilization_counts_retries_and_all_threads(worker: Callable[..., Presence]) -> None:
    """a = (4 + 1/3) × 0.5 = 13/6 erlangs, on 2 + 3 threads; the third worker serves another queue."""
    report = one(BUSY, workers=(worker("a", 2, "q"), worker("b", 3, "q", "r"), worker("c", 9, "r")))
    assert (report.workers, report.servers) == (2, 5)
    assert report.offered_load == pytest.approx(13 / 6)
    assert report.utilization == pytest.approx(13 / 30)


def test_utilization_is_not_known_without_a_worker() -> None:
    assert one(BUSY).utilization is None
    assert one(BUSY).offered_load == pytest.approx(13 / 6)


def test_breaches_are_a_share_of_timed_attempts_and_burn_a_budget() -> None:
    """4 of 200 missed: 2 %, twice the 1 % that p99 allows."""
    report = one(BUSY, totals={"breached": 77.0}, settings={"percentile": 99.0})
    assert report.breaches == 77
    assert report.breach_ratio == pytest.approx(0.02)
    assert report.burn_rate == pytest.approx(2.0)


def test_a_sojourn_promise_is_measured_on_sojourns() -> None:
    recent = {"breached": 1.0, "wait:count": 100.0, "sojourn:count": 10.0}
    assert one(recent, sla_on="sojourn").breach_ratio == pytest.approx(0.1)
    assert one(recent, sla_on="wait").breach_ratio == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("number_in_system", "wait"),
    [(0, 0.0), (3, 0.0), (4, 0.125), (11, 1.0)],
    ids=["idle", "free", "full", "queue"],
)
def test_a_wait_is_predicted_from_the_departures_before_a_thread_is_free(
    number_in_system: int, wait: float, worker: Callable[..., Presence]
) -> None:
    """4 threads of 0.5 s: one departure each 0.125 s."""
    truth = TruthTable("q", ready=number_in_system)
    report = one(BUSY, workers=(worker("a", 4, "q"),), truth=truth, sla_seconds=3.0)
    assert report.predicted_wait == wait
    assert report.headroom == 3.0 - wait
    sojourn = one(BUSY, workers=(worker("a", 4, "q"),), truth=truth, sla_seconds=3.0, sla_on="sojourn")
    assert sojourn.headroom == 2.5 - wait


def test_no_wait_is_predicted_without_a_worker_a_broker_or_a_service_time(
    worker: Callable[..., Presence],
) -> None:
    truth, workers = TruthTable("q", ready=1), (worker("a", 4, "q"),)
    for report in (one(BUSY, truth=truth), one(BUSY, workers=workers), one(truth=truth, workers=workers)):
        assert report.predicted_wait is report.headroom is None


def test_no_wait_is_predicted_while_the_queue_is_paused(worker: Callable[..., Presence]) -> None:
    """Free threads take nothing, and nobody knows for how long."""
    workers = (worker("a", 4, "q"),)
    report = one(BUSY, truth=TruthTable("q", ready=1, paused=True), workers=workers)
    assert report.predicted_wait is report.headroom is None
    assert report.number_in_system == 1


def test_quantiles_are_interpolated_in_bins_that_are_fine_around_the_sla() -> None:
    recent = {"wait:le:0.5": 50.0, "wait:le:0.95": 45.0, "wait:le:1": 4.0, "wait:le:1.05": 1.0}
    report = one(recent, sla_seconds=1.0, percentile=95.0)
    assert report.wait_p50 == pytest.approx(0.5)
    assert report.wait_p99 == pytest.approx(1.0)
    assert report.at_percentile == pytest.approx(0.95)


def test_the_promised_quantile_of_a_sojourn_promise_is_one_of_sojourns() -> None:
    recent = {"wait:le:0.5": 100.0, "sojourn:le:2": 100.0}
    report = one(recent, sla_seconds=1.0, sla_on="sojourn", percentile=99.0)
    assert report.wait_p99 == pytest.approx(0.495, abs=0.01)
    assert report.at_percentile == pytest.approx(1.995, abs=0.01)


def test_without_a_wait_there_is_no_quantile() -> None:
    report = one()
    assert report.wait_p50 is report.wait_p99 is report.at_percentile is None


def test_what_the_workers_publish_wins_over_the_configuration() -> None:
    published = {"sla_seconds": 3.0, "percentile": 90.0, "sla_on": "sojourn"}
    report = one(settings=published, sla_seconds=1.0, percentile=99.0)
    assert (report.sla_seconds, report.percentile, report.sla_on) == (3.0, 90.0, "sojourn")
    report = one(sla_seconds=1.0, percentile=95.0)
    assert (report.sla_seconds, report.percentile, report.sla_on) == (1.0, 95.0, "wait")


@pytest.mark.parametrize("nonsense", ["", "soon", "nan", "inf", -1.0, 0.0, None])
def test_a_published_setting_that_is_no_number_is_passed_over(nonsense: Any) -> None:
    report = one(settings={"sla_seconds": nonsense, "percentile": nonsense, "queue_limit": nonsense})
    assert (report.sla_seconds, report.percentile, report.queue_limit) == (60.0, 99.0, None)


def test_a_published_promise_for_every_job_is_not_believed() -> None:
    """No budget could be divided by it, and the configuration refuses it."""
    assert one(BUSY, settings={"percentile": 100.0}).percentile == 99.0


def test_the_queue_limit_is_the_published_one() -> None:
    assert one(settings={"queue_limit": "20"}, arrival_rate=5.0, sla_seconds=1.0).queue_limit == 20


def test_an_unpublished_limit_is_what_a_producer_would_compute(worker: Callable[..., Presence]) -> None:
    workers = (worker("a", 10, "q"),)
    assert one(workers=workers, arrival_rate=20.0, sla_seconds=2.0).queue_limit == 40
    # law.capacity_limit(10, 0.5, 2.0, 95.0) is 30 waiting jobs, and the 10 servers take theirs besides
    capacity = one(BUSY, workers=workers, sla_seconds=2.0, percentile=95.0)
    assert capacity.queue_limit == 40
    assert one(workers=workers, sla_seconds=2.0, jobs_per_worker=8).queue_limit == 8


def test_there_is_no_limit_where_nothing_is_refused() -> None:
    assert one(BUSY).queue_limit is None
    assert one(BUSY, sla_seconds=1.0, admission="off").queue_limit is None


def test_settings_that_the_maths_refuse_give_no_limit() -> None:
    """An old process may have published what this one would refuse."""
    published = {"admission": "capacity", "percentile": 0.5}
    assert one(BUSY, settings=published, sla_seconds=1.0).queue_limit is None


def test_without_the_ledger_only_the_broker_is_believed() -> None:
    report = observe(None, {"q": TruthTable("q", ready=2)}, Config())["q"]
    assert report.number_in_system == 2
    assert report.workers is report.servers is report.window_seconds is report.arrival_rate is None
    assert report.queue_limit is report.breaches is report.headroom is None


def test_queues_come_from_every_source_by_name_and_the_nameless_is_none(
    worker: Callable[..., Presence],
) -> None:
    ledgers = {name: QueueLedger({}, {}, 0.0, {}) for name in ("d", "")}
    snapshot = LedgerSnapshot(0.0, ledgers, (worker("w", 1, "a"),))
    config = Config(queues={"c": SLAQueueConfig("c")})
    assert list(observe(snapshot, {"b": TruthTable("b")}, config)) == ["a", "b", "c", "d"]
    assert list(config.queues) == ["c"], "asking must not declare"


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        one().sla_seconds = 2.0  # type: ignore[misc]


def test_the_bins_around_the_promise_are_within_5_percent_of_it() -> None:
    """So a p99 near the SLA is told to within that."""
    bounds = fields.wait_bounds(1.0)
    place = bounds.index(1.0)
    assert bounds[place - 1] >= 0.95
    assert bounds[place + 1] <= 1.05
