"""Who decides and who tells: the controller's Deployment, the Service of its exporter, and the external scaler."""

from __future__ import annotations

from typing import Final

from littleq.manifests.access import CONTROLLER_ACCOUNT, SCALER_ACCOUNT
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import (
    CONTROLLER,
    EXPORTER,
    SCALER,
    TLS_SECRET,
    Component,
    Object,
    make_object,
    selector_labels,
)
from littleq.manifests.pods import (
    container,
    exporter_token,
    liveness,
    pod_template,
    readiness,
    resources,
)

#: One decides, by a lease in the ledger; the other takes over, and serves the same numbers meanwhile.
REPLICAS: Final = 2
EXPORTER_SERVICE_PORT: Final = 9191
SCALER_PORT: Final = 6000
#: A decision that has begun gets 10 s (`littleq controller`); before it, `_LEAVING_SECONDS`; the rest is margin.
_GRACE_PERIOD_SECONDS = 30
#: So long a pod that is to go still answers, until all nodes have heard that its Service goes elsewhere.
_LEAVING_SECONDS = 5
#: Scheduler, worker of the control queue and exporter are a process each, beside the one that watches them.
_CONTROLLER_RESOURCES = ("100m", "384Mi")
_SCALER_RESOURCES = ("50m", "128Mi")
_TLS_FOLDER = "/etc/littleq-tls"


def controller_deployment(fleet: Fleet) -> Object:
    """Deployment `littleq-controller`."""
    env = [
        {"name": "LITTLEQ_EXPORTER_ENABLED", "value": "true"},
        {"name": "LITTLEQ_EXPORTER_HOST", "value": "0.0.0.0"},  # noqa: S104 - reached through its Service
        exporter_token(),
    ]
    if fleet.deletion_cost:
        namespace = {"fieldRef": {"fieldPath": "metadata.namespace"}}
        env += [
            {"name": "LITTLEQ_POD_DELETION_COST", "value": "true"},
            {"name": "LITTLEQ_POD_NAMESPACE", "valueFrom": namespace},
        ]
    program = container(
        fleet,
        "controller",
        ["littleq", "controller"],
        env=env,
        ports=[{"name": "metrics", "containerPort": fleet.exporter_port}],
        resources=resources(*_CONTROLLER_RESOURCES),
        startupProbe={
            "httpGet": {"path": "/healthz", "port": "metrics"},
            "periodSeconds": 2,
            "failureThreshold": 60,
        },
        readinessProbe=readiness(),
        livenessProbe=liveness(),
        lifecycle=_leaving(),
    )
    return _pair(fleet, "controller", CONTROLLER, CONTROLLER_ACCOUNT, program, token=fleet.deletion_cost)


def exporter_service(fleet: Fleet) -> Object:
    """Service `littleq-exporter`: /metrics and the JSON API, from either controller."""
    return make_object(
        "v1",
        "Service",
        EXPORTER,
        fleet.settings.namespace,
        component="controller",
        spec={
            "selector": selector_labels("controller"),
            "ports": [{"name": "metrics", "port": EXPORTER_SERVICE_PORT, "targetPort": "metrics"}],
        },
    )


def scaler_deployment(fleet: Fleet) -> Object:
    """Deployment `littleq-scaler`: KEDA's external scaler, over TLS in both directions."""
    program = container(
        fleet,
        "scaler",
        [
            *("littleq", "scaler", "--host", "0.0.0.0", "--port", str(SCALER_PORT)),  # noqa: S104
            *("--tls-cert", f"{_TLS_FOLDER}/tls.crt", "--tls-key", f"{_TLS_FOLDER}/tls.key"),
            *("--client-ca", f"{_TLS_FOLDER}/ca.crt"),
        ],
        env=[{"name": "LITTLEQ_EXPORTER_ENABLED", "value": "false"}],
        mounts=[{"name": "tls", "mountPath": _TLS_FOLDER, "readOnly": True}],
        ports=[{"name": "grpc", "containerPort": SCALER_PORT}],
        resources=resources(*_SCALER_RESOURCES),
        # A connection is all that a probe may know here: what is behind it is for KEDA, with a certificate.
        readinessProbe={"tcpSocket": {"port": "grpc"}, "periodSeconds": 5},
        livenessProbe={"tcpSocket": {"port": "grpc"}, "periodSeconds": 10, "failureThreshold": 6},
        lifecycle=_leaving(),
    )
    # Group-readable, for the user that all of it runs as.
    tls = {"name": "tls", "secret": {"secretName": TLS_SECRET, "defaultMode": 0o440}}
    return _pair(fleet, "scaler", SCALER, SCALER_ACCOUNT, program, volumes=[tls])


def scaler_service(fleet: Fleet) -> Object:
    """Service `littleq-scaler`."""
    return make_object(
        "v1",
        "Service",
        SCALER,
        fleet.settings.namespace,
        component="scaler",
        spec={
            "selector": selector_labels("scaler"),
            "ports": [{"name": "grpc", "port": SCALER_PORT, "targetPort": "grpc"}],
        },
    )


def _leaving() -> Object:
    return {"preStop": {"exec": {"command": ["sleep", str(_LEAVING_SECONDS)]}}}


def _pair(
    fleet: Fleet,
    component: Component,
    name: str,
    account: str,
    program: Object,
    *,
    token: bool = False,
    volumes: list[Object] | None = None,
) -> Object:
    """Two pods of the same, on different nodes if there are any."""
    labels = selector_labels(component)
    return make_object(
        "apps/v1",
        "Deployment",
        name,
        fleet.settings.namespace,
        component=component,
        spec={
            "replicas": REPLICAS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": pod_template(
                fleet,
                component,
                program,
                service_account=account,
                grace_period=_GRACE_PERIOD_SECONDS,
                token=token,
                volumes=volumes or (),
                topologySpreadConstraints=[
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": labels},
                    }
                ],
            ),
        },
    )
