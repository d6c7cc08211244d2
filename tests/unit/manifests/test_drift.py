"""What differs is said, a line a field; what a server adds is not."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from littleq.manifests.drift import drifts
from littleq.manifests.writing import UnreadableError, from_yaml, to_yaml
from tests.clusters import BATCH, REALTIME, Object, find, objects

WANTED = objects("keda")


def there(change: Any = lambda documents: None, overlay: str = "keda") -> list[Object]:
    documents = copy.deepcopy(objects(overlay))
    change(documents)
    return documents


def lines(change: Any) -> list[str]:
    return list(drifts(WANTED, there(change)))


def scaler(documents: list[Object]) -> Object:
    return find(documents, "ScaledObject", "littleq-worker-realtime")["spec"]


def worker(documents: list[Object]) -> Object:
    return find(documents, "Deployment", "littleq-worker-realtime")["spec"]["template"]["spec"]


def as_a_server_has_it(documents: list[Object]) -> None:
    """What comes back from a cluster: more of everything, in the server's own spelling."""
    for each in documents:
        each["metadata"] |= {
            "uid": "0e1f",
            "resourceVersion": "812",
            "generation": 3,
            "creationTimestamp": "2026-11-24T10:00:00Z",
            "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
        }
        each["metadata"]["labels"]["argocd.argoproj.io/instance"] = "shop"
        each["metadata"].setdefault("annotations", {})["deployment.kubernetes.io/revision"] = "3"
        each["status"] = {"observedGeneration": 3}
        if each["kind"] == "NetworkPolicy" and each["spec"].get("ingress") == []:
            del each["spec"]["ingress"]
        if each["kind"] == "Deployment":
            each["spec"] |= {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10}
            each["spec"].setdefault("replicas", 7)
            spec = each["spec"]["template"]["spec"]
            spec |= {
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
            }
            spec["volumes"].insert(0, {"name": "injected", "emptyDir": {}})
            spec["containers"].insert(0, {"name": "sidecar", "image": "mesh:1"})
            ours = spec["containers"][1]
            ours["terminationMessagePath"] = "/dev/termination-log"
            ours["env"].insert(0, {"name": "INJECTED", "value": "1"})
            ours["livenessProbe"]["successThreshold"] = 1
            for port in ours.get("ports", []):
                port["protocol"] = "TCP"


def test_what_a_server_adds_is_no_drift() -> None:
    assert lines(as_a_server_has_it) == []


def test_a_list_as_kubectl_prints_it_is_taken_apart() -> None:
    text = to_yaml([{"apiVersion": "v1", "kind": "List", "items": there(as_a_server_has_it)}])
    assert list(drifts(WANTED, from_yaml(text, "stdin"))) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda d: scaler(d).update(maxReplicaCount=8),
            "ScaledObject littleq-worker-realtime spec.maxReplicaCount: 8 there, 40 wanted",
        ),
        (
            lambda d: scaler(d).pop("fallback"),
            "ScaledObject littleq-worker-realtime spec.fallback: not there, {",
        ),
        (
            lambda d: scaler(d)["triggers"][0]["metadata"].update(ignoreNullValues="true"),
            "ScaledObject littleq-worker-realtime spec.triggers[0].metadata.ignoreNullValues: true there, false wanted",
        ),
        (
            lambda d: scaler(d)["triggers"].append({"type": "cpu"}),
            "ScaledObject littleq-worker-realtime spec.triggers: ",
        ),
        (
            lambda d: worker(d)["containers"][0]["env"].pop(1),
            "Deployment littleq-worker-realtime spec.template.spec.containers[worker].env[LITTLEQ_URL]: not there, ",
        ),
        (
            lambda d: worker(d)["securityContext"].update(runAsNonRoot="true"),
            "Deployment littleq-worker-realtime spec.template.spec.securityContext.runAsNonRoot: ",
        ),
        (
            lambda d: find(d, "Deployment", "littleq-controller")["spec"].update(replicas=1),
            "Deployment littleq-controller spec.replicas: 1 there, 2 wanted",
        ),
        (
            lambda d: find(d, "NetworkPolicy", "littleq-worker")["spec"].update(ingress=[{}]),
            "NetworkPolicy littleq-worker spec.ingress: [{}] there, [] wanted",
        ),
        (
            lambda d: find(d, "Service", "littleq-exporter")["metadata"]["labels"].pop(
                "app.kubernetes.io/name"
            ),
            'Service littleq-exporter metadata.labels["app.kubernetes.io/name"]: not there, littleq wanted',
        ),
        (
            lambda d: d.remove(find(d, "PodDisruptionBudget", "littleq-controller")),
            "PodDisruptionBudget littleq-controller: not there",
        ),
        (
            lambda d: find(d, "Service", "littleq-exporter")["metadata"].update(namespace="other"),
            "Service littleq-exporter: not there",
        ),
    ],
)
def test_one_field_that_differs_is_one_line(change: Any, line: str) -> None:
    (found,) = lines(change)
    assert found.startswith(line)


