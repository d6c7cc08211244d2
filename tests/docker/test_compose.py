"""compose.yaml: all healthy, jobs that flow, and nothing lost when a container is killed, stopped or restarted."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

import pytest

from littleq.monitoring.queries import desired_workers_query
from tests.docker.conftest import HEALTHY_SECONDS, Stack
from tests.integration.scraping import fetch
from tests.support import eventually

pytestmark = pytest.mark.docker

QUEUES = ("realtime", "batch")


def total(stack: Stack, metric: str, **labels: str) -> float:
    """The sum of a metric over the series with these labels, from the exporter's page."""
    page = fetch(f"http://127.0.0.1:{stack.exporter}/metrics")
    found = 0.0
    for name, inside, value in re.findall(r"^(\w+)\{([^}]*)\} (\S+)$", page, re.MULTILINE):
        has = dict(re.findall(r'(\w+)="([^"]*)"', inside))
        if name == metric and labels.items() <= has.items():
            found += float(value)
    return found


def done(stack: Stack) -> float:
    return total(stack, "sla_jobs_processed_total", status="done")


def ask_prometheus(stack: Stack, path: str) -> Any:
    answer = json.loads(fetch(f"http://127.0.0.1:{stack.prometheus}/api/v1/{path}"))
    assert answer["status"] == "success"
    return answer["data"]


def assert_audit_holds(stack: Stack) -> None:
    code, said = stack.run("audit")
    assert code == 0, said


def test_it_is_healthy_in_under_a_minute_and_jobs_flow(stack: Stack) -> None:
    assert stack.healthy_after < HEALTHY_SECONDS
    for queue in QUEUES:
        eventually(
            lambda queue=queue: total(stack, "sla_jobs_processed_total", status="done", queue=queue) > 5,
            60,
            f"jobs of {queue}",
        )
    assert_audit_holds(stack)
    page = json.loads(fetch(f"http://127.0.0.1:{stack.exporter}/api/v1/queues/realtime/scaling"))
    assert page["stale"] is False and page["desired_workers"] >= 1


def test_prometheus_scrapes_it_and_its_rules_load(stack: Stack) -> None:
    def is_up() -> bool:
        found = ask_prometheus(stack, "query?query=up")["result"]
        return [sample["value"][1] for sample in found] == ["1"]

    eventually(is_up, 30, "a scrape")
    groups = ask_prometheus(stack, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 40
    eventually(lambda: _healths(stack) == {"ok"}, 30, "an evaluation of each rule")
    query = urllib.request.quote(desired_workers_query("realtime"))  # type: ignore[attr-defined]
    found = eventually(lambda: ask_prometheus(stack, f"query?query={query}")["result"], 30, "a decision")
    assert float(found[0]["value"][1]) >= 1


def _healths(stack: Stack) -> set[str]:
    return {rule["health"] for group in ask_prometheus(stack, "rules")["groups"] for rule in group["rules"]}


def jobs(stack: Stack, *states: str) -> float:
    return sum(total(stack, "sla_queue_jobs", state=state) for state in states)


def keep_busy(stack: Stack) -> None:
    """More files to compress than a moment can do: whenever the workers are hit now, some of them are in hand."""
    code, said = stack.run("producer", "--actor", "compress", "--count", "30", "--burst")
    assert code == 0, said
    eventually(lambda: jobs(stack, "in_flight") > 0, 30, "a job that runs")


def is_caught_in_mid_job(stack: Stack, workers: Any) -> bool:
    """Whether the workers are frozen with jobs in hand: those are in hand when they are killed, too."""
    workers.pause()
    if jobs(stack, "in_flight") > 0:
        return True
    workers.unpause()
    return False


def test_docker_stop_drains_the_workers(stack: Stack) -> None:
    """Nothing that runs is cut off, nothing runs twice, and what waits goes on waiting."""
    workers = stack.container("workers")
    keep_busy(stack)
    workers.stop(timeout=40)
    workers.reload()
    assert workers.attrs["State"]["ExitCode"] == 0
    assert jobs(stack, "in_flight", "orphaned") == 0
    started = total(stack, "sla_attempts_started_total")
    assert started == done(stack) + total(stack, "sla_jobs_processed_total", status="failed")
    assert_audit_holds(stack)
    workers.start()
    stack.wait_until_healthy("workers")
    eventually(lambda: total(stack, "sla_attempts_started_total") > started, 30, "a job after the restart")


def test_docker_kill_of_the_workers_in_mid_job_loses_nothing(stack: Stack) -> None:
    workers = stack.container("workers")
    keep_busy(stack)
    eventually(lambda: is_caught_in_mid_job(stack, workers), 30, "a pause in mid-job")
    workers.kill()
    workers.wait(timeout=30)
    assert_audit_holds(stack)
    workers.reload()
    assert workers.attrs["State"]["ExitCode"] == 137
    workers.start()
    eventually(lambda: jobs(stack, "orphaned") == 0, 30, "the recovery of what they held")
    stack.wait_until_healthy("workers")
    after = done(stack)
    eventually(lambda: done(stack) > after, 30, "jobs that flow again")
    assert_audit_holds(stack)
    assert total(stack, "sla_dead_letters_total", reason="poison") == 0


def test_a_restart_of_redis_loses_nothing(stack: Stack) -> None:
    before = done(stack)
    stack.container("redis").restart(timeout=30)
    stack.wait_until_healthy("redis", "workers", "controller")
    eventually(lambda: done(stack) > before + 5, 60, "jobs that flow again")
    assert_audit_holds(stack)


def test_at_the_end_every_job_is_done_or_dead(stack: Stack) -> None:
    for producer in ("producer", "producer-batch"):
        stack.container(producer).stop(timeout=5)

    def is_empty() -> bool:
        waiting = ("ready", "in_flight", "delayed", "orphaned")
        return sum(total(stack, "sla_queue_jobs", state=state) for state in waiting) == 0

    eventually(is_empty, 90, "the end of all jobs")
    assert_audit_holds(stack)
    code, said = stack.run("audit", "--json")
    assert code == 0, said
