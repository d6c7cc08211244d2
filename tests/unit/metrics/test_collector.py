from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from littleq.backends.base import TruthTable
from littleq.ledger.base import LedgerUnavailable
from littleq.metrics import collector, labels, names

if TYPE_CHECKING:
    from collections.abc import Callable

    from littleq.ledger.base import Presence

    from .conftest import Fleet

DEPTH = 'sla_queue_depth{queue="realtime"}'
DONE = 'sla_jobs_processed_total{queue="realtime",status="done"}'


def up(page: dict[str, float]) -> dict[str, float]:
    return {source: page[f'sla_up{{source="{source}"}}'] for source in labels.SOURCES}


@pytest.fixture
def busy(fleet: Fleet, worker: Callable[..., Presence]) -> Fleet:
    fleet.ledger.know(
        "realtime", totals={"done": 5.0, "wait:le:0.5": 5.0, "wait:sum": 1.0}, recent_seconds=10.0
    )
    fleet.ledger.workers = (worker("a", 8, "realtime"), worker("b", 4, "realtime", "batch"))
    fleet.inspector.tables["realtime"] = TruthTable("realtime", ready=3, in_flight=2, oldest_age=0.4)
    return fleet


def test_a_scrape_is_one_round_trip_to_each_source(busy: Fleet) -> None:
    for _ in range(3):
        busy.scrape()
    assert (busy.ledger.reads, busy.inspector.reads) == (3, 3)
    assert busy.inspector.scans == 0


def test_a_queue_that_a_live_worker_serves_is_shown_before_its_first_job(busy: Fleet) -> None:
    page = busy.scrape()
    assert page['sla_queue_depth{queue="batch"}'] == 0
    assert page['sla_queue_threads{queue="batch"}'] == 4


def test_without_the_ledger_the_brokers_truth_is_still_told_and_nothing_else(busy: Fleet) -> None:
    busy.scrape()
    busy.ledger.error = LedgerUnavailable("cut off")
    page = busy.scrape()
    assert up(page) == {"ledger": 0, "broker": 1, "page": 1}
    assert page[DEPTH] == 5
    told = {series.partition("{")[0] for series in page}
    assert told == {
        "sla_up",
        "sla_queue_depth",
        "sla_queue_jobs",
        "sla_queue_oldest_age_seconds",
        "sla_queue_paused",
        "sla_number_in_system",
    }


def test_without_the_broker_the_ledgers_counts_are_still_told_and_no_depth(busy: Fleet) -> None:
    busy.scrape()
    busy.inspector.error = ConnectionError("cut off")
    page = busy.scrape()
    assert up(page) == {"ledger": 1, "broker": 0, "page": 1}
    assert page[DONE] == 5
    gone = (
        "sla_queue_depth",
        "sla_queue_jobs",
        "sla_number_in_system{",
        "sla_headroom",
        "sla_predicted_wait",
    )
    assert not [series for series in page if series.startswith(gone)]


def test_without_both_the_scrape_answers_and_says_so(busy: Fleet) -> None:
    busy.ledger.error = busy.inspector.error = OSError("no network")
    page = busy.scrape()
    assert up(page) == {"ledger": 0, "broker": 0, "page": 1}
    assert len(page) == 3


def test_a_queue_of_the_ledgers_is_still_asked_for_while_the_ledger_is_away(busy: Fleet) -> None:
    busy.ledger.know("other")
    busy.scrape()
    busy.ledger.error = LedgerUnavailable("cut off")
    assert busy.scrape()['sla_queue_depth{queue="other"}'] == 0


def test_what_comes_back_is_told_again(busy: Fleet) -> None:
    busy.ledger.error = busy.inspector.error = OSError("no network")
    busy.scrape()
    busy.ledger.error = busy.inspector.error = None
    page = busy.scrape()
    assert (page[DEPTH], page[DONE]) == (5, 5)
    assert set(up(page).values()) == {1}


def test_a_bug_of_ours_fails_no_scrape(
    busy: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(collector, "write_page", broken)
    assert up(busy.scrape()) == {"ledger": 1, "broker": 1, "page": 0}
    assert "This is a bug in LittleQ" in caplog.text


def test_a_dead_worker_leaves_no_series_and_no_share(busy: Fleet) -> None:
    assert busy.scrape()["sla_workers"] == 2
    busy.ledger.retire("b")
    page = busy.scrape()
    assert page["sla_workers"] == 1
    assert page['sla_queue_threads{queue="realtime"}'] == 8
    assert not [series for series in page if "batch" in series]


def test_a_queue_that_is_gone_from_everywhere_is_gone_from_the_page(busy: Fleet) -> None:
    busy.ledger.know("old", totals={"done": 1.0})
    assert [series for series in busy.scrape() if '"old"' in series]
    del busy.ledger.queues["old"]
    assert not [series for series in busy.scrape() if '"old"' in series]


def test_registering_asks_no_server_and_every_family_is_announced(busy: Fleet) -> None:
    CollectorRegistry().register(busy.collector)
    assert (busy.ledger.reads, busy.inspector.reads) == (0, 0)
    announced = [family.name for family in busy.collector.describe()]
    assert announced == [metric.name.removesuffix("_total") for metric in names.METRICS]


def test_the_page_is_valid_in_both_text_formats(busy: Fleet) -> None:
    registry = CollectorRegistry()
    registry.register(busy.collector)
    assert b'sla_queue_depth{queue="realtime"} 5.0\n' in generate_latest(registry)
    families = list(text_string_to_metric_families(openmetrics.generate_latest(registry).decode()))
    assert len(families) == len(list(busy.collector.collect()))


def test_the_same_reading_makes_the_same_page_byte_for_byte(busy: Fleet) -> None:
    registry = CollectorRegistry()
    registry.register(busy.collector)
    first = generate_latest(registry)
    busy.ledger.queues = dict(reversed(busy.ledger.queues.items()))
    busy.ledger.workers = busy.ledger.workers[::-1]
    assert generate_latest(registry) == first