def test_a_changed_setting_is_said_wherever_it_counts() -> None:
    old = there(lambda documents: None)
    wanted = objects("keda", replace(REALTIME, max_workers=41), BATCH)
    found = list(drifts(wanted, old))
    assert "ScaledObject littleq-worker-realtime spec.maxReplicaCount: 40 there, 41 wanted" in found
    toml = [line for line in found if line.startswith("ConfigMap littleq-config")]
    assert "max_workers = 40 there, max_workers = 41 wanted" in "".join(toml)


@pytest.mark.parametrize(
    ("cpu", "spelt", "same"),
    [("0.5", "500m", True), ("1", 1, True), ("500m", "501m", False), ("1", "1Gi", False)],
)
def test_quantities_are_compared_by_what_they_amount_to(cpu: str, spelt: Any, same: bool) -> None:
    wanted = objects("keda", cpu=cpu)
    documents = copy.deepcopy(wanted)
    for each in documents:
        if each["kind"] == "Deployment" and each["metadata"]["name"] != "littleq-controller":
            each["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = spelt
    assert (list(drifts(wanted, documents)) == []) is same


def test_an_object_without_a_namespace_is_taken_for_ours() -> None:
    def strip(documents: list[Object]) -> None:
        find(documents, "Service", "littleq-exporter")["metadata"].pop("namespace")

    assert lines(strip) == ["Service littleq-exporter metadata.namespace: not there, littleq wanted"]


def test_workers_of_a_queue_that_is_gone_are_said() -> None:
    found = set(drifts(objects("keda", REALTIME), there()))
    for kind in ("Deployment", "ScaledObject", "PodDisruptionBudget"):
        assert f"{kind} littleq-worker-batch: there, not wanted" in found


def test_an_hpa_beside_a_scaled_object_is_said() -> None:
    def add(documents: list[Object]) -> None:
        documents.append(find(objects("hpa"), "HorizontalPodAutoscaler", "littleq-worker-realtime"))

    assert lines(add) == ["HorizontalPodAutoscaler littleq-worker-realtime: there, not wanted"]


def test_what_is_not_ours_is_passed_over() -> None:
    def add(documents: list[Object]) -> None:
        documents.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}})
        documents.append(
            {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "keda-hpa-littleq-worker-realtime"}}
        )
        documents.append({"kind": "Odd", "metadata": "text"})

    assert lines(add) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [\n", r"stdin is not YAML \(line 2\)"),
        ("just text", "stdin holds 'just text', which is no object"),
        ("- a\n- b", "which is no object"),
        ("\x00", "stdin is not YAML"),
    ],
)
def test_what_is_no_manifest_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(UnreadableError, match=says):
        from_yaml(text, "stdin")


def test_nothing_is_nothing() -> None:
    assert from_yaml("# a comment\n---\n", "stdin") == []
