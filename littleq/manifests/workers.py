"""The workers: a Deployment a queue, one process with its threads in a pod, as the decisions count them."""

from __future__ import annotations

from littleq.config import SLAQueueConfig
from littleq.manifests import sizing
from littleq.manifests.access import WORKER_ACCOUNT
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import Object, make_object, selector_labels, worker_name
from littleq.manifests.pods import ALIVE, container, exec_probe, liveness, pod_template, readiness, resources

_STARTUP_PROBE_SECONDS = 5


def worker_deployment(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """Deployment `littleq-worker-<queue>`.

    Without `replicas` where the queue is scaled: an apply would set them back to what is written here.
    """
    grace = sizing.grace(queue, fleet.settings)
    notes = {"littleq-grace": f"{grace.value} s, {grace.reason}"}
    replicas = {}
    if not queue.autoscale:
        fixed = max(1, queue.min_workers)
        replicas = {"replicas": fixed}
        notes["littleq-replicas"] = f"{fixed}, for autoscale is false"
    command = [
        *("littleq", "worker", "--queue", queue.name),
        *("--concurrency", str(queue.threads_per_worker), "--grace", f"{grace.value}s"),
        *fleet.settings.modules,
    ]
    return make_object(
        "apps/v1",
        "Deployment",
        worker_name(queue.name),
        fleet.settings.namespace,
        component="worker",
        queue=queue.name,
        annotations=notes,
        spec={
            **replicas,
            # A new pod works before an old one goes: a deploy takes nothing from the service level.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "selector": {"matchLabels": selector_labels("worker", queue.name)},
            "template": pod_template(
                fleet,
                "worker",
                _container(fleet, queue, command),
                service_account=WORKER_ACCOUNT,
                grace_period=grace.value + sizing.STOP_MARGIN_SECONDS,
                queue=queue.name,
            ),
        },
    )


def _container(fleet: Fleet, queue: SLAQueueConfig, command: list[str]) -> Object:
    failures = -(-sizing.startup_limit_seconds(queue) // _STARTUP_PROBE_SECONDS)
    return container(
        fleet,
        "worker",
        command,
        # The controllers serve the fleet's metrics; a worker would serve the same page once more.
        env=[{"name": "LITTLEQ_EXPORTER_ENABLED", "value": "false"}],
        resources=resources(fleet.settings.cpu, fleet.settings.memory),
        startupProbe=exec_probe(ALIVE, period=_STARTUP_PROBE_SECONDS, failures=failures),
        readinessProbe=readiness(),
        livenessProbe=liveness(),
    )
