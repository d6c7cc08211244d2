"""Alerts have words for whoever they wake, and the documentation lists each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from littleq.cli.root import COMMANDS
from littleq.config import Config, SLAQueueConfig
from littleq.metrics import names
from littleq.monitoring.alert import Alert
from littleq.monitoring.alerts import alerts_for
from littleq.monitoring.recording import recording_groups
from littleq.monitoring.rules import rule_groups

DOCS = Path(__file__).parents[3] / "docs" / "alerts.md"
CONFIG = Config(queues={"realtime": SLAQueueConfig("realtime"), "batch": SLAQueueConfig("batch")})
ALERTS = alerts_for(CONFIG)
RECORDED = {rule["record"] for group in recording_groups() for rule in group["rules"]}
EXPRESSIONS = [rule["expr"] for group in rule_groups(CONFIG) for rule in group["rules"]]
EXPORTED = {metric.name for metric in names.METRICS} | {
    f"{metric.name}_bucket" for metric in names.METRICS if metric.kind == "histogram"
}


def row(alert: Alert) -> str:
    cells = (
        f"`{alert.name}`",
        alert.severity,
        alert.lasting,
        alert.condition,
        alert.description,
        alert.runbook,
    )
    return f"| {' | '.join(plain(cell) for cell in cells)} |"


def plain(template: str) -> str:
    """A template of Prometheus in words."""
    return re.sub(
        r"\{\{ \$value[^}]*\}\}",
        "N",
        re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: found[1].upper(), template),
    )


def test_the_documented_table_is_that_of_the_code() -> None:
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `LittleQ")]
    wanted = [row(alert) for alert in ALERTS]
    assert rows == wanted, "docs/alerts.md must hold these rows:\n" + "\n".join(wanted)


def test_the_documented_recording_rules_are_those_of_the_code() -> None:
    text = DOCS.read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(queue\w*:[^`]+)`", text, re.MULTILINE))
    assert documented == {re.sub(r"(ratio)\d+[mhd]$", r"\1…", name) for name in RECORDED}


def test_names_are_unique() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_is_the_matter_and_what_to_do_first(alert: Alert) -> None:
    assert re.fullmatch(r"LittleQ[A-Z]\w+", alert.name)
    for text in (alert.condition, alert.summary, alert.description, alert.runbook):
        assert text.endswith((".", "?"))
        assert "\n" not in text
        assert "|" not in plain(text)  # a cell of a table
    command = re.search(r"`littleq ([\w-]+)", alert.runbook)
    assert command, "the first step is a command"
    assert command[1] in COMMANDS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_about_a_queue_names_it(alert: Alert) -> None:
    about_a_queue = "(queue)" in alert.expression or "queue_reason:" in alert.expression
    assert ("{{ $labels.queue }}" in alert.summary) == about_a_queue


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_uses_metrics_that_are_exported_or_recorded(expression: str) -> None:
    used = set(re.findall(r"\bqueue\w*:[\w:]+", expression))
    assert used <= RECORDED
    exported = set(re.findall(r"\bsla_\w+", re.sub(r"\bqueue\w*:[\w:]+", "", expression)))
    assert exported <= EXPORTED
    assert used or exported


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_holds_with_two_exporters(expression: str) -> None:
    """What an exporter shows is never used without taking one of them all, nor added up."""
    without_recorded = re.sub(r"\bqueue\w*:[\w:]+", "", expression)
    for found in re.finditer(r"\bsla_\w+", without_recorded):
        before = without_recorded[: found.start()]
        assert re.search(
            r"(max|min|avg) by \([\w, ]+\) \((sum without \(criticality\) \()?$|absent\($|count_over_time\($",
            before,
        ), before


def test_what_is_decided_about_is_watched_and_nothing_else_is() -> None:
    queues = {
        "a.b": SLAQueueConfig("a.b"),
        "still": SLAQueueConfig("still", autoscale=False),
        "control": SLAQueueConfig("control"),
    }
    found = {alert.name: alert for alert in alerts_for(Config(queues=queues, control_queue="control"))}
    for name in ("LittleQDecisionStale", "LittleQDecisionAbsent"):
        assert '{queue=~"a\\\\.b"}' in found[name].expression
    nobody = alerts_for(Config())
    assert {alert.name for alert in ALERTS} - {alert.name for alert in nobody} == {
        "LittleQDecisionStale",
        "LittleQDecisionAbsent",
    }


def test_a_decision_is_stale_later_where_decisions_are_rarer() -> None:
    slow = alerts_for(Config(queues=CONFIG.queues, decide_seconds=30.0))
    (stale,) = (alert for alert in slow if alert.name == "LittleQDecisionStale")
    assert stale.expression.endswith("> 270")


def test_workers_may_take_as_long_as_they_are_known_to() -> None:
    heavy = Config(queues={"heavy": SLAQueueConfig("heavy", startup_seconds=600.0)})
    assert [alert.lasting for alert in alerts_for(heavy) if alert.name == "LittleQWorkersShort"] == ["1800s"]
    assert [alert.lasting for alert in ALERTS if alert.name == "LittleQWorkersShort"] == ["900s"]
