from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from littleq.backends.base import Accounts, TruthTable
from littleq.ledger import fields
from littleq.metrics import labels, names

if TYPE_CHECKING:
    from .conftest import Fleet


def labelled(page: dict[str, float], name: str) -> dict[str, float]:
    """The series of one family, by their labels but `queue`."""
    head = f"{name}{{"
    return {
        series.removeprefix(head)
        .rstrip("}")
        .replace('queue="realtime"', "")
        .replace('"', "")
        .strip(","): value
        for series, value in page.items()
        if series.startswith(head) and 'queue="realtime"' in series
    }


def test_the_truth_table_is_told_by_state_and_the_depth_is_what_waits_or_runs(fleet: Fleet) -> None:
    fleet.inspector.tables["realtime"] = TruthTable(
        "realtime", ready=5, in_flight=3, delayed=7, dead=11, orphaned=2, oldest_age=1.5
    )
    page = fleet.scrape()
    assert labelled(page, "sla_queue_jobs") == {
        "state=ready": 5,
        "state=in_flight": 3,
        "state=delayed": 7,
        "state=dead": 11,
        "state=orphaned": 2,
    }
    assert page['sla_queue_depth{queue="realtime"}'] == 10
    assert page['sla_number_in_system{queue="realtime"}'] == 10
    assert page['sla_queue_oldest_age_seconds{queue="realtime"}'] == 1.5


@pytest.mark.parametrize(
    ("ready", "oldest_age", "shown"), [(0, None, {"": 0.0}), (3, None, {}), (3, 2.0, {"": 2.0})]
)
def test_the_oldest_age_is_0_without_a_ready_job_and_left_out_where_unknown(
    fleet: Fleet, ready: int, oldest_age: float | None, shown: dict[str, float]
) -> None:
    fleet.inspector.tables["realtime"] = TruthTable("realtime", ready=ready, oldest_age=oldest_age)
    assert labelled(fleet.scrape(), "sla_queue_oldest_age_seconds") == shown


@pytest.mark.parametrize(("next_due", "shown"), [(None, {}), (0.0, {"": 0.0}), (12.5, {"": 12.5})])
def test_the_next_due_job_is_told_and_left_out_where_none_is_known(
    fleet: Fleet, next_due: float | None, shown: dict[str, float]
) -> None:
    fleet.inspector.tables["realtime"] = TruthTable("realtime", delayed=1, next_due=next_due)
    assert labelled(fleet.scrape(), "sla_queue_next_due_seconds") == shown


@pytest.mark.parametrize("paused", [False, True])
def test_a_paused_queue_is_told_as_1_and_any_other_as_0(fleet: Fleet, paused: bool) -> None:
    fleet.inspector.tables["realtime"] = TruthTable("realtime", paused=paused)
    assert labelled(fleet.scrape(), "sla_queue_paused") == {"": float(paused)}


def test_a_lost_job_shows_as_imbalance_and_no_accounts_as_nothing(fleet: Fleet) -> None:
    fleet.inspector.tables["realtime"] = TruthTable(
        "realtime", ready=2, accounts=Accounts(admitted=10, done=7)
    )
    assert labelled(fleet.scrape(), "sla_queue_imbalance_jobs") == {"": 1}
    fleet.inspector.tables["realtime"] = TruthTable("realtime", ready=2)
    assert labelled(fleet.scrape(), "sla_queue_imbalance_jobs") == {}


def test_counters_of_a_closed_set_start_at_0(fleet: Fleet) -> None:
    page = fleet.scrape()
    assert labelled(page, "sla_jobs_processed_total") == {f"status={status}": 0 for status in labels.STATUSES}
    assert labelled(page, "sla_dead_letters_total") == {f"reason={each}": 0 for each in labels.DEATH_REASONS}
    assert labelled(page, "sla_jobs_offered_total") == {f"criticality={c}": 0 for c in labels.CRITICALITIES}
    assert labelled(page, "sla_admissions_total") == {
        f"criticality={criticality},outcome={outcome}": 0
        for outcome in labels.OUTCOMES
        for criticality in labels.CRITICALITIES
    }
    assert labelled(page, "sla_breaches_total") == labelled(page, "sla_retries_total") == {"": 0}


def test_counters_are_the_ledgers_totals(fleet: Fleet) -> None:
    fleet.ledger.know(
        "realtime",
        totals={
            "offered:critical": 4.0,
            "offered:default": 10.0,
            "admitted:critical": 4.0,
            "admitted:default": 7.0,
            "shed:default": 3.0,
            "started": 12.0,
            "done": 9.0,
            "failed": 2.0,
            "skipped": 1.0,
            "retried": 2.0,
            "dead:exhausted": 1.0,
            "breached": 5.0,
            "errors:retry_enqueue": 6.0,
        },
    )
    page = fleet.scrape()
    assert labelled(page, "sla_jobs_processed_total") == {
        "status=done": 9,
        "status=failed": 2,
        "status=skipped": 1,
    }
    assert labelled(page, "sla_jobs_offered_total")["criticality=critical"] == 4
    assert page['sla_admissions_total{criticality="default",outcome="shed",queue="realtime"}'] == 3
    assert page['sla_admissions_total{criticality="default",outcome="admitted",queue="realtime"}'] == 7
    assert labelled(page, "sla_attempts_started_total") == {"": 12}
    assert labelled(page, "sla_retries_total") == {"": 2}
    assert labelled(page, "sla_dead_letters_total")["reason=exhausted"] == 1
    assert labelled(page, "sla_breaches_total") == {"": 5}
    assert labelled(page, "sla_internal_errors_total") == {"place=retry_enqueue": 6}


