"""Workers, controllers and the scaler as pods."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import click
import pytest

from littleq.cli.root import cli
from littleq.config import Config
from littleq.config.environment import environment_settings
from littleq.manifests import Fleet, Settings, TimeLimit
from littleq.manifests.configuration import config_map
from littleq.manifests.tree import rendered
from tests.clusters import BATCH, KEDA, REALTIME, find, kinds, objects, pod_specs, variables

ALL = [*KEDA, "hpa", "redis"]
OURS = [*KEDA, "hpa"]


def every_pod(overlay: str) -> list[Any]:
    return [pytest.param(overlay, name, id=f"{overlay}/{name}") for name in pod_specs(objects(overlay))]


PODS = [pod for overlay in ALL for pod in every_pod(overlay)]
OUR_PODS = [pod for overlay in OURS for pod in every_pod(overlay)]


@pytest.mark.parametrize(("overlay", "name"), PODS)
def test_a_pod_is_unprivileged_and_writes_only_where_it_may(overlay: str, name: str) -> None:
    spec = pod_specs(objects(overlay))[name]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] >= 999
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}  # throttled CPU would break the SLA
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("overlay", "name"), OUR_PODS)
def test_our_pods_share_user_temporary_folder_and_configuration(overlay: str, name: str) -> None:
    spec = pod_specs(objects(overlay))[name]
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["runAsGroup"] == 10001
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts["/tmp"]["emptyDir"] == {}
    assert mounts["/etc/littleq"]["configMap"] == {"name": "littleq-config"}
    assert variables(spec)["LITTLEQ_CONFIG"] == "/etc/littleq/littleq.toml"


@pytest.mark.parametrize(("overlay", "name"), OUR_PODS)
def test_urls_come_from_the_secret(overlay: str, name: str) -> None:
    found = variables(pod_specs(objects(overlay))[name])
    assert found["LITTLEQ_URL"] == {"secretKeyRef": {"name": "littleq-broker", "key": "url"}}
    ledger = {"name": "littleq-broker", "key": "ledger_url", "optional": True}
    assert found["LITTLEQ_LEDGER_URL"] == {"secretKeyRef": ledger}


@pytest.mark.parametrize(("overlay", "name"), OUR_PODS)
def test_kubernetes_adds_no_variables_that_look_like_settings(overlay: str, name: str) -> None:
    """Service littleq-exporter would become LITTLEQ_EXPORTER_PORT=tcp://10.0.0.1:9191."""
    assert pod_specs(objects(overlay))[name]["enableServiceLinks"] is False


@pytest.mark.parametrize(("overlay", "name"), OUR_PODS)
def test_the_variables_of_a_container_are_settings_that_exist(overlay: str, name: str) -> None:
    found = variables(pod_specs(objects(overlay, deletion_cost=True))[name])
    environ = {
        variable: value if isinstance(value, str) else "redis://db" for variable, value in found.items()
    }
    settings, wrong = environment_settings(environ, {"realtime", "batch"})
    assert wrong == []
    assert len(settings) == len(environ) - 1  # LITTLEQ_CONFIG names the file


@pytest.mark.parametrize(("overlay", "name"), OUR_PODS)
def test_a_container_runs_a_command_line_that_exists(overlay: str, name: str) -> None:
    (container,) = pod_specs(objects(overlay))[name]["containers"]
    probes = [container.get(f"{kind}Probe", {}).get("exec") for kind in ("startup", "readiness", "liveness")]
    for line in [container["command"], *(probe["command"] for probe in probes if probe)]:
        program, *words = line
        assert program == "littleq", shlex.join(line)
        found = cli.get_command(click.Context(cli), words[0])
        assert found is not None, shlex.join(line)
        found.parse_args(click.Context(found), words[1:])


