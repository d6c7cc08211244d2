"""KEDA's ScaledObjects, with each of the three ways to learn the decision.

    keda                  Prometheus answers a query; needs nothing of ours but the metrics
    keda-metrics-api      KEDA asks the exporter itself: no Prometheus in between, so a scrape sooner
    keda-external-push    KEDA is told by gRPC: from none to one within a fraction of a second

A fourth, `keda-plain`, knows no decision: see `littleq.manifests.plain`.

All metrics are AverageValue with threshold 1: replicas = the decided number, rounded up. `Value` would multiply by the
pods that are ready.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from littleq.config import SLAQueueConfig
from littleq.manifests import sizing
from littleq.manifests.behavior import behavior
from littleq.manifests.control import EXPORTER_SERVICE_PORT, SCALER_PORT
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import (
    API_SECRET,
    EXPORTER,
    SCALER,
    TLS_SECRET,
    Object,
    make_object,
    worker_name,
)

#: KEDA asks three times in vain before it falls back.
FAILURES: Final = 3

Trigger = Callable[[Fleet, SLAQueueConfig], Object]


def prometheus_trigger(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """The decision by PromQL; see `littleq.monitoring.queries`."""
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": fleet.settings.prometheus_url,
            "query": fleet.query(queue),
            "threshold": "1",
            "activationThreshold": "0",
            # By default no answer counts as 0, and a lost series sends all workers away within seconds.
            "ignoreNullValues": "false",
        },
    }


def metrics_api_trigger(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """The decision from the exporter's JSON; null, when it is stale, is an error to KEDA, as it should be."""
    follows = fleet.settings.follows_every_change
    host = f"{EXPORTER}.{fleet.settings.namespace}.svc:{EXPORTER_SERVICE_PORT}"
    return {
        "type": "metrics-api",
        "metricType": "AverageValue",
        "metadata": {
            "url": f"http://{host}/api/v1/queues/{quote(queue.name, safe='')}/scaling",
            "format": "json",
            "valueLocation": "desired_workers" if follows else "desired_workers_stepped",
            "targetValue": "1",
            "activationTargetValue": "0",
            "authMode": "bearer",
        },
        "authenticationRef": {"name": API_SECRET},
    }


def external_push_trigger(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """The decision from `littleq scaler`, which pushes when a queue wakes."""
    gauge = {} if fleet.settings.follows_every_change else {"gauge": "stepped"}
    return {
        "type": "external-push",
        "metricType": "AverageValue",
        "metadata": {
            "scalerAddress": f"{SCALER}.{fleet.settings.namespace}.svc:{SCALER_PORT}",
            "queue": queue.name,
            **gauge,
        },
        "authenticationRef": {"name": SCALER},
    }


TRIGGERS: Final[dict[str, Trigger]] = {
    "keda": prometheus_trigger,
    "keda-metrics-api": metrics_api_trigger,
    "keda-external-push": external_push_trigger,
}


def scaled_object(fleet: Fleet, queue: SLAQueueConfig, trigger: Trigger) -> Object:
    """ScaledObject `littleq-worker-<queue>`. Never beside an HPA of your own: two would set one number."""
    fallback = sizing.fallback(queue)
    name = worker_name(queue.name)
    return make_object(
        "keda.sh/v1alpha1",
        "ScaledObject",
        name,
        fleet.settings.namespace,
        component="worker",
        queue=queue.name,
        annotations={"littleq-fallback": f"{sizing.workers_in_words(fallback.value)}, {fallback.reason}"},
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicaCount": queue.min_workers,
            "maxReplicaCount": queue.max_workers,
            "pollingInterval": sizing.POLLING_SECONDS,
            "cooldownPeriod": sizing.cooldown_seconds(queue),
            # Without an answer: what runs stays, or as many as the plan says, if those are more.
            "fallback": {
                "failureThreshold": FAILURES,
                "replicas": fallback.value,
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior(fleet, queue)}},
            "triggers": [trigger(fleet, queue)],
        },
    )


def api_authentication(fleet: Fleet) -> Object:
    """TriggerAuthentication `littleq-api`: the token of the JSON API."""
    return _authentication(fleet, API_SECRET, {"token": "token"}, API_SECRET)


def scaler_authentication(fleet: Fleet) -> Object:
    """TriggerAuthentication `littleq-scaler`: whom KEDA believes, and who it says it is."""
    keys = {"caCert": "ca.crt", "tlsClientCert": "tls.crt", "tlsClientKey": "tls.key"}
    return _authentication(fleet, SCALER, keys, TLS_SECRET)


def _authentication(fleet: Fleet, name: str, keys: dict[str, str], secret: str) -> Object:
    references = [{"parameter": parameter, "name": secret, "key": key} for parameter, key in keys.items()]
    return make_object(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        name,
        fleet.settings.namespace,
        spec={"secretTargetRef": references},
    )
