"""The other policies, by values worked out by hand from what their systems document."""

from __future__ import annotations

import pytest

from littleq.policies.scaling import Observation, ScalingSettings
from littleq.simulation.baselines import AwsBacklog, Horizon, HpaCpu, KedaList, Static
from littleq.simulation.engine import Policy, View

SETTINGS = ScalingSettings(sla_seconds=10.0, max_workers=100)


def view(
    now: float, workers: int, *, starting: int = 0, utilization: float | None = None, ready: int = 0
) -> View:
    seen = Observation(
        now=now, workers=workers, starting=starting, ready=ready, services=10.0, service_seconds=20.0
    )
    return View(seen, workers + starting, utilization)


def settled(policy: Policy, *views: View) -> int:
    """What the policy says at the last of the views."""
    answers = [policy.workers(each) for each in views]
    return answers[-1]


@pytest.mark.parametrize(
    ("workers", "utilization", "desired"),
    [
        (10, 0.70, 10),
        (10, 0.77, 10),  # a ratio of 1.1 is within the tolerance
        (10, 0.78, 12),  # 10 × 1.114
        (10, 1.00, 15),  # 10 × 1.43
        (2, 1.00, 3),
        (10, 0.63, 10),  # a ratio of 0.9
        (10, 0.35, 10),  # 5 is recommended, but 10 was within the last 300 s
    ],
)
def test_hpa_takes_pods_times_utilization_over_the_target(
    workers: int, utilization: float, desired: int
) -> None:
    assert HpaCpu(SETTINGS).workers(view(15.0, workers, utilization=utilization)) == desired


def test_hpa_scales_down_to_the_highest_recommendation_of_five_minutes() -> None:
    policy = HpaCpu(SETTINGS)
    assert policy.workers(view(0.0, 10, utilization=0.7)) == 10
    asked = [policy.workers(view(15.0 * sync, 10, utilization=0.35)) for sync in range(1, 22)]
    assert asked == [10] * 20 + [5]  # at 315 s nothing above 5 is younger than 300 s


def test_hpa_adds_at_most_as_many_again_or_four_in_a_sync() -> None:
    assert HpaCpu(SETTINGS, target=0.1).workers(view(15.0, 1, utilization=1.0)) == 5  # not 10
    assert HpaCpu(SETTINGS, target=0.1).workers(view(15.0, 8, utilization=1.0)) == 16  # not 80
    assert HpaCpu(SETTINGS, target=0.1).workers(view(15.0, 80, utilization=1.0)) == 100  # max_workers


def test_hpa_counts_pods_that_start_as_idle_when_it_would_scale_up() -> None:
    # 10 ready at 100 %: ratio 1.43; with 2 starting ones 1.19, × 12 = 15.
    assert HpaCpu(SETTINGS).workers(view(15.0, 10, starting=2, utilization=1.0)) == 15
    # With 4, the ratio falls to 1.02: within the tolerance.
    assert HpaCpu(SETTINGS).workers(view(15.0, 10, starting=4, utilization=1.0)) == 14
    # With 10, it would turn the direction round; and that nothing is done is not for want of a recent maximum.
    policy = HpaCpu(SETTINGS)
    policy._recommended.append((-1000.0, 1))
    assert policy.workers(view(15.0, 10, starting=10, utilization=1.0)) == 20


def test_hpa_leaves_pods_that_start_out_when_it_would_scale_down() -> None:
    policy = HpaCpu(SETTINGS)
    policy._recommended.append((-1000.0, 14))  # nothing recent holds it
    assert policy.workers(view(15.0, 10, starting=4, utilization=0.35)) == 5


def test_hpa_without_a_ready_pod_changes_nothing_and_never_goes_to_zero() -> None:
    assert HpaCpu(SETTINGS).workers(view(15.0, 0, starting=3)) == 3
    assert HpaCpu(SETTINGS).workers(view(15.0, 0)) == 1
    policy = HpaCpu(SETTINGS)
    assert settled(policy, view(0.0, 1, utilization=0.0), view(400.0, 1, utilization=0.0)) == 1


