"""Rights, network, disruption and monitoring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from littleq.config import Config
from littleq.manifests import Fleet, Settings
from littleq.manifests.ports import broker_ports
from littleq.manifests.tree import rendered
from tests.clusters import BATCH, KEDA, REALTIME, find, kinds, objects, pod_specs, variables

OURS = [*KEDA, "hpa"]


@pytest.mark.parametrize("overlay", OURS)
def test_nobody_has_a_right_unless_it_is_asked_for(overlay: str) -> None:
    documents = objects(overlay)
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & kinds(documents)
    accounts = [each for each in documents if each["kind"] == "ServiceAccount"]
    assert accounts and all(each["automountServiceAccountToken"] is False for each in accounts)


@pytest.mark.parametrize("overlay", OURS)
def test_every_pod_has_an_account_that_is_rendered(overlay: str) -> None:
    documents = objects(overlay)
    for spec in pod_specs(documents).values():
        find(documents, "ServiceAccount", spec["serviceAccountName"])
        assert spec["serviceAccountName"] != "default"


def test_the_cost_of_deletion_takes_rights_on_pods_for_the_controller_alone() -> None:
    documents = objects("keda", deletion_cost=True, namespace="shop")
    (rule,) = find(documents, "Role", "littleq-controller")["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]}
    binding = find(documents, "RoleBinding", "littleq-controller")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "littleq-controller", "namespace": "shop"}
    ]
    assert binding["roleRef"]["name"] == "littleq-controller"
    specs = pod_specs(documents)
    tokens = {name: spec["automountServiceAccountToken"] for name, spec in specs.items()}
    assert tokens == {
        "littleq-controller": True,
        "littleq-worker-realtime": False,
        "littleq-worker-batch": False,
    }
    found = variables(specs["littleq-controller"])
    assert found["LITTLEQ_POD_DELETION_COST"] == "true"
    assert found["LITTLEQ_POD_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_the_cost_of_deletion_may_be_asked_for_in_the_configuration() -> None:
    config = Config(queues={"realtime": REALTIME}, pod_deletion_cost=True)
    documents = rendered(Fleet(config, Settings("shop:1")), "keda").documents
    assert "Role" in kinds(documents)
    assert "pod_" not in find(documents, "ConfigMap", "littleq-config")["data"]["littleq.toml"]


def ports(rules: list[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(each["protocol"], each["port"]) for rule in rules for each in rule["ports"]}


DNS = {("UDP", 53), ("TCP", 53)}


def test_nobody_connects_to_a_worker_and_a_worker_to_whom_its_jobs_need() -> None:
    spec = find(objects("keda"), "NetworkPolicy", "littleq-worker")["spec"]
    assert (spec["policyTypes"], spec["ingress"]) == (["Ingress"], [])


def test_a_controller_is_asked_for_metrics_and_asks_dns_and_the_broker() -> None:
    spec = find(objects("keda", broker_ports=(6380,)), "NetworkPolicy", "littleq-controller")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert ports(spec["ingress"]) == {("TCP", 9191)}
    assert ports(spec["egress"]) == DNS | {("TCP", 6380)}


def test_a_controller_reaches_the_api_server_only_if_it_must() -> None:
    spec = find(objects("keda", deletion_cost=True), "NetworkPolicy", "littleq-controller")["spec"]
    assert ports(spec["egress"]) == DNS | {("TCP", 6379), ("TCP", 443), ("TCP", 6443)}


def test_the_policy_is_about_the_port_that_the_exporter_has() -> None:
    config = Config(queues={"realtime": REALTIME}, exporter_port=9300)
    documents = rendered(Fleet(config, Settings("shop:1")), "keda").documents
    assert ports(find(documents, "NetworkPolicy", "littleq-controller")["spec"]["ingress"]) == {("TCP", 9300)}


def test_the_scaler_is_asked_by_grpc() -> None:
    spec = find(objects("keda-external-push"), "NetworkPolicy", "littleq-scaler")["spec"]
    assert ports(spec["ingress"]) == {("TCP", 6000)}
    assert ports(spec["egress"]) == DNS | {("TCP", 6379)}


@pytest.mark.parametrize("overlay", [*OURS, "redis"])
def test_every_pod_is_under_a_policy(overlay: str) -> None:
    documents = objects(overlay)
    selectors = [
        each["spec"]["podSelector"]["matchLabels"].items()
        for each in documents
        if each["kind"] == "NetworkPolicy"
    ]
    for each in documents:
        if each["kind"] in ("Deployment", "StatefulSet"):
            labels = each["spec"]["template"]["metadata"]["labels"].items()
            assert sum(selector <= labels for selector in selectors) == 1, each["metadata"]["name"]


def test_the_redis_is_for_its_own_namespace_since_it_has_no_password() -> None:
    spec = find(objects("redis"), "NetworkPolicy", "redis")["spec"]
    assert spec["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 6379}]}]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("embedded://", (6379,)),
        ("stub://", (6379,)),
        ("unix:///run/redis.sock", (6379,)),
        ("redis://db", (6379,)),
        ("rediss://me:p:1@db.example:6390/0", (6390,)),
        ("redis://[::1]:7000", (7000,)),
        ("redis://[::1]", (6379,)),
        ("redis+sentinel://a:26380,b/main", (6379, 26379, 26380)),
    ],
)
def test_the_brokers_port_is_that_of_its_url(url: str, expected: tuple[int, ...]) -> None:
    assert broker_ports(Config(url=url)) == expected


def test_a_drain_leaves_one_controller_and_three_of_four_workers() -> None:
    documents = objects("keda-external-push")
    for name in ("littleq-controller", "littleq-scaler"):
        assert find(documents, "PodDisruptionBudget", name)["spec"]["minAvailable"] == 1
    spec = find(documents, "PodDisruptionBudget", "littleq-worker-batch")["spec"]
    assert spec["maxUnavailable"] == "25%"  # rounded up: a lone worker does not hold up a drain
    deployment = find(documents, "Deployment", "littleq-worker-batch")
    assert spec["selector"] == deployment["spec"]["selector"]


@pytest.mark.parametrize(("version", "policy"), [((1, 27), "AlwaysAllow"), ((1, 26), None)])
def test_a_drain_does_not_wait_for_a_broker_that_is_away(
    version: tuple[int, int], policy: str | None
) -> None:
    """Without a broker no pod is ready, and a budget would keep them all."""
    documents = objects("keda", kubernetes=version)
    for each in documents:
        if each["kind"] == "PodDisruptionBudget":
            assert each["spec"].get("unhealthyPodEvictionPolicy") == policy


@pytest.mark.parametrize("overlay", [*OURS, "monitoring", "redis"])
def test_every_object_is_in_the_namespace_that_was_given(overlay: str) -> None:
    assert {each["metadata"]["namespace"] for each in objects(overlay, namespace="shop")} == {"shop"}


def test_prometheus_scrapes_the_exporters_service_as_often_as_there_are_decisions() -> None:
    monitor = find(
        objects("monitoring", monitor_labels={"release": "prom"}), "ServiceMonitor", "littleq-exporter"
    )
    service = find(objects("keda"), "Service", "littleq-exporter")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("5s", "4s")
    assert monitor["metadata"]["labels"]["release"] == "prom"


def test_monitoring_holds_its_own_objects_only_so_that_it_goes_beside_an_overlay() -> None:
    assert kinds(objects("monitoring")) == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    names = {each["metadata"]["name"] for each in objects("monitoring") if each["kind"] == "ConfigMap"}
    assert names == {"littleq-dashboard"}


def test_rules_and_dashboard_are_those_of_littleq_monitoring() -> None:
    import json

    from littleq.monitoring.dashboard import dashboard
    from littleq.monitoring.rules import rule_groups

    documents = objects("monitoring")
    config = Config(queues={"realtime": REALTIME, "batch": BATCH})
    assert find(documents, "PrometheusRule", "littleq")["spec"]["groups"] == rule_groups(config)
    shown = find(documents, "ConfigMap", "littleq-dashboard")
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(shown["data"]["littleq.json"]) == dashboard()


def test_a_pod_tells_its_queue_by_label_and_by_its_exact_name() -> None:
    queue = replace(BATCH, name="Mail.bulk")
    (deployment,) = (
        each
        for each in objects("keda", queue)
        if each["kind"] == "Deployment" and each["metadata"]["name"].startswith("littleq-worker-")
    )
    metadata = deployment["spec"]["template"]["metadata"]
    assert metadata["annotations"]["littleq-queue"] == "Mail.bulk"
    assert metadata["labels"]["littleq-queue"] == deployment["metadata"]["name"].removeprefix(
        "littleq-worker-"
    )
