"""What all pods share: an unprivileged user, file systems that cannot be written but /tmp, variables, probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from littleq.manifests.configuration import checksum
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import (
    API_SECRET,
    BROKER_SECRET,
    CONFIG,
    QUEUE_LABEL,
    Component,
    Object,
    labels_of,
)

#: The user and group that the image has.
USER: Final = 10001
CONFIG_FOLDER: Final = "/etc/littleq"
#: A probe starts an interpreter: on a busy node that takes its time.
PROBE_TIMEOUT_SECONDS: Final = 10

READY, ALIVE = ["littleq", "health"], ["littleq", "health", "--live"]


def pod_template(
    fleet: Fleet,
    component: Component,
    container: Object,
    *,
    service_account: str,
    grace_period: int,
    queue: str | None = None,
    token: bool = False,
    volumes: Sequence[Object] = (),
    **spec: Any,
) -> Object:
    """The template of a Deployment.

    Args:
        queue: its exact name.
        token: whether its processes may ask the API server.
        spec: more fields of the pod's spec.
    """
    # The checksum changes with the configuration, and so rolls the pods: a mounted ConfigMap is read only at the start.
    annotations = {"littleq-config-sha256": checksum(fleet.config)}
    if queue is not None:
        annotations[QUEUE_LABEL] = queue
    return {
        "metadata": {"labels": labels_of(component, queue), "annotations": annotations},
        "spec": {
            "serviceAccountName": service_account,
            "automountServiceAccountToken": token,
            "terminationGracePeriodSeconds": grace_period,
            # Else Kubernetes adds variables for each Service, and those of Service littleq-exporter look like
            # settings: LITTLEQ_EXPORTER_PORT=tcp://… is passed over, but nobody should have to wonder.
            "enableServiceLinks": False,
            "securityContext": pod_security(USER),
            **spec,
            "containers": [container],
            "volumes": [
                {"name": "config", "configMap": {"name": CONFIG}},
                {"name": "tmp", "emptyDir": {}},
                *volumes,
            ],
        },
    }


def container(
    fleet: Fleet,
    name: str,
    command: Sequence[str],
    *,
    env: Sequence[Object] = (),
    mounts: Sequence[Object] = (),
    **fields: Any,
) -> Object:
    """Our image with a command of `littleq`, its configuration and the URLs of the Secret."""
    return {
        "name": name,
        "image": fleet.settings.image,
        "imagePullPolicy": "IfNotPresent",
        # `command`, not `args`: whatever entry point an image of the user's own has.
        "command": list(command),
        "env": [
            {"name": "LITTLEQ_CONFIG", "value": f"{CONFIG_FOLDER}/littleq.toml"},
            from_secret("LITTLEQ_URL", BROKER_SECRET, "url"),
            # A broker that keeps no ledger needs one beside it: a pod without it would decide on what it knows alone.
            from_secret("LITTLEQ_LEDGER_URL", BROKER_SECRET, "ledger_url", optional=not fleet.needs_ledger),
            *env,
        ],
        **fields,
        # `littleq worker` says there why it ended; whoever cannot any more has its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod's own
            *mounts,
        ],
    }


def from_secret(variable: str, secret: str, key: str, *, optional: bool = False) -> Object:
    """A variable whose value stands in a Secret; without an optional one it is not set."""
    reference: Object = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


def exporter_token() -> Object:
    """The token of the JSON API, where the Secret has one."""
    return from_secret("LITTLEQ_EXPORTER_TOKEN", API_SECRET, "token", optional=True)


def pod_security(user: int) -> Object:
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(cpu: str, memory: str) -> Object:
    """A request, and a limit of the memory alone: a container that is throttled misses its probes and its SLA."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def exec_probe(command: Sequence[str], *, period: int, failures: int) -> Object:
    """A probe that runs a command in the container."""
    return {
        "exec": {"command": list(command)},
        "periodSeconds": period,
        "timeoutSeconds": PROBE_TIMEOUT_SECONDS,
        "failureThreshold": failures,
    }


def readiness() -> Object:
    return exec_probe(READY, period=15, failures=2)


def liveness() -> Object:
    """A minute and a half: a restart takes the running jobs along, so it wants to be sure."""
    return exec_probe(ALIVE, period=30, failures=3)