@pytest.mark.parametrize(
    ("workers", "ready", "desired"),
    [
        (4, 20, 4),
        (4, 22, 4),  # within the tolerance
        (4, 23, 5),
        (4, 36, 8),
        (4, 100, 8),  # 20 are wanted; as many again, or 4 more, are allowed
        (10, 100, 20),
        (60, 900, 100),  # max_workers
    ],
)
def test_keda_takes_the_length_over_the_jobs_per_pod(workers: int, ready: int, desired: int) -> None:
    assert KedaList(SETTINGS).workers(view(15.0, workers, ready=ready)) == desired


def test_keda_holds_five_minutes_then_collapses_and_goes_to_zero() -> None:
    policy = KedaList(SETTINGS)
    assert policy.workers(view(0.0, 4, ready=20)) == 4
    workers = [policy.workers(view(15.0 * sync, 4)) for sync in range(1, 20)]
    assert workers == [4] * 19
    assert policy.workers(view(300.0, 4)) == 0  # a poll, 300 s after the last job was seen


def test_keda_wakes_at_a_poll_which_comes_every_thirty_seconds() -> None:
    policy = KedaList(SETTINGS)
    assert policy.workers(view(15.0, 0)) == 0
    assert policy.workers(view(30.0, 0, ready=7)) == 0  # the last poll was 15 s ago
    assert policy.workers(view(45.0, 0, ready=500)) == 1


def test_keda_keeps_the_minimum_where_there_is_one() -> None:
    policy = KedaList(ScalingSettings(sla_seconds=1.0, min_workers=2))
    assert settled(policy, *(view(15.0 * sync, 2) for sync in range(60))) == 2


def test_aws_scales_out_after_three_minutes_above_the_target_in_proportion() -> None:
    """S is 2 s and the SLA 10 s: 5 jobs a worker are acceptable; 60 jobs on 3 workers are 20."""
    policy = AwsBacklog(SETTINGS)
    minutes = [policy.workers(view(60.0 * minute, 3, ready=60)) for minute in range(1, 4)]
    assert minutes == [3, 3, 12]
    assert policy.workers(view(240.0, 3, starting=9, ready=15)) == 12  # 5 a worker: not above the target


def test_aws_scales_in_after_fifteen_minutes_ten_percent_below() -> None:
    policy = AwsBacklog(SETTINGS)
    minutes = [policy.workers(view(60.0 * minute, 10, ready=20)) for minute in range(1, 16)]
    assert minutes == [10] * 14 + [4]
    policy = AwsBacklog(SETTINGS)
    just_below = [policy.workers(view(60.0 * minute, 10, ready=46)) for minute in range(1, 30)]
    assert just_below == [10] * 29  # 4.6 of 5: not 10 % below


def test_aws_does_not_scale_in_while_instances_start_and_keeps_one() -> None:
    policy = AwsBacklog(SETTINGS)
    assert settled(policy, *(view(60.0 * minute, 10, starting=1) for minute in range(1, 16))) == 11
    assert policy.workers(view(960.0, 10)) == 1
    assert AwsBacklog(SETTINGS).workers(view(60.0, 0)) == 1


def test_aws_does_nothing_before_it_knows_how_long_a_job_takes() -> None:
    policy = AwsBacklog(SETTINGS)
    unknown = View(Observation(now=60.0, workers=3, starting=0, ready=500, services=0.0), 3, None)
    assert [policy.workers(unknown) for _ in range(4)] == [3] * 4


def test_horizon_moves_by_one_process() -> None:
    policy = Horizon(SETTINGS)
    assert policy.workers(view(3.0, 4, ready=1000)) == 5
    assert policy.workers(view(3.0, 4, starting=2, ready=1)) == 7
    assert policy.workers(view(3.0, 4)) == 3
    assert policy.workers(view(3.0, 1)) == 1
    assert policy.workers(view(3.0, 0)) == 1
    assert policy.workers(view(3.0, 100, ready=5)) == 100


def test_static_never_moves() -> None:
    assert Static(SETTINGS, 7).workers(view(5.0, 3, ready=1000)) == 7


def test_each_looks_as_often_as_its_system_does() -> None:
    every = {
        type(policy).__name__: policy.interval_seconds
        for policy in (HpaCpu(SETTINGS), KedaList(SETTINGS), AwsBacklog(SETTINGS), Horizon(SETTINGS))
    }
    assert every == {"HpaCpu": 15.0, "KedaList": 15.0, "AwsBacklog": 60.0, "Horizon": 3.0}
