"""Monitoring: who is scraped, what is recorded and alarmed, and what there is to look at."""

from __future__ import annotations

import json

from littleq.manifests import sizing
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import EXPORTER, Object, make_object, selector_labels
from littleq.monitoring.dashboard import dashboard
from littleq.monitoring.rules import rule_groups

_RULES, _DASHBOARD = "littleq", "littleq-dashboard"


def service_monitor(fleet: Fleet) -> Object:
    """ServiceMonitor `littleq-exporter`: both controllers, as often as there are decisions."""
    seconds = sizing.scrape_seconds(fleet.config)
    return make_object(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        EXPORTER,
        fleet.settings.namespace,
        component="controller",
        labels=fleet.settings.monitor_labels,
        spec={
            "selector": {"matchLabels": selector_labels("controller")},
            "endpoints": [
                {
                    "port": "metrics",
                    "path": "/metrics",
                    "interval": f"{seconds}s",
                    "scrapeTimeout": f"{seconds - 1}s",
                }
            ],
        },
    )


def prometheus_rule(fleet: Fleet) -> Object:
    """PrometheusRule `littleq`: see docs/metrics.md."""
    return make_object(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _RULES,
        fleet.settings.namespace,
        labels=fleet.settings.monitor_labels,
        spec={"groups": rule_groups(fleet.config)},
    )


def dashboard_map(fleet: Fleet) -> Object:
    """ConfigMap `littleq-dashboard`, with the label by which Grafana's sidecar finds it."""
    return make_object(
        "v1",
        "ConfigMap",
        _DASHBOARD,
        fleet.settings.namespace,
        labels={"grafana_dashboard": "1"},
        data={"littleq.json": dashboard_json()},
    )


def dashboard_json() -> str:
    """The dashboard, as Grafana imports it."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
