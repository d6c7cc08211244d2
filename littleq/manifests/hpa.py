"""Without KEDA: a HorizontalPodAutoscaler a queue, and the rule by which prometheus-adapter serves its metric."""

from __future__ import annotations

from urllib.parse import urlsplit

from littleq.config import SLAQueueConfig
from littleq.manifests.behavior import behavior
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import Object, make_object, worker_name

_PORTS = {"http": 80, "https": 443}


def autoscaler(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """HorizontalPodAutoscaler `littleq-worker-<queue>`; it never goes below one worker."""
    name = worker_name(queue.name)
    metric = {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": "1"}}
    return make_object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        name,
        fleet.settings.namespace,
        component="worker",
        queue=queue.name,
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": max(1, queue.min_workers),
            "maxReplicas": queue.max_workers,
            "metrics": [{"type": "External", "external": metric}],
            "behavior": behavior(fleet, queue),
        },
    )


def adapter_values(fleet: Fleet) -> Object:
    """Values of the prometheus-adapter chart: an external metric a queue, by the very query that KEDA would ask.

    A metric a queue, not one for all with the queue as a label: a label of Kubernetes cannot hold every name that a
    queue may have. The metric has no namespace of its own (`namespaced: false`), so that the query stays as it is.
    An empty answer is an error to the HPA, which then leaves the replicas as they are.
    """
    address = urlsplit(fleet.settings.prometheus_url)
    rules = []
    for queue in fleet.scaled:
        query = fleet.query(queue)
        gauge = query[query.index("(") + 1 : query.index("}") + 1]
        rules.append(
            {
                "seriesQuery": gauge,
                "resources": {"namespaced": False},
                "name": {"as": worker_name(queue.name)},
                "metricsQuery": query,
            }
        )
    return {
        "prometheus": {
            "url": f"{address.scheme}://{address.hostname}",
            "port": address.port or _PORTS.get(address.scheme, 9090),
            "path": address.path,
        },
        "rules": {"external": rules},
    }
