"""All alerts, in the order of `docs/alerts.md`."""

from __future__ import annotations

from littleq.config import Config
from littleq.monitoring.alert import Alert
from littleq.monitoring.deciding import deciding_alerts
from littleq.monitoring.faults import fault_alerts
from littleq.monitoring.promise import promise_alerts


def alerts_for(config: Config) -> list[Alert]:
    """The alerts for a configuration.

    What depends on it: the age from which a decision is stale (`decide_seconds`), the names of the queues that are
    decided about, and how long workers may take to start. All else holds for every queue that is exported.
    """
    return [*promise_alerts(), *deciding_alerts(config), *fault_alerts()]
