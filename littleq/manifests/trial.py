"""A Redis to try it with: one pod that writes every command to a disk. Take a managed or replicated one in earnest."""

from __future__ import annotations

from typing import Final

from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import Object, make_object
from littleq.manifests.pods import container_security, pod_security

REDIS: Final = "redis"
IMAGE: Final = "redis:7.4"
_PORT = 6379
#: The user `redis` of that image.
_USER = 999
_LABELS = {"app.kubernetes.io/name": REDIS}


def redis(fleet: Fleet) -> list[Object]:
    """Service, StatefulSet and NetworkPolicy `redis`; LITTLEQ_URL is redis://redis:6379 then."""
    labels = {**_LABELS, "app.kubernetes.io/part-of": "littleq"}

    def make(api_version: str, kind: str, spec: Object) -> Object:
        made = make_object(api_version, kind, REDIS, fleet.settings.namespace, spec=spec)
        made["metadata"]["labels"] = labels
        return made

    ports = [{"name": "redis", "port": _PORT, "targetPort": "redis"}]
    return [
        make("v1", "Service", {"selector": _LABELS, "ports": ports}),
        make("apps/v1", "StatefulSet", _stateful_set(labels)),
        make("networking.k8s.io/v1", "NetworkPolicy", _policy()),
    ]


def _stateful_set(labels: dict[str, str]) -> Object:
    probe = {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 5, "timeoutSeconds": 3}
    program = {
        "name": "redis",
        "image": IMAGE,
        # noeviction, Redis' own default, said out loud: with any other policy a full server drops jobs.
        "command": [
            *("redis-server", "--dir", "/data", "--appendonly", "yes", "--maxmemory-policy", "noeviction"),
        ],
        "ports": [{"name": "redis", "containerPort": _PORT}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": probe,
        "livenessProbe": {**probe, "failureThreshold": 6},
        "securityContext": container_security(),
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "serviceName": REDIS,
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "automountServiceAccountToken": False,
                "securityContext": pod_security(_USER),
                "containers": [program],
            },
        },
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }


def _policy() -> Object:
    """From its own namespace only: it has no password."""
    return {
        "podSelector": {"matchLabels": _LABELS},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": _PORT}]}],
        "egress": [],
    }
