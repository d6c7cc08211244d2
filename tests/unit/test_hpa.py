"""The double of the HPA's loop does what was measured on a real API server, with KEDA 2.20 before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.hpa import DEFAULT_BEHAVIOR, HPA, KEDA, SYNC_SECONDS, at_once


def follow(hpa: HPA, values: Iterable[float | None]) -> list[int]:
    return [hpa.sync(place * SYNC_SECONDS, value) for place, value in enumerate(values)]


def test_with_tolerance_0_every_number_is_followed() -> None:
    assert follow(HPA(1, behavior=at_once()), [3, 20, 21, 22, 18, 17.2]) == [3, 20, 21, 22, 18, 18]


def test_it_goes_no_further_than_max() -> None:
    assert follow(HPA(18, most=60, behavior=at_once()), [60, 75]) == [60, 60]


@pytest.mark.parametrize("value", [21, 22, 18])
def test_with_the_usual_tolerance_a_tenth_is_ignored(value: int) -> None:
    assert follow(HPA(20, behavior=at_once(0.1)), [value]) == [20]


@pytest.mark.parametrize("value", [23, 17])
def test_and_more_than_a_tenth_is_not(value: int) -> None:
    assert follow(HPA(20, behavior=at_once(0.1)), [value]) == [value]


def test_a_behavior_without_a_tolerance_has_the_clusters() -> None:
    rules = {name: {key: rule[key] for key in rule if key != "tolerance"} for name, rule in at_once().items()}
    assert follow(HPA(20, behavior=rules), [22, 23]) == [20, 23]


def test_the_usual_policies_add_four_or_double_in_15_s() -> None:
    assert follow(HPA(3), [22, 22, 22, 22]) == [7, 14, 22, 22]


def test_the_usual_window_holds_300_s_before_it_goes_down() -> None:
    found = follow(HPA(22), [22, *[3.0] * 21])
    assert found == [*[22] * 20, 3, 3]


def test_a_window_upwards_takes_the_least_of_it() -> None:
    rules = {**at_once(), "scaleUp": {**at_once()["scaleUp"], "stabilizationWindowSeconds": 30}}
    assert follow(HPA(5, behavior=rules), [5, 9, 9, 9]) == [5, 5, 9, 9]


def test_a_policy_of_pods_goes_by_its_period() -> None:
    slow = {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}
    rules = {
        **at_once(),
        "scaleDown": {**slow, "stabilizationWindowSeconds": 0, "tolerance": "0"},
    }
    assert follow(HPA(10, behavior=rules), [1] * 9) == [8, 8, 8, 8, 6, 6, 6, 6, 4]


def test_of_several_policies_the_least_may_be_asked_for_and_all_may_be_forbidden() -> None:
    least = {**DEFAULT_BEHAVIOR, "scaleUp": {**DEFAULT_BEHAVIOR["scaleUp"], "selectPolicy": "Min"}}
    never = {**DEFAULT_BEHAVIOR, "scaleUp": {**DEFAULT_BEHAVIOR["scaleUp"], "selectPolicy": "Disabled"}}
    assert follow(HPA(3, behavior=least), [50]) == [6]
    assert follow(HPA(3, behavior=never), [50]) == [3]


def test_a_metric_that_cannot_be_had_changes_nothing_and_0_replicas_are_left_alone() -> None:
    assert follow(HPA(7, behavior=at_once()), [None, None]) == [7, 7]
    assert follow(HPA(0, behavior=at_once()), [9]) == [0]


def spec(**changes: Any) -> dict[str, Any]:
    metadata = {"threshold": "1", "activationThreshold": "0", "ignoreNullValues": "false"}
    return {
        "minReplicaCount": 0,
        "maxReplicaCount": 100,
        "pollingInterval": 5,
        "cooldownPeriod": 30,
        "fallback": {"failureThreshold": 3, "replicas": 5, "behavior": "currentReplicasIfHigher"},
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": at_once()}},
        "triggers": [{"metadata": {**metadata, **changes.pop("metadata", {})}}],
        **changes,
    }


class Cluster:
    """A KEDA that is asked as often as in a cluster, by a clock of its own."""

    def __init__(self, replicas: int = 0, **changes: Any) -> None:
        self.value: float | None = 0.0
        self.now = 0.0
        self.keda = KEDA(spec(**changes), lambda: self.value, replicas)

    def run(self, seconds: float, value: float | None) -> int:
        self.value = value
        end = self.now + seconds
        while self.now < end:
            self.keda.poll(self.now)
            if self.now % SYNC_SECONDS == 0:
                self.keda.sync(self.now)
            self.now += 5.0
        return self.keda.replicas


def test_keda_wakes_from_0_and_the_hpa_goes_on() -> None:
    cluster = Cluster()
    assert [cluster.run(15, value) for value in (0, 3, 20, 21, 22, 18)] == [0, 3, 20, 21, 22, 18]


def test_the_last_pod_goes_after_the_cooldown() -> None:
    cluster = Cluster()
    assert cluster.run(15, 7) == 7
    assert cluster.run(15, 0) == 1  # the HPA's least
    assert cluster.run(30, 0) == 0


def test_without_ignore_null_values_false_a_lost_series_sends_all_away() -> None:
    """Measured: 7 to 0 within 2 s, with a cooldown that short."""
    cluster = Cluster(metadata={"ignoreNullValues": "true"}, cooldownPeriod=5)
    assert cluster.run(15, 7) == 7
    assert cluster.run(15, None) == 0


def test_with_it_replicas_hold_and_the_fallback_raises_them_if_they_are_fewer() -> None:
    cluster = Cluster()
    assert cluster.run(15, 7) == 7
    assert cluster.run(600, None) == 7
    assert cluster.run(15, 3) == 3
    assert cluster.run(5, None) == 3  # the operator and the HPA have failed once each
    assert cluster.run(600, None) == 5
    assert cluster.run(15, 2) == 2


def test_the_fallback_wakes_from_0() -> None:
    cluster = Cluster()
    assert cluster.run(60, 0) == 0
    assert cluster.run(10, None) == 0
    assert cluster.run(60, None) == 5
