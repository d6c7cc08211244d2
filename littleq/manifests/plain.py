"""KEDA's own scaler of each broker: a fallback for clusters that run no controller.

It sees how many jobs there are, and nothing else: not how fast they come, not how long the oldest has waited, not what
is due in a minute, not that the queue is paused. So it is late by a start-up, and a scaler of LittleQ's decision is
better wherever it can be had. What each one counts:

    redis            HLEN of the queue's messages: waiting and held by workers. LLEN of the list would be blind to
                     what workers have fetched ahead, two jobs a thread
    rabbitmq         ready and unacknowledged, which only the management API tells: AMQP knows the ready ones alone
    aws-sqs-queue    visible and not visible, about; delayed ones need no worker yet
    kafka            the lag of the group, in which running jobs are; no more workers than partitions that have some

The target is by Little's Law: a worker finishes threads / service time jobs a second, so jobs that are no more than
threads × SLA / service time a worker are through within the SLA; `scale_threshold` keeps a share of that in reserve.

Credentials come from Secret `littleq-broker`, whose URL is LittleQ's own: KEDA wants them in other keys beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from littleq.config import Config, SLAQueueConfig
from littleq.manifests import sizing
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import BROKER_SECRET, Object, make_object, worker_name
from littleq.manifests.scaledobjects import FAILURES

#: How names are prefixed: Dramatiq's own namespace adds nothing.
_PLAIN_NAMESPACE: Final = "dramatiq"
_KAFKA_PORT: Final = 9092


class Scaler(NamedTuple):
    """How KEDA asks a broker.

    Attributes:
        trigger: type and metadata, from a target per worker.
        keys: parameters of its TriggerAuthentication, and the keys of Secret `littleq-broker` that hold them; empty:
            the pods' identity at the cloud.
    """

    trigger: Callable[[Config, SLAQueueConfig, str], tuple[str, Object]]
    keys: dict[str, str]


def scaler_of(config: Config) -> Scaler:
    """The scaler for the broker of `url`; Redis' where that names no other."""
    scheme = urlsplit(config.url).scheme
    if scheme in ("amqp", "amqps"):
        return Scaler(_rabbitmq, {"host": "management_url"})
    if scheme == "sqs":
        return Scaler(_sqs, {})
    if scheme == "kafka":
        return Scaler(_kafka, {"username": "username", "password": "password"} if _mechanism(config) else {})
    address = "addresses" if scheme.endswith("+sentinel") else "address"
    return Scaler(_redis, {address: "address", "username": "username", "password": "password"})


def jobs_per_worker(queue: SLAQueueConfig) -> sizing.Derived:
    """The target: jobs in the queue, running ones among them, for each worker.

    >>> jobs_per_worker(SLAQueueConfig("mail", sla_seconds=10, service_time_seconds=0.5)).value
    128
    """
    if queue.service_time_seconds is None:
        return sizing.Derived(queue.jobs_per_worker, "jobs_per_worker, for service_time_seconds is not set")
    threads = min(queue.threads_per_worker, queue.concurrency or queue.threads_per_worker)
    share, promise, service = queue.scale_threshold, queue.sla_seconds, queue.service_time_seconds
    found = math.floor(threads * share * promise / service + 1e-9)
    reason = f"{threads} threads × {share:g} (scale_threshold) × {promise:g} s (SLA) / {service:g} s (service time)"
    return sizing.Derived(max(1, found), reason)


def scaled_object(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """ScaledObject `littleq-worker-<queue>` that follows the broker instead of the decision."""
    target, fallback, name = jobs_per_worker(queue), sizing.fallback(queue), worker_name(queue.name)
    scaler = scaler_of(fleet.config)
    kind, metadata = scaler.trigger(fleet.config, queue, str(target.value))
    trigger: Object = {"type": kind, "metricType": "AverageValue", "metadata": metadata}
    if needs_authentication(fleet.config):
        trigger["authenticationRef"] = {"name": BROKER_SECRET}
    return make_object(
        "keda.sh/v1alpha1",
        "ScaledObject",
        name,
        fleet.settings.namespace,
        component="worker",
        queue=queue.name,
        annotations={
            "littleq-target": f"{target.value} jobs a worker, {target.reason}",
            "littleq-fallback": f"{sizing.workers_in_words(fallback.value)}, {fallback.reason}",
        },
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicaCount": queue.min_workers,
            "maxReplicaCount": queue.max_workers,
            "pollingInterval": sizing.POLLING_SECONDS,
            "cooldownPeriod": sizing.cooldown_seconds(queue),
            "fallback": {
                "failureThreshold": FAILURES,
                "replicas": fallback.value,
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(queue)}},
            "triggers": [trigger],
        },
    )


def _behavior(queue: SLAQueueConfig) -> Object:
    """Up at once; down only when the number has been low for as long as another worker would take to start."""
    rules: Object = {
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": queue.max_workers, "periodSeconds": 1}],
    }
    return {
        "scaleUp": {"stabilizationWindowSeconds": 0, **rules},
        "scaleDown": {"stabilizationWindowSeconds": sizing.cooldown_seconds(queue), **rules},
    }


