"""Fleets to render, and a way to find one object among the rendered ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from littleq.config import Config, SLAQueueConfig
from littleq.manifests import Fleet, Settings
from littleq.manifests.tree import rendered

Object = dict[str, Any]
REALTIME = SLAQueueConfig(
    "realtime", arrival_rate=20, sla_seconds=1, service_time_seconds=0.2, min_workers=1, max_workers=40
)
BATCH = SLAQueueConfig("batch", sla_seconds=600, max_workers=4)
KEDA = ("keda", "keda-metrics-api", "keda-external-push")


def make_fleet(*queues: SLAQueueConfig, **settings: Any) -> Fleet:
    """A fleet with these queues (default: realtime and batch) in a cluster with these settings."""
    chosen = queues or (REALTIME, BATCH)
    made = Settings(**{"image": "shop:1.4", **settings})
    return Fleet(Config(queues={queue.name: queue for queue in chosen}), made)


def objects(overlay: str, *queues: SLAQueueConfig, **settings: Any) -> list[Object]:
    """What an overlay of such a fleet holds."""
    return rendered(make_fleet(*queues, **settings), overlay).documents


def find(documents: Iterable[Object], kind: str, name: str) -> Object:
    """The one object of that kind and name."""
    (found,) = (each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def kinds(documents: Iterable[Object]) -> set[str]:
    return {each["kind"] for each in documents}


def pod_specs(documents: Iterable[Object]) -> dict[str, Object]:
    """The specs of all pods, by the name of what makes them."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in documents
        if each["kind"] in ("Deployment", "StatefulSet")
    }


def variables(spec: Object) -> dict[str, Any]:
    """The variables of a pod's only container: a text, or where it comes from."""
    (container,) = spec["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
