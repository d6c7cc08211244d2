"""Names, labels and metadata: what makes an object ours, and which pods it is about."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

#: A manifest, or a part of one.
Object = dict[str, Any]
Component = Literal["worker", "controller", "scaler"]

CONTROLLER, SCALER, EXPORTER, CONFIG = (
    "littleq-controller",
    "littleq-scaler",
    "littleq-exporter",
    "littleq-config",
)
WORKER: Final = "littleq-worker"
#: Secrets that the user makes: no manifest holds one.
BROKER_SECRET, API_SECRET, TLS_SECRET = "littleq-broker", "littleq-api", "littleq-scaler-tls"
NAME_LABEL, COMPONENT_LABEL = "app.kubernetes.io/name", "app.kubernetes.io/component"
QUEUE_LABEL: Final = "littleq-queue"

#: KEDA labels its HPA `keda-hpa-littleq-worker-<queue>`, and a label's value has 63 characters at most.
LONGEST_SLUG: Final = 63 - len(f"keda-hpa-{WORKER}-")
_HASH_LENGTH = 6


def queue_slug(queue: str) -> str:
    """A queue's name as Kubernetes allows it in a name: small letters, digits and dashes, at most 39.

    A name that has to be changed gets a few characters of its hash, so that two queues never share one and a new
    queue renames none.

    >>> queue_slug("realtime"), queue_slug("mail.Bulk"), queue_slug("mail_bulk")
    ('realtime', 'mail-bulk-f71fad', 'mail-bulk-f5ecf8')
    """
    slug = re.sub(r"[^a-z0-9]+", "-", queue.lower()).strip("-")
    if slug == queue and len(slug) <= LONGEST_SLUG:
        return slug
    mark = hashlib.sha256(queue.encode()).hexdigest()[:_HASH_LENGTH]
    kept = slug[: LONGEST_SLUG - _HASH_LENGTH - 1].rstrip("-")
    return f"{kept}-{mark}" if kept else mark


def worker_name(queue: str) -> str:
    """Name of all objects about the workers of a queue."""
    return f"{WORKER}-{queue_slug(queue)}"


def selector_labels(component: Component, queue: str | None = None) -> dict[str, str]:
    """The labels by which pods are selected: they never change."""
    labels = {NAME_LABEL: "littleq", COMPONENT_LABEL: component}
    return labels if queue is None else {**labels, QUEUE_LABEL: queue_slug(queue)}


def labels_of(component: str | None = None, queue: str | None = None) -> dict[str, str]:
    """All labels of an object."""
    labels = {NAME_LABEL: "littleq", "app.kubernetes.io/part-of": "littleq"}
    if component is not None:
        labels[COMPONENT_LABEL] = component
    return labels if queue is None else {**labels, QUEUE_LABEL: queue_slug(queue)}


def make_object(
    api_version: str,
    kind: str,
    name: str,
    namespace: str,
    *,
    component: str | None = None,
    queue: str | None = None,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **content: Any,
) -> Object:
    """An object with our labels.

    Args:
        queue: its exact name; the annotation has it, the label what Kubernetes allows.
        content: all but apiVersion, kind and metadata.
    """
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "labels": {**labels_of(component, queue), **(labels or {})},
    }
    notes = {**({QUEUE_LABEL: queue} if queue is not None else {}), **(annotations or {})}
    if notes:
        metadata["annotations"] = notes
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}