def test_a_worker_serves_its_queue_with_the_threads_that_decisions_count() -> None:
    queue = replace(REALTIME, threads_per_worker=3)
    spec = pod_specs(objects("keda", queue, modules=("shop.tasks", "shop.mail"), grace=45.0))[
        "littleq-worker-realtime"
    ]
    assert shlex.join(spec["containers"][0]["command"]) == (
        "littleq worker --queue realtime --concurrency 3 --grace 45s shop.tasks shop.mail"
    )


@pytest.mark.parametrize("overlay", OURS)
def test_an_apply_never_sets_back_what_the_scaler_set(overlay: str) -> None:
    documents = objects(overlay)
    for queue in ("realtime", "batch"):
        assert "replicas" not in find(documents, "Deployment", f"littleq-worker-{queue}")["spec"]


@pytest.mark.parametrize(("least", "replicas"), [(0, 1), (3, 3)])
def test_a_queue_that_is_not_scaled_has_its_least_number_of_workers(least: int, replicas: int) -> None:
    queue = replace(BATCH, autoscale=False, min_workers=least)
    deployment = find(objects("keda", queue), "Deployment", "littleq-worker-batch")
    assert deployment["spec"]["replicas"] == replicas


def test_the_control_queue_gets_no_worker_for_the_controller_brings_it() -> None:
    control = replace(BATCH, name="littleq.control", admission="off")
    names = pod_specs(objects("keda", REALTIME, control))
    assert set(names) == {"littleq-controller", "littleq-worker-realtime"}


def test_running_jobs_get_the_longest_time_limit_and_kubernetes_waits_longer() -> None:
    limits = {"realtime": TimeLimit(29.5, "time limit of actor thumbnail")}
    documents = objects("keda", time_limits=limits)
    deployment = find(documents, "Deployment", "littleq-worker-realtime")
    assert "--grace 30s" in shlex.join(deployment["spec"]["template"]["spec"]["containers"][0]["command"])
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 45
    assert deployment["metadata"]["annotations"]["littleq-grace"] == "30 s, time limit of actor thumbnail"


def test_an_unknown_time_limit_is_dramatiqs_default() -> None:
    deployment = find(objects("keda"), "Deployment", "littleq-worker-batch")
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 615
    assert deployment["metadata"]["annotations"]["littleq-grace"] == "600 s, Dramatiq's default time limit"


def test_resources_of_workers_are_as_asked_for() -> None:
    (container,) = pod_specs(objects("keda", cpu="2", memory="1Gi"))["littleq-worker-batch"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}


def test_probes_ask_littleq_health() -> None:
    for name in ("littleq-worker-realtime", "littleq-controller"):
        (container,) = pod_specs(objects("keda"))[name]["containers"]
        assert container["readinessProbe"]["exec"]["command"] == ["littleq", "health"]
        assert container["livenessProbe"]["exec"]["command"] == ["littleq", "health", "--live"]


@pytest.mark.parametrize(("startup", "seconds"), [(1.0, 120), (60.0, 240)])
def test_a_worker_has_four_times_its_start_up_to_start(startup: float, seconds: int) -> None:
    spec = pod_specs(objects("keda", replace(REALTIME, startup_seconds=startup)))["littleq-worker-realtime"]
    probe = spec["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == seconds


def test_only_controllers_serve_metrics_and_they_do_so_for_others() -> None:
    specs = pod_specs(objects("keda-external-push"))
    controller = variables(specs["littleq-controller"])
    assert (controller["LITTLEQ_EXPORTER_ENABLED"], controller["LITTLEQ_EXPORTER_HOST"]) == (
        "true",
        "0.0.0.0",
    )
    assert controller["LITTLEQ_EXPORTER_TOKEN"] == {
        "secretKeyRef": {"name": "littleq-api", "key": "token", "optional": True}
    }
    for name in ("littleq-worker-realtime", "littleq-scaler"):
        assert variables(specs[name])["LITTLEQ_EXPORTER_ENABLED"] == "false"


@pytest.mark.parametrize(("configured", "port"), [(9191, 9191), (9300, 9300), (0, 9191)])
def test_the_service_has_one_port_whatever_the_exporter_has(configured: int, port: int) -> None:
    config = Config(queues={"realtime": REALTIME}, exporter_port=configured)
    documents = rendered(Fleet(config, Settings("shop:1")), "keda").documents
    (container,) = pod_specs(documents)["littleq-controller"]["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": port}]
    (served,) = find(documents, "Service", "littleq-exporter")["spec"]["ports"]
    assert served == {"name": "metrics", "port": 9191, "targetPort": "metrics"}
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}


