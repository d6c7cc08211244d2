"""`littleq manifests`: what it prints and writes, what it says, and with which exit code."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Littleq = Callable[..., Any]

TOML = """
[queues.mail]
sla_seconds = 600
max_workers = 4

[queues.report]
sla_seconds = 600
"""
APP = """
import dramatiq, littleq
littleq.setup(url="redis://127.0.0.1:1")

@dramatiq.actor(queue_name="mail", time_limit=20_000)
def send() -> None: ...

@dramatiq.actor(queue_name="mail", time_limit=45_500)
def fetch() -> None: ...

@dramatiq.actor(queue_name="report")
def report() -> None: ...
"""


@pytest.fixture
def here(app: Any, tmp_path: Path) -> Callable[..., None]:
    """Write the configuration and the app into the current folder."""

    def write(toml: str = TOML, source: str = APP) -> None:
        (tmp_path / "littleq.toml").write_text(toml)
        app(source)
        sys.modules.pop("app_under_test", None)  # what is written anew is a new process' first

    return write


def documents(text: str) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


APP_OPTIONS = ("--modules", "app_under_test")


def test_without_options_it_prints_one_overlay_and_nothing_else(littleq: Littleq, here: Any) -> None:
    here()
    answer = littleq("manifests", *APP_OPTIONS)
    assert (answer.code, answer.err) == (0, "")
    found = documents(answer.out)
    assert ("ScaledObject", "littleq-worker-mail") in found
    assert answer.out.startswith("# All of overlay keda. ")


def test_the_grace_period_is_the_longest_time_limit_of_the_queues_actors(littleq: Littleq, here: Any) -> None:
    here()
    found = documents(littleq("manifests", *APP_OPTIONS).out)
    for queue, grace, why in (
        ("mail", 46, "46 s, time limit of actor fetch"),
        ("report", 600, "600 s, Dramatiq's default time limit"),
    ):
        deployment = found["Deployment", f"littleq-worker-{queue}"]
        assert deployment["metadata"]["annotations"]["littleq-grace"] == why
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace + 15


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        (
            "time_limit=float('inf')",
            "600 s, Dramatiq's default time limit, for actor send has none that ends",
        ),
        ("time_limit=600_000", "600 s, time limit of actor send"),
    ],
)
def test_a_limit_without_end_counts_as_dramatiqs_default(
    littleq: Littleq, here: Any, limit: str, why: str
) -> None:
    here(source=APP.replace("time_limit=20_000", limit))
    deployment = documents(littleq("manifests", *APP_OPTIONS).out)["Deployment", "littleq-worker-mail"]
    assert deployment["metadata"]["annotations"]["littleq-grace"] == why


def test_a_grace_that_is_given_wins_and_nothing_is_imported(littleq: Littleq, here: Any) -> None:
    here(source="raise RuntimeError")
    answer = littleq("manifests", *APP_OPTIONS, "--grace", "30s")
    assert (answer.code, answer.err) == (0, "")
    deployment = documents(answer.out)["Deployment", "littleq-worker-mail"]
    assert deployment["metadata"]["annotations"]["littleq-grace"] == "30 s, as given with --grace"


def test_an_app_that_is_not_here_is_said_and_dramatiqs_default_taken(
    littleq: Littleq, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here()
    monkeypatch.setitem(sys.modules, "actors", None)  # as where there is no such module
    answer = littleq("manifests")
    assert answer.code == 0
    assert answer.err.startswith("warning: The time limits of your actors are not known")
    assert "600 s to finish" in answer.err
    deployment = documents(answer.out)["Deployment", "littleq-worker-mail"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "actors"


def test_queues_that_app_and_configuration_do_not_share_are_said(littleq: Littleq, here: Any) -> None:
    here(toml=TOML.replace("queues.report", "queues.other"))
    answer = littleq("manifests", *APP_OPTIONS)
    assert answer.code == 0
    assert "warning: queue report: it has actors, but is not in littleq.toml" in answer.err
    assert "warning: queue other: none of the app's actors is in it" in answer.err


def test_service_levels_given_in_python_are_said_not_to_count(littleq: Littleq, here: Any) -> None:
    here(source=APP.replace("127.0.0.1:1", '127.0.0.1:1", queues={"mail": {"max_workers": 9}}, namespace="x'))
    answer = littleq("manifests", *APP_OPTIONS)
    assert "warning: The app sets service levels in Python" in answer.err
    assert documents(answer.out)["ScaledObject", "littleq-worker-mail"]["spec"]["maxReplicaCount"] == 4


def test_options_about_the_cluster_are_followed(littleq: Littleq, here: Any) -> None:
    here()
    options = (
        *("--image", "shop:1.4", "--namespace", "shop", "--kubernetes", "v1.31.2+k3s1"),
        *("--cpu", "2", "--memory", "1Gi", "--broker-port", "7000", "--deletion-cost"),
        *("--prometheus", "https://prom.example/p", "--match", 'cluster="eu",env=~"a|b"'),
    )
    found = documents(littleq("manifests", *APP_OPTIONS, *options).out)
    scaled = found["ScaledObject", "littleq-worker-mail"]
    (trigger,) = scaled["spec"]["triggers"]
    assert scaled["metadata"]["namespace"] == "shop"
    assert trigger["metadata"]["serverAddress"] == "https://prom.example/p"
    assert 'sla_desired_workers_stepped{queue="mail",cluster="eu",env=~"a|b"}' in trigger["metadata"]["query"]
    (container,) = found["Deployment", "littleq-worker-mail"]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["resources"]["requests"]) == (
        "shop:1.4",
        {"cpu": "2", "memory": "1Gi"},
    )
    assert ("Role", "littleq-controller") in found
    assert "port: 7000" in yaml.safe_dump(found["NetworkPolicy", "littleq-controller"])


def test_a_rules_file_and_a_dashboard_are_printed_alone(littleq: Littleq, here: Any) -> None:
    here()
    rules = littleq("manifests", "--format", "prometheus")
    assert (rules.code, rules.err) == (0, "")
    assert yaml.safe_load(rules.out).keys() == {"groups"}
    dashboard = littleq("manifests", "--format", "grafana")
    assert (dashboard.code, dashboard.err) == (0, "")
    assert json.loads(dashboard.out)["title"]


def test_what_was_written_checks_and_a_change_is_said_with_exit_code_1(
    littleq: Littleq, here: Any, tmp_path: Path
) -> None:
    here()
    written = littleq("manifests", *APP_OPTIONS, "--out", "k8s")
    assert written.code == 0
    assert re.match(r"\d+ files written to k8s\. Next: kubectl apply -k k8s/overlays/keda\n", written.out)
    checked = littleq("manifests", *APP_OPTIONS, "--check", "k8s")
    assert (checked.code, checked.out) == (0, "k8s is as littleq.toml has it.\n")

    here(toml=TOML.replace("max_workers = 4", "max_workers = 8"))
    changed = littleq("manifests", *APP_OPTIONS, "--check", "k8s")
    assert (changed.code, changed.err) == (1, "")
    line = "overlays/keda/scaledobjects.yaml: ScaledObject littleq-worker-mail spec.maxReplicaCount: 4 there, 8 wanted"
    assert line in changed.out.splitlines()


def test_a_missing_file_and_one_of_a_queue_that_is_gone_are_drift(
    littleq: Littleq, here: Any, tmp_path: Path
) -> None:
    here()
    littleq("manifests", *APP_OPTIONS, "--out", "k8s")
    (tmp_path / "k8s/base/network.yaml").unlink()
    here(toml=TOML.replace("[queues.report]", "[queues.mail.retry_routes]\n[queues.other]"))
    lines = littleq("manifests", *APP_OPTIONS, "--check", "k8s").out.splitlines()
    assert "base/network.yaml: not there" in lines
    assert "base/worker-other.yaml: not there" in lines
    assert "base/worker-report.yaml: there, not wanted" in lines
    again = littleq("manifests", *APP_OPTIONS, "--out", "k8s")
    assert (
        "k8s/base/worker-report.yaml is of a queue that is not configured any more: nothing uses it"
        in again.err
    )
    assert (tmp_path / "k8s/base/worker-report.yaml").is_file()  # whose file that is, is not ours to say


def test_a_cluster_is_checked_through_stdin(
    littleq: Littleq, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here()
    items = list(yaml.safe_load_all(littleq("manifests", *APP_OPTIONS, "--overlay", "hpa").out))
    items[-1]["status"] = {"currentReplicas": 3}
    monkeypatch.setattr(
        "sys.stdin", io.StringIO(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    )
    answer = littleq("manifests", *APP_OPTIONS, "--overlay", "hpa", "--check", "-")
    assert (answer.code, answer.out) == (0, "What stdin holds is as littleq.toml has it.\n")

    items[-1]["spec"]["maxReplicas"] = 3
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump_all(items)))
    answer = littleq("manifests", *APP_OPTIONS, "--overlay", "hpa", "--check", "-")
    assert answer.code == 1
    assert (
        answer.out == "HorizontalPodAutoscaler littleq-worker-report spec.maxReplicas: 3 there, 10 wanted\n"
    )


def test_a_password_that_somebody_wrote_into_a_cluster_is_not_repeated(
    littleq: Littleq, here: Any, tmp_path: Path
) -> None:
    here()
    text = littleq("manifests", *APP_OPTIONS).out
    address = "http://prometheus-operated.monitoring.svc:9090"
    (tmp_path / "there.yaml").write_text(text.replace(address, "http://me:hunter2@prom:9090"))
    answer = littleq("manifests", *APP_OPTIONS, "--check", "there.yaml")
    assert answer.code == 1
    assert "http://***@prom:9090 there" in answer.out and "hunter2" not in answer.out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--out", "k8s", "--check", "k8s"), "--out and --check exclude each other"),
        (("--format", "grafana", "--out", "k8s"), "--format grafana prints one file"),
        (("--overlay", "kedda"), "'kedda' is not one of"),
        (("--kubernetes", "new"), "'new' is no version of Kubernetes: give one such as 1.35."),
        (("--kubernetes", "1.20"), "kubernetes is 1.20: it must be 1.23 or later"),
        (("--image", "two words"), "image is 'two words': it must be an image's name"),
        (("--namespace", "Shop_1"), "namespace is 'Shop_1'"),
        (("--memory", "much"), "memory is 'much'"),
        (("--grace", "0"), "'0' is not a duration above 0"),
        (("--match", 'a="b"} or vector(9'), "is not a list of label matchers"),
        (("--prometheus", "prometheus:9090"), "it is no http:// or https:// URL"),
        (("--prometheus", "http://me:hunter2@prom:9090"), "it holds a user or a password"),
        (("--broker-port", "70000"), "70000 is not in the range 1<=x<=65535"),
        (("--monitor-label", "release"), "'release' is not a label, such as release=prometheus"),
        (("--modules", "nowhere"), "No module is called 'nowhere' in "),
        (("--check", "nowhere"), "nowhere cannot be read (No such file or directory)"),
        (("--check", "empty"), "empty holds none of the files that --out writes"),
        (("--check", "empty.yaml"), "empty.yaml holds no object"),
        (("--check", "broken.yaml"), "broken.yaml is not YAML (line 1)"),
        (("--check", "latin.yaml"), "latin.yaml is not UTF-8 text (byte 3)"),
        (("--out", "file"), "file"),
        (("--out", "file/below"), "cannot be written (Not a directory)"),
        (("--config", "nowhere.toml"), "The configuration file nowhere.toml does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    littleq: Littleq, here: Any, tmp_path: Path, args: tuple[str, ...], says: str
) -> None:
    here()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.yaml").write_text("---\n")
    (tmp_path / "broken.yaml").write_text("a: {b: [c}\n")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    (tmp_path / "file").write_text("")
    modules = () if "--modules" in args else APP_OPTIONS
    answer = littleq("manifests", *modules, *args)
    assert (answer.code, answer.out) == (2, "")
    assert says in answer.err
    assert len(answer.err.splitlines()) == 1 and "hunter2" not in answer.err


def test_no_queue_is_said(littleq: Littleq, here: Any) -> None:
    here(toml="")
    answer = littleq("manifests", "--grace", "30s")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "littleq: No queue is configured, so there is nothing to run: name one in littleq.toml, as [queues.NAME].\n"
    )
