"""Manifests for each broker: what its URL changes, and KEDA's own scaler of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from littleq.config import Config, SLAQueueConfig
from littleq.manifests import Fleet, Settings
from littleq.manifests.cautions import cautions
from littleq.manifests.drift import drifts
from littleq.manifests.plain import jobs_per_worker, scaler_of, sqs_queue
from littleq.manifests.tree import OVERLAYS, rendered, tree
from littleq.manifests.writing import from_yaml
from tests.clusters import BATCH, REALTIME, find, pod_specs, variables
from tests.schemas.checking import mistakes

PASSWORD, SECRET_KEY = "hunter2", "AKIA"
LEDGER = f"redis://:{PASSWORD}@ledger:6379/1"
URLS = {
    "redis": f"redis://me:{PASSWORD}@db:6379/3",
    "tls": f"rediss://me:{PASSWORD}@db:6380",
    "sentinel": f"redis+sentinel://:{PASSWORD}@a:26379,b/main/2",
    "rabbitmq": f"amqps://me:{PASSWORD}@rabbit/shop",
    "sqs": "sqs://eu-west-1?visibility=60",
    "kafka": f"kafka://a:9092,b?security.protocol=SASL_SSL&sasl.mechanism=SCRAM-SHA-256&sasl.username=me&sasl.password={PASSWORD}",
}
WITHOUT_LEDGER = ("rabbitmq", "sqs", "kafka")
ROLE = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/littleq"}


def fleet(broker: str, *queues: SLAQueueConfig, ledger: str | None = None, **settings: Any) -> Fleet:
    chosen = queues or (REALTIME, BATCH)
    url = URLS.get(broker, broker)
    named = {name: settings.pop(name) for name in ("namespace_of_queues",) if name in settings}
    config = Config(
        url=url,
        ledger_url=ledger,
        queues={queue.name: queue for queue in chosen},
        namespace=named.get("namespace_of_queues", "dramatiq"),
    )
    return Fleet(config, Settings(**{"image": "shop:1.4", **settings}))


def trigger(made: Fleet, name: str = "realtime") -> dict[str, Any]:
    documents = rendered(made, "keda-plain").documents
    (found,) = find(documents, "ScaledObject", f"littleq-worker-{name}")["spec"]["triggers"]
    return dict(found)


@pytest.mark.parametrize("broker", URLS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_strictly_valid_and_holds_no_secret(broker: str, overlay: str) -> None:
    made = fleet(broker, ledger=LEDGER, account_annotations=ROLE, deletion_cost=True)
    file = rendered(made, overlay)
    for each in file.documents:
        assert mistakes(each) == [], f"{each['kind']} {each['metadata']['name']}"
    assert PASSWORD not in file.text
    assert "AWS_" not in file.text
    assert list(drifts(file.documents, from_yaml(file.text, "it"))) == []


@pytest.mark.parametrize("broker", URLS)
def test_a_decision_is_followed_in_the_same_way_whatever_the_broker(broker: str) -> None:
    as_ever = fleet("embedded://")
    for overlay in ("keda", "keda-metrics-api", "keda-external-push", "hpa"):
        mine, theirs = (tree(each) for each in (fleet(broker), as_ever))
        paths = [
            path for path in theirs if path.startswith(f"overlays/{overlay}/") and "scaler.yaml" not in path
        ]
        assert [mine[path].text for path in paths] == [theirs[path].text for path in paths]


@pytest.mark.parametrize("broker", URLS)
def test_the_url_is_read_from_the_secret_and_a_ledger_must_be_there_where_the_broker_keeps_none(
    broker: str,
) -> None:
    specs = pod_specs(rendered(fleet(broker), "keda-external-push").documents)
    assert len(specs) == 4
    for spec in specs.values():
        read = variables(spec)
        assert read["LITTLEQ_URL"]["secretKeyRef"] == {"name": "littleq-broker", "key": "url"}
        ledger = read["LITTLEQ_LEDGER_URL"]["secretKeyRef"]
        assert (ledger["key"], ledger.get("optional", False)) == ("ledger_url", broker not in WITHOUT_LEDGER)
        assert not any(name.startswith("AWS_") for name in read)


@pytest.mark.parametrize(
    ("broker", "ledger", "ports"),
    [
        ("redis", None, {6379}),
        ("tls", None, {6380}),
        ("sentinel", None, {26379, 6379}),
        ("rabbitmq", None, {5671, 15671, 6379}),
        ("amqp://a:1;amqp://b:2?management=http://c:3", None, {1, 2, 3, 15672, 6379}),
        ("amqp://a?management=off", "redis://l:7000", {5672, 7000}),
        ("sqs", None, {443, 6379}),
        ("sqs://?endpoint=http://localstack:4566", "redis://l:7000", {4566, 7000}),
        ("kafka", "redis://l:7000", {9092, 7000}),
        ("kafka://me:pw@a:9094,b:9095", "embedded://", {9094, 9095, 6379}),
    ],
)
def test_the_controller_may_connect_to_broker_and_ledger(
    broker: str, ledger: str | None, ports: set[int]
) -> None:
    from littleq.manifests.ports import broker_ports

    made = fleet(broker, ledger=ledger)
    found = broker_ports(made.config)
    assert set(found) == ports
    policy = find(
        rendered(replace(made, settings=replace(made.settings, broker_ports=found)), "keda").documents,
        "NetworkPolicy",
        "littleq-controller",
    )
    assert {each["port"] for each in policy["spec"]["egress"][1]["ports"]} == ports


def test_service_accounts_carry_what_gives_pods_a_role() -> None:
    documents = rendered(fleet("sqs", account_annotations=ROLE), "keda-external-push").documents
    accounts = [each for each in documents if each["kind"] == "ServiceAccount"]
    assert len(accounts) == 3
    assert all(each["metadata"]["annotations"] == ROLE for each in accounts)
    plain = rendered(fleet("redis"), "keda").documents
    assert all("annotations" not in each["metadata"] for each in plain if each["kind"] == "ServiceAccount")


# --- KEDA's own scaler ---


def test_redis_is_asked_for_all_messages_and_not_for_the_list_which_is_blind_to_prefetch() -> None:
    found = trigger(fleet("redis"))
    assert found["type"] == "redis"
    assert found["metadata"] == {
        "listName": "dramatiq:realtime.msgs",
        "listLength": "32",
        "activationListLength": "0",
        "databaseIndex": "3",
    }
    assert trigger(fleet("tls"))["metadata"]["enableTLS"] == "true"
    sentinel = trigger(fleet("sentinel"))
    assert sentinel["type"] == "redis-sentinel"
    assert sentinel["metadata"]["sentinelMaster"] == "main"
    assert sentinel["metadata"]["databaseIndex"] == "2"


def test_the_key_of_redis_is_the_one_that_a_queues_depth_is_read_from(redis_client: Any) -> None:
    import dramatiq

    from littleq.backends.redis import RedisBroker

    broker = RedisBroker(client=redis_client, namespace="shop")
    actor = dramatiq.actor(lambda: None, actor_name="work", queue_name="realtime", broker=broker)
    for _ in range(3):
        actor.send()
    key = trigger(fleet("redis", namespace_of_queues="shop"))["metadata"]["listName"]
    assert redis_client.hlen(key) == 3
    broker.close()


def test_rabbitmq_is_asked_by_http_for_ready_and_unacknowledged_jobs_of_all_queues_of_a_queue() -> None:
    from littleq.backends.rabbitmq.names import Names

    found = trigger(fleet("rabbitmq", namespace_of_queues="my.shop"))
    metadata = found["metadata"]
    assert found["type"] == "rabbitmq"
    assert (metadata["protocol"], metadata["mode"], metadata["excludeUnacknowledged"]) == (
        "http",
        "QueueLength",
        "false",
    )
    assert (metadata["value"], metadata["activationValue"], metadata["operation"]) == ("32", "0", "sum")
    names = Names("my.shop")
    pattern = re.compile(metadata["queueName"])
    for name in (names.main("realtime"), names.first("realtime", 0), names.first("realtime", 12)):
        assert pattern.search(name)
    others = (
        *(
            names.letters("realtime"),
            names.kept("realtime"),
            names.due("realtime"),
            names.rung("realtime", 3),
        ),
        *(
            names.main("realtime2"),
            names.main("not-realtime"),
            "myxshop.realtime",
            names.foreign_delayed("realtime"),
        ),
    )
    assert not any(pattern.search(name) for name in others)
    authentication = find(
        rendered(fleet("rabbitmq"), "keda-plain").documents, "TriggerAuthentication", "littleq-broker"
    )
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "host", "name": "littleq-broker", "key": "management_url"}
    ]


def test_sqs_is_asked_for_jobs_in_flight_too_and_by_the_identity_of_the_pods() -> None:
    found = trigger(fleet("sqs"))
    assert found["type"] == "aws-sqs-queue"
    assert found["metadata"] == {
        "queueURL": "realtime",
        "awsRegion": "eu-west-1",
        "queueLength": "32",
        "activationQueueLength": "0",
        "scaleOnInFlight": "true",
        "scaleOnDelayed": "false",
    }
    authentication = find(
        rendered(fleet("sqs"), "keda-plain").documents, "TriggerAuthentication", "littleq-broker"
    )
    assert authentication["spec"] == {"podIdentity": {"provider": "aws"}}
    assert trigger(fleet("sqs://eu?endpoint=http://l:1"))["metadata"]["awsEndpoint"] == "http://l:1"


@pytest.mark.parametrize("queue", ["mail", "littleq.control", "orders.fifo", "a.b.fifo"])
@pytest.mark.parametrize("namespace", ["", "shop"])
def test_the_name_at_sqs_is_the_one_that_the_broker_uses(queue: str, namespace: str) -> None:
    from littleq.backends.sqs.names import sqs_name

    option = f"?namespace={namespace}" if namespace else ""
    assert sqs_queue(Config(url=f"sqs://eu{option}"), queue) == sqs_name(queue, namespace)


def test_kafka_is_asked_for_the_lag_of_the_group_and_never_for_more_workers_than_partitions() -> None:
    from littleq.backends.kafka.names import Names
    from littleq.backends.kafka.urls import address_of

    made = fleet("kafka", namespace_of_queues="shop")
    found = trigger(made)
    assert found["type"] == "kafka"
    assert found["metadata"] == {
        "bootstrapServers": address_of(URLS["kafka"]).servers,
        "consumerGroup": Names("shop").group("realtime"),
        "topic": Names("shop").topic("realtime"),
        "lagThreshold": "32",
        "activationLagThreshold": "0",
        "offsetResetPolicy": "earliest",
        "limitToPartitionsWithLag": "true",
        "sasl": "scram_sha256",
        "tls": "enable",
    }
    assert scaler_of(made.config).keys == {"username": "username", "password": "password"}
    assert trigger(fleet("kafka"))["metadata"]["topic"] == Names().topic("realtime")


def test_a_kafka_that_asks_nobody_who_he_is_needs_no_authentication() -> None:
    made = fleet("kafka://me:pw@a:9092")
    found = trigger(made)
    assert "authenticationRef" not in found
    assert not {"sasl", "tls"} & set(found["metadata"])
    documents = rendered(made, "keda-plain").documents
    assert not [each for each in documents if each["kind"] == "TriggerAuthentication"]
    assert all(mistakes(each) == [] for each in documents)


@pytest.mark.parametrize(
    ("settings", "target", "says"),
    [
        ({}, 32, "8 threads × 0.8 (scale_threshold) × 1 s (SLA) / 0.2 s (service time)"),
        ({"threads_per_worker": 2, "sla_seconds": 10}, 80, "2 threads"),
        ({"concurrency": 4}, 16, "4 threads"),
        ({"scale_threshold": 0.5}, 20, "× 0.5"),
        ({"service_time_seconds": 60}, 1, "/ 60 s"),
        (
            {"service_time_seconds": None, "jobs_per_worker": 5},
            5,
            "jobs_per_worker, for service_time_seconds is not",
        ),
    ],
)
def test_the_target_is_what_a_worker_finishes_within_the_sla(
    settings: dict[str, Any], target: int, says: str
) -> None:
    queue = replace(REALTIME, **settings)
    found = jobs_per_worker(queue)
    assert found.value == target
    assert says in found.reason
    made = find(
        rendered(fleet("redis", queue), "keda-plain").documents, "ScaledObject", "littleq-worker-realtime"
    )
    assert made["metadata"]["annotations"]["littleq-target"] == f"{target} jobs a worker, {found.reason}"


@pytest.mark.parametrize("broker", URLS)
def test_the_plain_scaler_obeys_the_bounds_and_falls_back_like_the_others(broker: str) -> None:
    documents = rendered(fleet(broker), "keda-plain").documents
    spec = find(documents, "ScaledObject", "littleq-worker-batch")["spec"]
    decided = find(rendered(fleet(broker), "keda").documents, "ScaledObject", "littleq-worker-batch")["spec"]
    for name in ("minReplicaCount", "maxReplicaCount", "fallback", "cooldownPeriod", "scaleTargetRef"):
        assert spec[name] == decided[name]
    (found,) = spec["triggers"]
    assert found["metricType"] == "AverageValue"
    assert all(type(value) is str for value in found["metadata"].values())
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == decided["cooldownPeriod"]


def told(made: Fleet, overlays: Iterable[str] = ("keda",)) -> str:
    return "\n".join(cautions(made, list(overlays)))


def test_a_missing_ledger_role_region_and_service_time_are_cautions() -> None:
    assert "keeps no ledger, and no pod starts before Secret littleq-broker has a key ledger_url" in told(
        fleet("kafka")
    )
    assert "ledger_url" not in told(fleet("kafka", ledger=LEDGER))
    assert "ledger_url" not in told(fleet("redis"))
    assert "--account-annotation eks.amazonaws.com/role-arn=ARN (IRSA)" in told(fleet("sqs"))
    assert "identity at AWS" not in told(fleet("sqs", account_annotations=ROLE))
    assert "names no region" in told(fleet("sqs://"), ["keda-plain"])
    assert "names no region" not in told(fleet("sqs://")) + told(fleet("sqs"), ["keda-plain"])
    assert "queue batch: overlay keda-plain takes 8 jobs a worker" in told(fleet("redis"), ["keda-plain"])
    assert "keda-plain" not in told(fleet("redis"))
    assert "queue realtime: max_workers is 40, but a new topic has 12 partitions" in told(fleet("kafka"))