def test_controllers_are_two_and_apart() -> None:
    spec = find(objects("keda"), "Deployment", "littleq-controller")["spec"]
    assert spec["replicas"] == 2
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"  # one node is enough to try it


def test_the_scaler_serves_grpc_with_the_certificates_of_its_secret() -> None:
    spec = pod_specs(objects("keda-external-push"))["littleq-scaler"]
    assert shlex.join(spec["containers"][0]["command"]) == (
        "littleq scaler --host 0.0.0.0 --port 6000 --tls-cert /etc/littleq-tls/tls.crt "
        "--tls-key /etc/littleq-tls/tls.key --client-ca /etc/littleq-tls/ca.crt"
    )
    assert {"secretName": "littleq-scaler-tls", "defaultMode": 0o440} in (
        v.get("secret") for v in spec["volumes"]
    )


def test_a_service_selects_the_pods_that_it_is_for() -> None:
    documents = [*objects("keda-external-push"), *objects("redis")]
    for name, made_by, kind in (
        ("littleq-exporter", "littleq-controller", "Deployment"),
        ("littleq-scaler", "littleq-scaler", "Deployment"),
        ("redis", "redis", "StatefulSet"),
    ):
        selector = find(documents, "Service", name)["spec"]["selector"].items()
        pods = find(documents, kind, made_by)["spec"]["template"]["metadata"]["labels"].items()
        assert selector <= pods


def test_a_deployment_selects_its_own_pods_and_no_others() -> None:
    documents = objects("keda-external-push")
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in documents
        if each["kind"] == "Deployment"
    }
    for name in pods:
        selector = find(documents, "Deployment", name)["spec"]["selector"]["matchLabels"].items()
        assert [other for other, labels in pods.items() if selector <= labels.items()] == [name]


def test_pods_roll_when_the_configuration_changes_and_only_then() -> None:
    def checksums(*queues: Any, **settings: Any) -> set[str]:
        documents = objects("keda-external-push", *queues, **settings)
        return {
            each["spec"]["template"]["metadata"]["annotations"]["littleq-config-sha256"]
            for each in documents
            if each["kind"] == "Deployment"
        }

    assert len(checksums()) == 1
    assert checksums() == checksums(cpu="2")
    assert checksums() != checksums(replace(REALTIME, max_workers=41), BATCH)


def test_the_redis_to_try_it_with_keeps_what_it_was_given() -> None:
    (container,) = pod_specs(objects("redis"))["redis"]["containers"]
    assert "--appendonly yes" in shlex.join(container["command"])
    assert "--maxmemory-policy noeviction" in shlex.join(container["command"])
    assert container["image"] == "redis:7.4"
    assert find(objects("redis"), "StatefulSet", "redis")["spec"]["volumeClaimTemplates"]


@pytest.mark.parametrize("overlay", [*ALL, "monitoring"])
def test_no_manifest_holds_a_secret(overlay: str) -> None:
    urls = {"url": "redis://me:hunter2@db:6379", "ledger_url": "redis://me:hunter3@db2"}
    config = Config(**urls, queues={"realtime": REALTIME})
    fleet = Fleet(config, Settings("shop:1"))
    text = rendered(fleet, overlay).text
    assert "hunter" not in text and "db2" not in text
    assert "Secret" not in kinds(rendered(fleet, overlay).documents)
    assert "url" not in config_map(fleet)["data"]["littleq.toml"].replace("URLs", "")