def test_errors_that_belong_to_no_queue_make_no_queue(fleet: Fleet) -> None:
    fleet.ledger.know("", totals={"errors:flush": 2.0})
    page = fleet.scrape()
    assert page['sla_internal_errors_total{place="flush",queue=""}'] == 2
    assert [series for series in page if 'queue=""' in series] == [
        'sla_internal_errors_total{place="flush",queue=""}'
    ]


def test_a_wait_histogram_has_the_buckets_of_its_queues_sla(fleet: Fleet) -> None:
    """The ledger's SLA wins over the configured one: it is what the workers count by."""
    fleet.ledger.know(
        "realtime",
        settings={"sla_seconds": 2.0},
        totals={"wait:le:1": 3.0, "wait:le:2": 1.0, "wait:le:+Inf": 1.0, "wait:sum": 30.5, "wait:count": 5.0},
    )
    page = fleet.scrape()
    buckets = labelled(page, "sla_wait_seconds_bucket")
    assert len(buckets) == len(fields.SLA_MULTIPLES) + 1
    assert (buckets["le=0.5"], buckets["le=1.0"], buckets["le=2.0"], buckets["le=+Inf"]) == (0, 3, 4, 5)
    assert labelled(page, "sla_wait_seconds_count") == {"": 5}
    assert labelled(page, "sla_wait_seconds_sum") == {"": 30.5}


def test_a_duration_histogram_has_the_same_buckets_everywhere(fleet: Fleet) -> None:
    fleet.ledger.know(
        "realtime", totals={"service:le:0.05": 2.0, "service:le:3600": 1.0, "service:sum": 3000.0}
    )
    buckets = labelled(fleet.scrape(), "sla_job_duration_seconds_bucket")
    assert len(buckets) == len(fields.SERVICE_BOUNDS) + 1
    assert (buckets["le=0.025"], buckets["le=0.05"], buckets["le=1800.0"], buckets["le=3600.0"]) == (
        0,
        2,
        2,
        3,
    )


def test_histograms_without_an_observation_are_there_at_0(fleet: Fleet) -> None:
    page = fleet.scrape()
    for histogram in ("sla_job_duration_seconds", "sla_wait_seconds", "sla_sojourn_seconds"):
        assert set(labelled(page, f"{histogram}_bucket").values()) == {0}
        assert labelled(page, f"{histogram}_count") == {"": 0}


def test_the_promise_is_told_as_a_ratio(fleet: Fleet) -> None:
    fleet.ledger.know("realtime", settings={"sla_seconds": "1.5", "percentile": "95"})
    page = fleet.scrape()
    assert labelled(page, "sla_target_seconds") == {"": 1.5}
    assert labelled(page, "sla_target_ratio") == {"": 0.95}


def test_each_metric_but_errors_is_told_for_a_busy_queue(fleet: Fleet, worker: object) -> None:
    """No definition without a number behind it."""
    fleet.ledger.workers = (worker("a", 2, "realtime"),)  # type: ignore[operator]
    fleet.ledger.know(
        "realtime",
        totals={"errors:retry": 1.0},
        recent={"offered:default": 5.0, "wait:count": 2.0, "wait:sum": 1.0, "service:count": 2.0}
        | {"service:sum": 1.0, "service:sumsq": 0.6, "sojourn:count": 2.0, "sojourn:sum": 2.0},
        recent_seconds=10.0,
        settings={"queue_limit": 20.0},
    )
    fleet.inspector.tables["realtime"] = TruthTable(
        "realtime", ready=1, oldest_age=1.0, delayed=1, next_due=2.0, accounts=Accounts()
    )
    fleet.ledger.decide("realtime", 0.0, {}, ready=300, in_flight=2, workers=1)
    told = {series.partition("{")[0] for series in fleet.scrape()}
    told |= {name.removesuffix("_count") for name in told}
    assert {metric.name for metric in names.METRICS} - told == set()


@pytest.mark.parametrize(("sla_on", "timed"), [("wait", 5.0), ("sojourn", 3.0)])
def test_attempts_that_the_sla_was_measured_on_are_those_whose_promised_time_is_known(
    fleet: Fleet, sla_on: str, timed: float
) -> None:
    """Else the share that missed a sojourn SLA would be one of jobs that still run."""
    counts = {
        "wait:le:0.5": 5.0,
        "wait:count": 5.0,
        "sojourn:le:0.9": 3.0,
        "sojourn:count": 3.0,
        "breached": 1.0,
    }
    fleet.ledger.know("realtime", totals=counts, settings={"sla_seconds": 1.0, "sla_on": sla_on})
    assert labelled(fleet.scrape(), "sla_attempts_timed_total") == {"": timed}
