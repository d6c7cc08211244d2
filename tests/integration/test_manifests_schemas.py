"""Every manifest passes strict validation, kustomize builds every overlay, and k8s/ is what littleq.toml gives."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from littleq.config.sources import load_config
from littleq.manifests import Fleet, Settings
from littleq.manifests.objects import make_object
from littleq.manifests.tree import OVERLAYS, rendered, tree
from tests.clusters import REALTIME, make_fleet, objects
from tests.conftest import unavailable
from tests.schemas.checking import mistakes

ROOT = Path(__file__).parents[2]
LITTLEQ = (sys.executable, "-c", "from littleq.cli import main; main()")
K8S = ROOT / "k8s"
FOLDERS = sorted(path.name for path in (K8S / "overlays").iterdir())


def named(documents: list[Any]) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def littleq(*args: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it in the project's folder, without settings of whoever runs the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")}
    return subprocess.run(
        [*LITTLEQ, *args],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("version", ["1.34", "1.35", "1.36"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_strictly_valid(overlay: str, version: str) -> None:
    number = (1, int(version[2:]))
    documents = objects(
        overlay, kubernetes=number, deletion_cost=True, monitor_labels={"release": "prometheus"}
    )
    assert documents
    for each in documents:
        assert mistakes(each, version) == [], f"{each['kind']} {each['metadata']['name']}"


def test_what_an_older_cluster_does_not_know_is_not_there() -> None:
    """The oldest one that schemas are at hand for: `tolerance` would be refused there."""
    for each in objects("hpa", kubernetes=(1, 25), deletion_cost=True):
        assert mistakes(each, "1.25") == []
    assert any("tolerance" in line for each in objects("hpa") for line in mistakes(each, "1.25"))


def test_queues_with_odd_names_and_settings_are_valid() -> None:
    from dataclasses import replace

    odd = [replace(REALTIME, name=name) for name in ("_", "Mail.bulk", "x" * 90, "n")]
    for overlay in OVERLAYS:
        for each in objects(overlay, *odd, matchers='a="b"', grace=0.5):
            assert mistakes(each) == []


def first(overlay: str, kind: str) -> Any:
    return copy.deepcopy(next(each for each in objects(overlay) if each["kind"] == kind))


@pytest.mark.parametrize(
    ("overlay", "kind", "path", "wrong"),
    [
        ("keda", "Deployment", ("spec", "template", "spec"), "terminationGracePeriodSecond"),
        ("keda", "NetworkPolicy", ("spec",), "policyType"),
        ("keda", "ScaledObject", ("spec",), "minReplicaCounts"),
        ("keda", "ScaledObject", ("spec", "fallback"), "behaviour"),
        ("keda-metrics-api", "TriggerAuthentication", ("spec",), "secretTargetRefs"),
        ("hpa", "HorizontalPodAutoscaler", ("spec", "behavior", "scaleUp"), "tolerances"),
        ("monitoring", "ServiceMonitor", ("spec",), "endpoint"),
        ("monitoring", "PrometheusRule", ("spec",), "group"),
    ],
)
def test_a_misspelt_field_is_caught(overlay: str, kind: str, path: tuple[str, ...], wrong: str) -> None:
    document = first(overlay, kind)
    assert mistakes(document) == []
    place = document
    for step in path:
        place = place[step]
    place[wrong] = 1
    assert any(wrong in line for line in mistakes(document))


@pytest.mark.parametrize(
    ("overlay", "key", "misspelt"),
    [
        ("keda", "ignoreNullValues", "ignoreNullValue"),
        ("keda", "serverAddress", "serverAdress"),
        ("keda", "activationThreshold", "activationTreshold"),
        ("keda-metrics-api", "valueLocation", "valuelocation"),
        ("keda-metrics-api", "activationTargetValue", "activationTarget"),
    ],
)
def test_a_misspelt_trigger_key_is_caught_which_a_server_passes_over(
    overlay: str, key: str, misspelt: str
) -> None:
    document = first(overlay, "ScaledObject")
    metadata = document["spec"]["triggers"][0]["metadata"]
    metadata[misspelt] = metadata.pop(key)
    assert any(f"unknown key {misspelt!r}" in line for line in mistakes(document))


def test_a_missing_trigger_key_and_a_number_for_a_text_are_caught() -> None:
    document = first("keda-external-push", "ScaledObject")
    del document["spec"]["triggers"][0]["metadata"]["scalerAddress"]
    assert mistakes(document) == ["spec/triggers/0: metadata lacks 'scalerAddress'"]
    document = first("keda", "ScaledObject")
    document["spec"]["triggers"][0]["metadata"]["threshold"] = 1
    assert any("threshold" in line for line in mistakes(document))


def test_a_kind_without_a_schema_is_no_pass() -> None:
    assert mistakes(make_object("example.com/v1", "Odd", "odd", "littleq", spec={})) != []


def test_what_is_checked_in_is_what_the_configuration_gives_byte_for_byte(tmp_path: Path) -> None:
    written = littleq("manifests", "--out", str(tmp_path))
    assert written.returncode == 0, written.stderr
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.yaml")}
    there = {path.relative_to(K8S): path.read_text() for path in K8S.rglob("*.yaml")}
    assert there == fresh, "run `littleq manifests --out k8s`"


def test_check_finds_no_drift_in_what_is_checked_in() -> None:
    answer = littleq("manifests", "--check", "k8s")
    assert (answer.returncode, answer.stdout) == (0, "k8s is as littleq.toml has it.\n")


def test_check_of_what_is_checked_in_finds_a_change(tmp_path: Path) -> None:
    changed = tmp_path / "littleq.toml"
    changed.write_text((ROOT / "littleq.toml").read_text().replace("max_workers = 4", "max_workers = 5", 1))
    answer = littleq("manifests", "--check", "k8s/keda.yaml", "--config", str(changed))
    assert answer.returncode == 1
    assert "ScaledObject littleq-worker-realtime spec.maxReplicaCount: 4 there, 5 wanted" in answer.stdout


@pytest.mark.parametrize("path", sorted(path.relative_to(K8S).as_posix() for path in K8S.rglob("*.yaml")))
def test_every_file_that_is_checked_in_is_strictly_valid(path: str) -> None:
    documents = list(yaml.safe_load_all((K8S / path).read_text()))
    assert documents
    for each in documents:
        if "kind" in each and each["kind"] != "Kustomization":
            assert mistakes(each) == []


def kustomize(folder: Path) -> list[Any]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        unavailable("kubectl is not installed: see https://kubernetes.io/docs/tasks/tools/")
    built = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


@pytest.mark.parametrize("name", FOLDERS)
def test_kustomize_builds_an_overlay_and_its_single_file_is_the_same(name: str) -> None:
    built = kustomize(K8S / "overlays" / name)
    single = list(yaml.safe_load_all((K8S / f"{name}.yaml").read_text()))
    assert named(built) == named(single)
    assert len(built) == len(single)


def test_kustomize_builds_texts_that_look_like_something_else(tmp_path: Path) -> None:
    """A namespace, a queue and labels that some YAML takes for a truth value or a number."""
    from dataclasses import replace

    fleet = make_fleet(
        replace(REALTIME, name="n"), replace(REALTIME, name="y"), namespace="1e3", image="0x1f"
    )
    for path, file in tree(fleet).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(file.text)
    built = kustomize(tmp_path / "overlays" / "keda")
    assert named(built) == named(rendered(fleet, "keda").documents)


def test_the_reference_app_is_rendered_with_its_defaults() -> None:
    """The file, read here, and the command agree on the fleet: nothing about it is written twice."""
    config = load_config(path=ROOT / "littleq.toml", environ={})
    names = {queue.name for queue in Fleet(config, Settings("littleq:1")).queues}
    there = named(list(yaml.safe_load_all((K8S / "keda.yaml").read_text())))
    assert {name for kind, name in there if kind == "ScaledObject"} == {
        f"littleq-worker-{name}" for name in names
    }
