"""Who may connect to whom. It takes a network plugin that enforces NetworkPolicies; without one this does nothing.

Our own pods may connect to DNS, the broker and, if they must, the API server. What jobs connect to is the app's to
say, so workers are free to; but nobody may connect to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from littleq.manifests.control import SCALER_PORT
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import (
    CONTROLLER,
    SCALER,
    WORKER,
    Component,
    Object,
    make_object,
    selector_labels,
)

_DNS_PORT = 53
#: Of the Service, and behind it.
_API_SERVER_PORTS = (443, 6443)


def worker_policy(fleet: Fleet) -> Object:
    """Nobody connects to a worker."""
    return _policy(fleet, "worker", WORKER, policyTypes=["Ingress"], ingress=[])


def controller_policy(fleet: Fleet) -> Object:
    """Metrics for whoever is in the cluster."""
    ports = list(fleet.settings.broker_ports)
    if fleet.deletion_cost:
        ports += _API_SERVER_PORTS
    return _own(fleet, "controller", CONTROLLER, fleet.exporter_port, ports)


def scaler_policy(fleet: Fleet) -> Object:
    """gRPC for whoever is in the cluster and has a certificate."""
    return _own(fleet, "scaler", SCALER, SCALER_PORT, fleet.settings.broker_ports)


def _own(fleet: Fleet, component: Component, name: str, served: int, asked: Sequence[int]) -> Object:
    dns = [{"protocol": protocol, "port": _DNS_PORT} for protocol in ("UDP", "TCP")]
    servers = [{"protocol": "TCP", "port": port} for port in dict.fromkeys(asked)]
    return _policy(
        fleet,
        component,
        name,
        policyTypes=["Ingress", "Egress"],
        # Any namespace: Prometheus and KEDA have theirs, and nobody here knows which.
        ingress=[{"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": served}]}],
        egress=[{"ports": dns}, {"ports": servers}],
    )


def _policy(fleet: Fleet, component: Component, name: str, **spec: object) -> Object:
    return make_object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        fleet.settings.namespace,
        component=component,
        spec={"podSelector": {"matchLabels": selector_labels(component)}, **spec},
    )
