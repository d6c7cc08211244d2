"""What the cluster is like: all that littleq.toml does not say."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from littleq.errors import ConfigurationError

#: The Service that the Prometheus Operator makes, in the namespace that most give it.
PROMETHEUS_URL = "http://prometheus-operated.monitoring.svc:9090"
#: From here on an HPA takes `behavior.scaleUp.tolerance`, so that a change of 10 % or less is followed too.
TOLERANCE_SINCE = (1, 35)
#: `autoscaling/v2`, which all of this needs, is there from here on.
OLDEST = (1, 23)

#: Dramatiq's own: `TimeLimit` stops a job after ten minutes, where its actor sets no other limit.
DRAMATIQ_TIME_LIMIT_SECONDS = 600.0

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|Ki|Mi|Gi)?")
_IMAGE = re.compile(r"[a-zA-Z0-9][\w.\-/:@]*")


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long a job of a queue may take.

    Args:
        seconds: > 0, finite.
        source: where that is said, as the rest of a sentence.
    """

    seconds: float
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What a cluster is like.

    Args:
        image: of all containers, such as `littleq:1.0`.
        namespace: of all objects; it must exist.
        modules: that declare the actors, as `littleq worker` takes them.
        kubernetes: the cluster's version, as (major, minor); >= (1, 23).
        prometheus_url: where KEDA, or the adapter of the HPA, asks.
        matchers: more label matchers of that query, such as `cluster="eu"`.
        cpu, memory: what a worker's container requests, as quantities of Kubernetes; `memory` is its limit too.
        broker_ports: ports that the controller may connect to, for broker and ledger.
        deletion_cost: whether the controller keeps `pod-deletion-cost` on pods, for which it gets rights on them;
            also where the configuration says `pod_deletion_cost`.
        grace: seconds that running jobs get when their worker shall stop, for every queue; None: the longest time
            limit of the queue's jobs.
        time_limits: those, by queue; a queue that is missing has Dramatiq's default.
        account_annotations: of the ServiceAccounts, such as the role that pods have at a cloud.
        monitor_labels: labels by which a Prometheus finds its ServiceMonitors and PrometheusRules.

    Raises:
        ConfigurationError: a value is not legal.
    """

    image: str
    namespace: str = "littleq"
    modules: tuple[str, ...] = ("actors",)
    kubernetes: tuple[int, int] = TOLERANCE_SINCE
    prometheus_url: str = PROMETHEUS_URL
    matchers: str = ""
    cpu: str = "250m"
    memory: str = "256Mi"
    broker_ports: tuple[int, ...] = (6379,)
    deletion_cost: bool = False
    grace: float | None = None
    time_limits: Mapping[str, TimeLimit] = field(default_factory=dict)
    monitor_labels: Mapping[str, str] = field(default_factory=dict)
    account_annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, pattern, legal in (
            ("image", self.image, _IMAGE, "an image's name, such as registry.example/shop:1.4"),
            ("namespace", self.namespace, _LABEL, "a namespace: small letters, digits and -, at most 63"),
            ("cpu", self.cpu, _QUANTITY, "an amount of CPU, such as 250m or 1"),
            ("memory", self.memory, _QUANTITY, "an amount of memory, such as 256Mi or 1Gi"),
        ):
            if not pattern.fullmatch(value):
                raise ConfigurationError(f"{name} is {value!r}: it must be {legal}; correct it.")
        if self.kubernetes < OLDEST:
            shown, oldest = (".".join(map(str, version)) for version in (self.kubernetes, OLDEST))
            raise ConfigurationError(
                f"kubernetes is {shown}: it must be {oldest} or later, where autoscaling/v2 begins; name the "
                "cluster's version."
            )
        if self.grace is not None and not 0 < self.grace < math.inf:
            raise ConfigurationError(
                f"grace is {self.grace!r}: it must be a number of seconds above 0; correct it."
            )

    @property
    def follows_every_change(self) -> bool:
        """Whether the cluster's HPA can be told to follow a change of 10 % or less."""
        return self.kubernetes >= TOLERANCE_SINCE