def needs_authentication(config: Config) -> bool:
    """Whether KEDA has to show who it is; a Kafka without SASL asks nobody."""
    return bool(scaler_of(config).keys) or urlsplit(config.url).scheme == "sqs"


def authentication(fleet: Fleet) -> Object:
    """TriggerAuthentication `littleq-broker`."""
    keys = scaler_of(fleet.config).keys
    references = [
        {"parameter": parameter, "name": BROKER_SECRET, "key": key} for parameter, key in keys.items()
    ]
    spec: Object = {"secretTargetRef": references} if keys else {"podIdentity": {"provider": "aws"}}
    return make_object(
        "keda.sh/v1alpha1", "TriggerAuthentication", BROKER_SECRET, fleet.settings.namespace, spec=spec
    )


def _redis(config: Config, queue: SLAQueueConfig, target: str) -> tuple[str, Object]:
    address = urlsplit(config.url)
    metadata = {
        "listName": f"{config.namespace}:{queue.name}.msgs",
        "listLength": target,
        "activationListLength": "0",
    }
    path = address.path.strip("/").split("/")
    if address.scheme in ("rediss", "valkeys"):
        metadata["enableTLS"] = "true"
    if address.scheme.endswith("+sentinel"):
        metadata["sentinelMaster"] = path.pop(0)
    database = dict(parse_qsl(address.query)).get("db") or (path[0] if path else "")
    if address.netloc and database.isdecimal() and database != "0":
        metadata["databaseIndex"] = database
    return "redis-sentinel" if "sentinelMaster" in metadata else "redis", metadata


def _rabbitmq(config: Config, queue: SLAQueueConfig, target: str) -> tuple[str, Object]:
    name = f"{_prefix(config, '.')}{queue.name}".replace(".", r"\.")
    return "rabbitmq", {
        "protocol": "http",
        "mode": "QueueLength",
        # A queue with a contract has its first sends beside the others: all of them are its jobs.
        "queueName": rf"^{name}(@first\.[0-9]+)?$",
        "useRegex": "true",
        "operation": "sum",
        "excludeUnacknowledged": "false",
        "value": target,
        "activationValue": "0",
    }


def _sqs(config: Config, queue: SLAQueueConfig, target: str) -> tuple[str, Object]:
    address = urlsplit(config.url)
    options = dict(parse_qsl(address.query))
    metadata = {
        "queueURL": sqs_queue(config, queue.name),  # a name: KEDA asks for its URL
        "awsRegion": address.netloc,
        "queueLength": target,
        "activationQueueLength": "0",
        "scaleOnInFlight": "true",
        "scaleOnDelayed": "false",
    }
    if "endpoint" in options:
        metadata["awsEndpoint"] = options["endpoint"]
    return "aws-sqs-queue", metadata


def sqs_queue(config: Config, queue: str) -> str:
    """The name of a queue at SQS, as `littleq.backends.sqs` makes it, whose package needs boto3."""
    fifo = ".fifo" if queue.endswith(".fifo") else ""
    namespace = dict(parse_qsl(urlsplit(config.url).query)).get("namespace")
    prefix = f"{namespace}_" if namespace else _prefix(config, "_")
    return f"{prefix}{queue.removesuffix('.fifo').replace('.', '-dot-')}{fifo}"


def _kafka(config: Config, queue: SLAQueueConfig, target: str) -> tuple[str, Object]:
    address = urlsplit(config.url)
    hosts = address.netloc.rpartition("@")[2].split(",")
    metadata = {
        "bootstrapServers": ",".join(
            host if host.rpartition(":")[2].isdecimal() else f"{host}:{_KAFKA_PORT}" for host in hosts if host
        ),
        "consumerGroup": f"{config.namespace}.{queue.name}",
        "topic": f"{_prefix(config, '.')}{queue.name}",
        "lagThreshold": target,
        "activationLagThreshold": "0",
        "offsetResetPolicy": "earliest",  # a group that has committed nothing yet has all of it before it
        "limitToPartitionsWithLag": "true",
    }
    if mechanism := _mechanism(config):
        metadata["sasl"] = mechanism
    if "SSL" in _kafka_options(config).get("security.protocol", "").upper().split("_"):
        metadata["tls"] = "enable"
    return "kafka", metadata


def _mechanism(config: Config) -> str | None:
    """As KEDA spells it; None: nobody has to log in."""
    options = _kafka_options(config)
    if "SASL" not in options.get("security.protocol", "").upper():
        return None
    named = options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN")).lower()
    return "plaintext" if named == "plain" else named.replace("-sha-", "_sha").replace("-", "_")


def _kafka_options(config: Config) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(config.url).query))


def _prefix(config: Config, mark: str) -> str:
    return "" if config.namespace == _PLAIN_NAMESPACE else f"{config.namespace}{mark}"
