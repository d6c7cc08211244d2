"""Every alert fires on series that it is for, and on none that come close; promtool evaluates them."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from littleq.config import Config, SLAQueueConfig
from littleq.metrics import names
from littleq.monitoring.alert import Alert
from littleq.monitoring.alerts import alerts_for
from littleq.monitoring.recording import BUDGET_LEFT, counter, misses, quantile_name
from littleq.monitoring.rules import rule_groups
from tests.integration.alert_cases import (
    BREACHED,
    HEADROOM,
    RATIO,
    TIME_TO_BREACH,
    TIMED,
    Case,
)
from tests.integration.alert_faults import CASES
from tests.integration.scraping import binary

CONFIG = Config(queues={"realtime": SLAQueueConfig("realtime"), "batch": SLAQueueConfig("batch")})
BREACHES, P99 = counter(names.BREACHES), quantile_name(names.WAIT, "p99")
GROUPS = rule_groups(CONFIG)
ALERTS = {alert.name: alert for alert in alerts_for(CONFIG)}


def promtool(*arguments: str) -> None:
    found = subprocess.run([binary("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def rules_file(folder: Path, groups: list[dict[str, Any]]) -> Path:
    path = folder / "rules.yml"
    path.write_text(json.dumps({"groups": groups}), encoding="utf-8")  # JSON is YAML
    return path


def needed(*wanted: str) -> list[dict[str, Any]]:
    """The groups without what these rules do not need: promtool evaluates all that it is given, at every step."""
    expressions = {
        rule.get("record") or rule["alert"]: rule["expr"] for group in GROUPS for rule in group["rules"]
    }
    found, rest = set(), list(wanted)
    while rest:
        name = rest.pop()
        found.add(name)
        rest += [other for other in re.findall(r"queue\w*:[\w:]+", expressions[name]) if other not in found]
    return [
        {
            **group,
            "rules": [rule for rule in group["rules"] if (rule.get("record") or rule["alert"]) in found],
        }
        for group in GROUPS
    ]


def shown_by(exporters: tuple[str, ...], series: dict[str, str | None]) -> list[dict[str, str]]:
    """The series as so many exporters show them."""
    found = []
    for name, values in series.items():
        if values is None:
            continue
        spelt = name.replace("Q", 'queue="realtime"', 1) if "{Q" in name else name
        owners = exporters if "instance=" not in spelt else ("",)
        for owner in owners:
            labels = f'instance="{owner}",job="littleq",' if owner else ""
            found.append({"series": spelt.replace("{", "{" + labels, 1), "values": values})
    return found


def words(alert: Alert, labels: dict[str, str], value: str) -> dict[str, str]:
    """The annotations, with the values that the case says."""
    filled = {}
    for name, text in alert.rule()["annotations"].items():
        named = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)
        filled[name] = re.sub(r"\{\{ \$value[^}]*\}\}", value, named)
    return filled


def story(case: Case, exporters: tuple[str, ...], what: str, series: dict[str, str | None]) -> dict[str, Any]:
    alert = ALERTS[case.alert]
    fires = what == "fires"
    expected = {
        "exp_labels": {**case.labels, "severity": alert.severity},
        "exp_annotations": words(alert, case.labels, case.value),
    }
    return {
        "name": f"{case.alert}, {len(exporters)} exporters: {what}",
        "interval": case.step,
        "input_series": shown_by(exporters, series),
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": case.alert, "exp_alerts": [expected] if fires else []}
        ],
    }


def tell(folder: Path, step: str, stories: list[dict[str, Any]], *wanted: str) -> None:
    groups = [group for group in needed(*wanted) if group["rules"]]
    told = {
        "rule_files": [str(rules_file(folder, groups))],
        "evaluation_interval": step,
        "group_eval_order": [group["name"] for group in groups],  # else any order, each time another one
        "tests": stories,
    }
    path = folder / "stories.yml"
    path.write_text(json.dumps(told), encoding="utf-8")
    promtool("test", "rules", str(path))


def test_the_rules_are_ones_that_prometheus_takes(tmp_path: Path) -> None:
    promtool("check", "rules", str(rules_file(tmp_path, GROUPS)))
    promtool("check", "rules", str(rules_file(tmp_path, rule_groups(Config()))))


def test_every_alert_has_a_case_that_fires_it_and_one_that_does_not() -> None:
    assert sorted(case.alert for case in CASES) == sorted(ALERTS)
    assert all(case.quiet for case in CASES)
    lasting = {name for name, alert in ALERTS.items() if alert.lasting != "0m" and "Burn" not in name}
    assert {case.alert for case in CASES if case.too_soon} == lasting


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_on_what_it_is_for_and_on_nothing_near(tmp_path: Path, case: Case) -> None:
    """It fires with one exporter and with two that show the same."""
    one, two = ("a",), ("a", "b")
    stories = [story(case, one, "fires", dict(case.fires))]
    if not case.anywhere:
        stories.append(story(case, two, "fires", dict(case.fires)))
    for what, changes in case.quiet.items():
        stories.append(story(case, one if case.anywhere else two, what, {**case.fires, **changes}))
    if case.too_soon:
        stories.append(story(replace(case, at=case.too_soon), one, "too soon", dict(case.fires)))
    tell(tmp_path, case.step, stories, case.alert)


def test_a_case_that_expects_the_wrong_is_found_out(tmp_path: Path) -> None:
    """Else the stories above might not be looked at."""
    (case,) = (case for case in CASES if case.alert == "LittleQJobsLost")
    with pytest.raises(AssertionError, match="LittleQJobsLost"):
        tell(tmp_path, case.step, [story(case, ("a",), "quiet", dict(case.fires))], case.alert)


def test_a_promise_with_a_large_budget_pages_too(tmp_path: Path) -> None:
    """At p90 no burn reaches 14.4: half of the jobs that must be in time are enough."""
    (case,) = (case for case in CASES if case.alert == "LittleQErrorBudgetBurn1h")
    series = {TIMED: "0+1000x130", RATIO: "0.9x130", BREACHED: "0+200x130"}
    late = {**series, BREACHED: "0+600x130"}
    stories = [story(case, ("a",), "p90, a fifth late", dict(series))]
    stories.append(story(replace(case, value="60%"), ("a",), "fires", dict(late)))
    tell(tmp_path, case.step, stories, case.alert)


def test_an_exporter_that_was_replaced_costs_no_window_what_came_before(tmp_path: Path) -> None:
    """Half an hour by one, half an hour by the next: an hour's misses, of which either has seen half."""
    misses = [
        {"series": 'sla_breaches_total{queue="realtime",instance="a"}', "values": "0+10x60 _x60"},
        {"series": 'sla_breaches_total{queue="realtime",instance="b"}', "values": "_x61 610+10x60"},
    ]
    sampled = {
        "expr": f'round(increase({BREACHES}{{queue="realtime"}}[2h]))',
        "eval_time": "120m",
        "exp_samples": [{"labels": '{queue="realtime"}', "value": 1200}],
    }
    tell(
        tmp_path, "1m", [{"interval": "1m", "input_series": misses, "promql_expr_test": [sampled]}], BREACHES
    )


