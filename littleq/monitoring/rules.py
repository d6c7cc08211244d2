"""The rules of Prometheus: recording rules and alerts, as a rules file or a PrometheusRule has them."""

from __future__ import annotations

from typing import Any

from littleq.config import Config
from littleq.monitoring.alerts import alerts_for
from littleq.monitoring.recording import QUICK_SECONDS, recording_groups


def rule_groups(config: Config) -> list[dict[str, Any]]:
    """The `groups` of a rules file, for one fleet whose exporters, one or several, one Prometheus scrapes.

    Known to hold with Prometheus 2.42 and later.
    """
    alerts = [alert.rule() for alert in alerts_for(config)]
    return [
        *recording_groups(),
        {"name": "littleq.alerts", "interval": f"{QUICK_SECONDS}s", "rules": alerts},
    ]
