"""A double of what turns a number into replicas in a cluster: the HPA's loop, and KEDA around it.

The algorithm is the documented one of `autoscaling/v2` for a metric of type AverageValue; tests/unit/test_hpa.py holds
it to what was measured on a real API server. Nothing here waits: the caller says what time it is.

    KEDA  asks every pollingInterval: wakes from 0, sends the last pod away after cooldownPeriod, counts failures
    HPA   asks every 15 s, through KEDA: desired = ceil(value / threshold), unless the change is within the tolerance;
          then the stabilization windows, then the policies, then min and max
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: How often the HPA asks, in seconds; set for all HPAs of a cluster.
SYNC_SECONDS = 15.0
#: Of a cluster that nobody has set up.
TOLERANCE = 0.1

DEFAULT_BEHAVIOR: Mapping[str, Any] = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
            {"type": "Pods", "value": 4, "periodSeconds": 15},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    },
}


def at_once(tolerance: float = 0.0, pods: int = 1000) -> dict[str, Any]:
    """No window, no policy that bounds anything."""
    rules = {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": pods, "periodSeconds": 1}],
        "tolerance": str(tolerance),
    }
    return {"scaleUp": rules, "scaleDown": rules}


@dataclass
class HPA:
    """One HorizontalPodAutoscaler and the scale of what it scales.

    Attributes:
        replicas: of the Deployment; all are ready at once.
        least, most: `minReplicas` (>= 1, since the HPA itself never goes to 0) and `maxReplicas`.
        behavior: as in the manifest; a tolerance that it does not name is the cluster's.
    """

    replicas: int
    least: int = 1
    most: int = 100
    behavior: Mapping[str, Any] = field(default_factory=lambda: DEFAULT_BEHAVIOR)
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, value: float | None) -> int:
        """One turn of the loop: `value` in replicas (over the threshold); None: the metric cannot be had."""
        if self.replicas == 0:  # autoscaling is off
            return 0
        if self.replicas > self.most:
            return self._scale(now, self.most)
        if self.replicas < self.least:
            return self._scale(now, self.least)
        if value is None:
            return self.replicas
        return self._scale(now, self._limited(now, self._stable(now, self._wanted(value))))

    def _wanted(self, value: float) -> int:
        ratio = value / self.replicas
        if 1.0 - self._tolerance("scaleDown") <= ratio <= 1.0 + self._tolerance("scaleUp"):
            return self.replicas
        return math.ceil(round(value, 3))  # quantities have three decimals

    def _tolerance(self, way: str) -> float:
        return float(self.behavior[way].get("tolerance", TOLERANCE))

    def _stable(self, now: float, wanted: int) -> int:
        """Up to no more than was wanted all the time of its window, down to no less."""
        self._recommended.append((now, wanted))
        up, down = (
            [count for when, count in self._recommended if when > now - window or when == now]
            for window in (
                self.behavior[way]["stabilizationWindowSeconds"] for way in ("scaleUp", "scaleDown")
            )
        )
        if self.replicas < min(up):
            return min(up)
        return max(down) if self.replicas > max(down) else self.replicas

    def _limited(self, now: float, wanted: int) -> int:
        if wanted > self.replicas:
            wanted = min(wanted, max(self.replicas, self._limit(now, "scaleUp")))
        elif wanted < self.replicas:
            wanted = max(wanted, min(self.replicas, self._limit(now, "scaleDown")))
        return min(max(wanted, self.least), self.most)

    def _limit(self, now: float, way: str) -> int:
        """Where the policies let it go: from where it was when their period began."""
        sign = 1 if way == "scaleUp" else -1
        rules = self.behavior[way]
        if rules["selectPolicy"] == "Disabled":
            return self.replicas
        ends = []
        for policy in rules["policies"]:
            changed = sum(by for when, by in self._changes if when > now - policy["periodSeconds"])
            began, value = self.replicas - changed, policy["value"]
            if policy["type"] == "Pods":
                ends.append(began + sign * value)
            else:
                end = began * (1 + sign * value / 100)
                ends.append(math.ceil(end) if sign > 0 else int(end))
        farthest = max if (rules["selectPolicy"] == "Max") == (sign > 0) else min
        return farthest(ends)

    def _scale(self, now: float, replicas: int) -> int:
        if replicas != self.replicas:
            self._changes.append((now, replicas - self.replicas))
        self.replicas = replicas
        return replicas


@dataclass
class KEDA:
    """A ScaledObject with one trigger, and the HPA that KEDA makes of it.

    Attributes:
        spec: as in the manifest.
        ask: the trigger's answer; None for an empty one.
        replicas: that the Deployment begins with.
        tolerance: of the cluster, for a behavior that names none.
    """

    spec: Mapping[str, Any]
    ask: Callable[[], float | None]
    replicas: int = 0

    def __post_init__(self) -> None:
        behavior = self.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        least = self.spec["minReplicaCount"]
        self.hpa = HPA(self.replicas, max(1, least), self.spec["maxReplicaCount"], behavior)
        self._metadata = self.spec["triggers"][0]["metadata"]
        self._failures = 0
        self._active_at = -math.inf

    def poll(self, now: float) -> int:
        """What the operator does every `pollingInterval`."""
        value = self._value()
        hpa, least = self.hpa, self.spec["minReplicaCount"]
        if value is None:
            fallback = self.spec["fallback"]["replicas"]
            if self._has_failed and hpa.replicas < fallback:  # also from 0, where the HPA is off
                hpa.replicas = fallback
        elif value > float(self._metadata.get("activationThreshold", 0)):
            self._active_at = now
            if hpa.replicas == 0:
                hpa.replicas = max(1, least)
        elif hpa.replicas > 0 and least == 0 and now - self._active_at >= self.spec["cooldownPeriod"]:
            hpa.replicas = 0
        self.replicas = hpa.replicas
        return self.replicas

    def sync(self, now: float) -> int:
        """What the HPA does every 15 s: it asks KEDA, and gets the fallback after too many failures."""
        value = self._value() if self.hpa.replicas else None
        if value is None and self._has_failed:
            value = float(max(self.hpa.replicas, self.spec["fallback"]["replicas"]))
        threshold = float(self._metadata["threshold"])
        self.replicas = self.hpa.sync(now, None if value is None else value / threshold)
        return self.replicas

    @property
    def _has_failed(self) -> bool:
        return self._failures >= self.spec["fallback"]["failureThreshold"]

    def _value(self) -> float | None:
        value = self.ask()
        if value is None and self._metadata.get("ignoreNullValues", "true") == "true":
            value = 0.0
        self._failures = self._failures + 1 if value is None else 0
        return value