def test_a_queue_without_traffic_keeps_its_whole_budget_and_has_no_quantile(tmp_path: Path) -> None:
    series = {TIMED: "0x60", BREACHED: "0x60", RATIO: "0.99x60"}
    series |= {f'sla_wait_seconds_bucket{{Q,le="{le}"}}': "0x60" for le in ("1.0", "+Inf")}
    left = {
        "expr": BUDGET_LEFT,
        "eval_time": "30m",
        "exp_samples": [
            {
                "labels": f'{BUDGET_LEFT}{{queue="realtime"}}',
                "value": 1,
            }
        ],
    }
    nothing = [{"expr": name, "eval_time": "30m", "exp_samples": []} for name in (misses("5m"), P99)]
    wanted = (BUDGET_LEFT, misses("5m"), P99)
    told = {"interval": "1m", "input_series": shown_by(("a", "b"), dict(series))}
    tell(tmp_path, "1m", [{**told, "promql_expr_test": [left, *nothing]}], *wanted)


def test_a_breach_is_predicted_without_a_controller(tmp_path: Path) -> None:
    """By the wait of a job sent now, which any exporter computes."""
    (case,) = (case for case in CASES if case.alert == "LittleQBreachPredicted")
    behind = {TIME_TO_BREACH: None, HEADROOM: "-90x20"}
    tell(
        tmp_path, case.step, [story(replace(case, value="-1m 30s"), ("a", "b"), "fires", behind)], case.alert
    )
