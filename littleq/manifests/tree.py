"""All that is rendered, by file: a kustomize base, its overlays, and each overlay once more as a single file.

    base/                 everything but what scales the workers
    overlays/<name>/      base and what scales it; `monitoring` holds its own objects only, and goes beside one
    <name>.yaml           what `kubectl kustomize overlays/<name>` builds, for `kubectl apply -f`
    redis.yaml            a Redis to try it with

Nothing of kustomize is used but lists of files, and `bases`, the older word for folders among the resources: a kubectl
of 2020 has no other, and those of today still read it (with a warning).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from littleq.manifests import (
    access,
    configuration,
    control,
    disruption,
    hpa,
    network,
    plain,
    scaledobjects,
    trial,
    watching,
)
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import CONTROLLER, SCALER, Object, queue_slug
from littleq.manifests.workers import worker_deployment
from littleq.manifests.writing import to_yaml

_BY: Final = "Written by `littleq manifests`: change littleq.toml, not this file."
KUSTOMIZATION: Final = "kustomization.yaml"


class File(NamedTuple):
    """What one file holds.

    Attributes:
        says: what it is about, in its first line.
    """

    says: str
    documents: list[Any]

    @property
    def text(self) -> str:
        return to_yaml(self.documents, f"{self.says} {_BY}")


#: Files by their names in one folder.
Folder = dict[str, File]


def base(fleet: Fleet) -> Folder:
    """The fleet without what scales it."""
    accounts = [
        access.service_account(fleet, name) for name in (access.WORKER_ACCOUNT, access.CONTROLLER_ACCOUNT)
    ]
    folder = {
        "access.yaml": File(
            "Who the pods are, and what they may ask of the API server.",
            [*accounts, *access.controller_rights(fleet)],
        ),
        "config.yaml": File("The settings in force, without secrets.", [configuration.config_map(fleet)]),
        "controller.yaml": File(
            "Who decides, and serves the numbers.",
            [
                control.exporter_service(fleet),
                control.controller_deployment(fleet),
                disruption.pair_budget(fleet, "controller", CONTROLLER),
            ],
        ),
    }
    for queue in fleet.queues:
        folder[f"worker-{queue_slug(queue.name)}.yaml"] = File(
            f"The workers of queue {queue.name}.",
            [worker_deployment(fleet, queue), disruption.worker_budget(fleet, queue)],
        )
    folder["network.yaml"] = File(
        "Who may connect to whom.", [network.worker_policy(fleet), network.controller_policy(fleet)]
    )
    return folder


def _keda(fleet: Fleet, overlay: str = "keda") -> Folder:
    trigger = scaledobjects.TRIGGERS[overlay]
    made = [scaledobjects.scaled_object(fleet, queue, trigger) for queue in fleet.scaled]
    return {"scaledobjects.yaml": File("KEDA sets the workers of each queue to the decision.", made)}


def _keda_metrics_api(fleet: Fleet) -> Folder:
    authentication = File(
        "The token of the JSON API, from Secret littleq-api.", [scaledobjects.api_authentication(fleet)]
    )
    return {"authentication.yaml": authentication, **_keda(fleet, "keda-metrics-api")}


def _keda_external_push(fleet: Fleet) -> Folder:
    scaler = [
        access.service_account(fleet, access.SCALER_ACCOUNT),
        control.scaler_service(fleet),
        control.scaler_deployment(fleet),
        disruption.pair_budget(fleet, "scaler", SCALER),
        network.scaler_policy(fleet),
    ]
    return {
        "authentication.yaml": File(
            "Certificates for both sides, from Secret littleq-scaler-tls.",
            [scaledobjects.scaler_authentication(fleet)],
        ),
        "scaler.yaml": File("The external scaler, which KEDA asks by gRPC.", scaler),
        **_keda(fleet, "keda-external-push"),
    }


def _keda_plain(fleet: Fleet) -> Folder:
    folder = {}
    if plain.needs_authentication(fleet.config):
        folder["authentication.yaml"] = File(
            "How KEDA gets at the broker: Secret littleq-broker, or who the pods are at the cloud.",
            [plain.authentication(fleet)],
        )
    made = [plain.scaled_object(fleet, queue) for queue in fleet.scaled]
    return {
        **folder,
        "scaledobjects.yaml": File("KEDA sets the workers by the jobs that it sees itself.", made),
    }


def _hpa(fleet: Fleet) -> Folder:
    made = [hpa.autoscaler(fleet, queue) for queue in fleet.scaled]
    return {"autoscalers.yaml": File("An HPA sets the workers of each queue to the decision.", made)}


def _monitoring(fleet: Fleet) -> Folder:
    return {
        "servicemonitor.yaml": File(
            "Prometheus scrapes both controllers.", [watching.service_monitor(fleet)]
        ),
        "prometheusrule.yaml": File("Recording rules and alerts.", [watching.prometheus_rule(fleet)]),
        "dashboard.yaml": File("Grafana's dashboard.", [watching.dashboard_map(fleet)]),
    }


_OVERLAYS: Final[dict[str, Callable[[Fleet], Folder]]] = {
    "keda": _keda,
    "keda-metrics-api": _keda_metrics_api,
    "keda-external-push": _keda_external_push,
    "keda-plain": _keda_plain,
    "hpa": _hpa,
    "monitoring": _monitoring,
}
_WITHOUT_BASE: Final = ("monitoring",)
REDIS: Final = "redis"
#: Names of what can be rendered as one file.
OVERLAYS: Final = (*_OVERLAYS, REDIS)
#: A file of overlay `hpa` that is for Helm, not for kubectl.
ADAPTER_VALUES: Final = "prometheus-adapter-values.yaml"


def rendered(fleet: Fleet, overlay: str) -> File:
    """An overlay with its base as one file; also `redis`.

    Raises:
        KeyError: there is no such overlay.
    """
    if overlay == REDIS:
        return File("A Redis to try it with, not for production.", trial.redis(fleet))
    folders = [_OVERLAYS[overlay](fleet)]
    if overlay not in _WITHOUT_BASE:
        folders.insert(0, base(fleet))
    documents = [document for folder in folders for file in folder.values() for document in file.documents]
    return File(f"All of overlay {overlay}.", documents)


def tree(fleet: Fleet) -> dict[str, File]:
    """All files, by their paths below the folder."""
    files = dict(_folder("base", base(fleet), bases=()))
    for name, make in _OVERLAYS.items():
        bases = () if name in _WITHOUT_BASE else ("../../base",)
        files |= _folder(f"overlays/{name}", make(fleet), bases=bases)
    files[f"overlays/hpa/{ADAPTER_VALUES}"] = File(
        "Values of the prometheus-adapter chart: helm upgrade --install … --values this file.",
        [hpa.adapter_values(fleet)],
    )
    for name in OVERLAYS:
        files[f"{name}.yaml"] = rendered(fleet, name)
    return files


def _folder(path: str, folder: Mapping[str, File], *, bases: Iterable[str]) -> Iterator[tuple[str, File]]:
    kustomization: Object = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    if bases:
        kustomization["bases"] = list(bases)
    kustomization["resources"] = list(folder)
    yield f"{path}/{KUSTOMIZATION}", File(f"For kubectl apply -k {path}.", [kustomization])
    for name, file in folder.items():
        yield f"{path}/{name}", file


def is_of_a_worker(path: str) -> bool:
    """Whether a path of the tree is about the workers of one queue, which may be gone from the configuration."""
    return path.startswith("base/worker-") and path.endswith(".yaml")
