"""How many pods a node that is drained may take at a time."""

from __future__ import annotations

from littleq.config import SLAQueueConfig
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import Component, Object, make_object, selector_labels, worker_name

#: From here on a budget can say that pods which are not ready do not count.
_UNREADY_SINCE = (1, 27)
#: Rounded up by Kubernetes, so that a lone worker does not hold up a drain for ever.
WORKERS_AT_A_TIME = "25%"


def worker_budget(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """A quarter of a queue's workers at a time: the decision replaces them meanwhile."""
    labels = selector_labels("worker", queue.name)
    return _budget(
        fleet, "worker", worker_name(queue.name), labels, queue.name, maxUnavailable=WORKERS_AT_A_TIME
    )


def pair_budget(fleet: Fleet, component: Component, name: str) -> Object:
    """One of the two stays."""
    return _budget(fleet, component, name, selector_labels(component), minAvailable=1)


def _budget(
    fleet: Fleet,
    component: Component,
    name: str,
    labels: dict[str, str],
    queue: str | None = None,
    **bound: int | str,
) -> Object:
    # While the broker is away no pod is ready, and nothing is lost if one goes: a drain must not wait for it.
    known = fleet.settings.kubernetes >= _UNREADY_SINCE
    policy = {"unhealthyPodEvictionPolicy": "AlwaysAllow"} if known else {}
    return make_object(
        "policy/v1",
        "PodDisruptionBudget",
        name,
        fleet.settings.namespace,
        component=component,
        queue=queue,
        spec={**bound, **policy, "selector": {"matchLabels": labels}},
    )
