"""ScaledObjects and HPAs: each pitfall of handing a desired number to Kubernetes has its test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from littleq.config import Config
from littleq.manifests import Fleet, Settings
from littleq.manifests.hpa import adapter_values
from littleq.monitoring.queries import desired_workers_query
from tests.clusters import BATCH, KEDA, REALTIME, find, kinds, make_fleet, objects

NAME = "littleq-worker-realtime"


def scaled_object(overlay: str = "keda", *queues: Any, **settings: Any) -> dict[str, Any]:
    return find(objects(overlay, *queues, **settings), "ScaledObject", NAME)["spec"]


def autoscaler(*queues: Any, **settings: Any) -> dict[str, Any]:
    return find(objects("hpa", *queues, **settings), "HorizontalPodAutoscaler", NAME)["spec"]


def behaviors(**settings: Any) -> list[dict[str, Any]]:
    """Of ScaledObject and HPA, both directions."""
    of_keda = scaled_object(**settings)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return [
        each[way]
        for each in (of_keda, autoscaler(**settings)["behavior"])
        for way in ("scaleUp", "scaleDown")
    ]


@pytest.mark.parametrize("overlay", KEDA)
def test_a_desired_number_is_an_average_value_for_value_multiplies_by_ready_pods(overlay: str) -> None:
    (trigger,) = scaled_object(overlay)["triggers"]
    assert trigger["metricType"] == "AverageValue"


def test_the_target_is_one_worker_a_unit() -> None:
    assert scaled_object("keda")["triggers"][0]["metadata"]["threshold"] == "1"
    assert scaled_object("keda-metrics-api")["triggers"][0]["metadata"]["targetValue"] == "1"
    (metric,) = autoscaler()["metrics"]
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}


def test_any_decision_above_none_wakes_a_queue() -> None:
    assert scaled_object("keda")["triggers"][0]["metadata"]["activationThreshold"] == "0"
    assert scaled_object("keda-metrics-api")["triggers"][0]["metadata"]["activationTargetValue"] == "0"


def test_a_lost_series_is_an_error_not_a_zero() -> None:
    assert scaled_object()["triggers"][0]["metadata"]["ignoreNullValues"] == "false"


@pytest.mark.parametrize("overlay", KEDA)
def test_metadata_of_a_trigger_is_text(overlay: str) -> None:
    (trigger,) = scaled_object(overlay)["triggers"]
    assert all(type(value) is str for value in trigger["metadata"].values())


def test_the_query_is_the_one_that_monitoring_has_with_its_guard_against_a_stuck_process() -> None:
    query = scaled_object()["triggers"][0]["metadata"]["query"]
    assert query == desired_workers_query("realtime")
    assert query.startswith("max(") and "time() - max(sla_decision_timestamp_seconds" in query


@pytest.mark.parametrize(("every", "guard"), [(5.0, "< 60)"), (15.0, "< 135)")])
def test_the_guard_grows_with_the_time_between_decisions(every: float, guard: str) -> None:
    """Three times the age at which a decision is stale, a minute at least: 3 × 3 × 15 s."""
    fleet = Fleet(Config(queues={"realtime": REALTIME}, decide_seconds=every), Settings("shop:1"))
    assert fleet.query(REALTIME).endswith(guard)


def test_further_matchers_are_in_both_halves_of_the_query() -> None:
    query = scaled_object(matchers='cluster="eu"')["triggers"][0]["metadata"]["query"]
    assert query.count('cluster="eu"') == 2


def test_the_server_is_the_one_that_was_given() -> None:
    (trigger,) = scaled_object(prometheus_url="http://prom:9090")["triggers"]
    assert trigger["metadata"]["serverAddress"] == "http://prom:9090"


def test_an_hpa_follows_every_change_where_its_tolerance_can_be_set() -> None:
    assert [each["tolerance"] for each in behaviors(kubernetes=(1, 35))] == ["0"] * 4
    assert "max(sla_desired_workers{" in scaled_object()["triggers"][0]["metadata"]["query"]


def test_an_older_hpa_gets_a_number_that_steps_by_more_than_it_tolerates() -> None:
    assert all("tolerance" not in each for each in behaviors(kubernetes=(1, 34)))
    query = scaled_object(kubernetes=(1, 34))["triggers"][0]["metadata"]["query"]
    assert "max(sla_desired_workers_stepped{" in query
    assert "sla_desired_workers_stepped" in str(adapter_values(make_fleet(kubernetes=(1, 34))))
    (trigger,) = scaled_object("keda-metrics-api", kubernetes=(1, 34))["triggers"]
    assert trigger["metadata"]["valueLocation"] == "desired_workers_stepped"
    (trigger,) = scaled_object("keda-external-push", kubernetes=(1, 34))["triggers"]
    assert trigger["metadata"]["gauge"] == "stepped"


def test_keys_of_the_external_scaler_are_those_that_it_knows() -> None:
    """Any other is passed over in silence, by KEDA and by the scaler."""
    from littleq.autoscale.keda import scaler

    (trigger,) = scaled_object("keda-external-push", kubernetes=(1, 34))["triggers"]
    assert set(trigger["metadata"]) - {"scalerAddress"} == {scaler.QUEUE, scaler.GAUGE}
    assert trigger["metadata"][scaler.GAUGE] in scaler.GAUGES


def test_nothing_is_smoothed_twice() -> None:
    """Windows of 0, and one policy that allows all workers at once."""
    for each in behaviors():
        assert each["stabilizationWindowSeconds"] == 0
        assert each["policies"] == [{"type": "Pods", "value": REALTIME.max_workers, "periodSeconds": 1}]


def test_without_an_answer_nobody_is_sent_away_and_the_plan_runs_at_least() -> None:
    """20/s of 0.2 s within 1 s take 5 threads: one worker of 8 is enough, two workers of 4 are needed."""
    assert scaled_object()["fallback"] == {
        "failureThreshold": 3,
        "replicas": 1,
        "behavior": "currentReplicasIfHigher",
    }
    smaller = replace(REALTIME, threads_per_worker=4)
    assert scaled_object("keda", smaller)["fallback"]["replicas"] == 2


@pytest.mark.parametrize("overlay", KEDA)
def test_a_fallback_of_none_would_protect_nobody(overlay: str) -> None:
    for each in objects(overlay, replace(REALTIME, min_workers=0, arrival_rate=None), BATCH):
        if each["kind"] == "ScaledObject":
            assert each["spec"]["fallback"]["replicas"] >= 1


def test_keda_goes_to_none_and_an_hpa_keeps_one() -> None:
    idle = replace(REALTIME, min_workers=0)
    assert scaled_object("keda", idle)["minReplicaCount"] == 0
    assert autoscaler(idle)["minReplicas"] == 1


def test_bounds_are_those_of_the_queue() -> None:
    queue = replace(REALTIME, min_workers=3, max_workers=17)
    assert (
        scaled_object("keda", queue)["minReplicaCount"],
        scaled_object("keda", queue)["maxReplicaCount"],
    ) == (3, 17)
    assert (autoscaler(queue)["minReplicas"], autoscaler(queue)["maxReplicas"]) == (3, 17)


def test_keda_asks_as_often_as_there_are_decisions() -> None:
    assert scaled_object()["pollingInterval"] == 5


@pytest.mark.parametrize(("startup", "cooldown"), [(0.0, 30), (30.0, 30), (89.5, 90)])
def test_the_last_worker_stays_as_long_as_another_would_take_to_start(startup: float, cooldown: int) -> None:
    assert scaled_object("keda", replace(REALTIME, startup_seconds=startup))["cooldownPeriod"] == cooldown


@pytest.mark.parametrize("overlay", KEDA)
def test_never_an_hpa_of_our_own_beside_a_scaled_object(overlay: str) -> None:
    assert "HorizontalPodAutoscaler" not in kinds(objects(overlay))


def test_hpa_needs_nothing_of_keda() -> None:
    assert not {"ScaledObject", "TriggerAuthentication"} & kinds(objects("hpa"))


@pytest.mark.parametrize("overlay", [*KEDA, "hpa"])
def test_a_queue_that_is_not_scaled_has_no_scaler(overlay: str) -> None:
    documents = objects(overlay, REALTIME, replace(BATCH, autoscale=False))
    scalers = [each for each in documents if each["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")]
    assert [each["metadata"]["name"] for each in scalers] == [NAME]


def test_metrics_api_asks_the_exporter_with_a_token() -> None:
    documents = objects("keda-metrics-api", namespace="shop")
    (trigger,) = find(documents, "ScaledObject", NAME)["spec"]["triggers"]
    assert (
        trigger["metadata"]["url"] == "http://littleq-exporter.shop.svc:9191/api/v1/queues/realtime/scaling"
    )
    assert (trigger["metadata"]["valueLocation"], trigger["metadata"]["authMode"]) == (
        "desired_workers",
        "bearer",
    )
    authentication = find(documents, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    (reference,) = authentication["spec"]["secretTargetRef"]
    assert reference == {"parameter": "token", "name": "littleq-api", "key": "token"}


@pytest.mark.parametrize("version", [(1, 34), (1, 35)])
def test_the_api_has_what_metrics_api_asks_for(version: tuple[int, int]) -> None:
    from urllib.parse import urlsplit

    from littleq.server import api

    (trigger,) = scaled_object("keda-metrics-api", kubernetes=version)["triggers"]
    path = api._SCALING.fullmatch(urlsplit(trigger["metadata"]["url"]).path)
    assert path is not None and path["queue"] == "realtime"
    assert trigger["metadata"]["valueLocation"] in api.scaling_document("realtime", None)


def test_external_push_goes_over_tls_in_both_directions() -> None:
    documents = objects("keda-external-push", namespace="shop")
    (trigger,) = find(documents, "ScaledObject", NAME)["spec"]["triggers"]
    assert trigger["metadata"] == {"scalerAddress": "littleq-scaler.shop.svc:6000", "queue": "realtime"}
    authentication = find(documents, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    keys = {each["parameter"]: each["key"] for each in authentication["spec"]["secretTargetRef"]}
    assert keys == {"caCert": "ca.crt", "tlsClientCert": "tls.crt", "tlsClientKey": "tls.key"}
    service = find(documents, "Service", "littleq-scaler")
    assert service["spec"]["ports"][0]["port"] == 6000


def test_the_adapter_serves_each_metric_that_an_hpa_asks_for_by_the_same_query() -> None:
    values = adapter_values(make_fleet())
    rules = {rule["name"]["as"]: rule for rule in values["rules"]["external"]}
    for each in objects("hpa"):
        if each["kind"] != "HorizontalPodAutoscaler":
            continue
        rule = rules.pop(each["spec"]["metrics"][0]["external"]["metric"]["name"])
        queue = each["metadata"]["annotations"]["littleq-queue"]
        assert rule["metricsQuery"] == desired_workers_query(queue)
        assert rule["seriesQuery"] == f'sla_desired_workers{{queue="{queue}"}}'
        assert rule["resources"] == {
            "namespaced": False
        }  # or the adapter asks for series of the HPA's namespace
    assert not rules


def test_the_adapters_template_language_finds_nothing_in_a_query() -> None:
    assert all("<<" not in rule["metricsQuery"] for rule in adapter_values(make_fleet())["rules"]["external"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://prom.obs.svc:9091", {"url": "http://prom.obs.svc", "port": 9091, "path": ""}),
        ("https://prom.example/mimir", {"url": "https://prom.example", "port": 443, "path": "/mimir"}),
    ],
)
def test_the_adapter_asks_the_same_prometheus(url: str, expected: dict[str, Any]) -> None:
    assert adapter_values(make_fleet(prometheus_url=url))["prometheus"] == expected
