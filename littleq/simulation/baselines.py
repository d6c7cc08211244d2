"""How others decide, as their documentation says, with their default settings.

Each sees what its system would see, and is given what LittleQ gets too: the same jobs, start-up time, bounds and first
pool. CPU utilization is the share of busy threads: jobs that only compute. A list's length is the jobs that wait.
"""

from __future__ import annotations

import math
from collections import deque

from littleq.policies.scaling import ScalingSettings
from littleq.simulation.engine import View


class _Hpa:
    """What every Kubernetes HorizontalPodAutoscaler does around its metric.

    Every 15 s. A ratio of metric to target within 0.1 of 1 changes nothing. Up: at once, but in 15 s by no more than
    100 % or 4 pods, whichever is more. Down: to the highest recommendation of the last 300 s. At least one pod.

    Source: kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale (algorithm details, default
    behavior).
    """

    interval_seconds = 15.0
    TOLERANCE = 0.1
    STABILIZATION_SECONDS = 300.0
    UP_PERCENT, UP_PODS = 100, 4

    def __init__(self, settings: ScalingSettings) -> None:
        self._least = max(1, settings.min_workers)
        self._most = settings.max_workers
        self._recommended: deque[tuple[float, int]] = deque()

    def _within_tolerance(self, ratio: float) -> bool:
        return abs(ratio - 1.0) <= self.TOLERANCE + 1e-9

    def _settle(self, now: float, current: int, recommended: int) -> int:
        if not self._recommended:
            self._recommended.append(
                (now, current)
            )  # what runs when the autoscaler begins counts as recommended
        self._recommended.append((now, recommended))
        while self._recommended[0][0] < now - self.STABILIZATION_SECONDS:
            self._recommended.popleft()
        if recommended > current:
            most = max(current * (100 + self.UP_PERCENT) // 100, current + self.UP_PODS)
            settled = min(recommended, most)
        else:
            settled = min(current, max(pods for _, pods in self._recommended))
        return min(self._most, max(self._least, settled))


class HpaCpu(_Hpa):
    """Kubernetes HPA on CPU utilization.

    ceil(pods × utilization / target). Pods that are not ready yet are left out of the average; where it would scale up
    all the same, they count as using nothing, and if that turns the direction round or ends within the tolerance,
    nothing happens.

    Args:
        target: averageUtilization, as a share of the request, (0, 1].

    Source: kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale, "Algorithm details".
    """

    name = "hpa-cpu"

    def __init__(self, settings: ScalingSettings, target: float = 0.7) -> None:
        super().__init__(settings)
        self._target = target

    def workers(self, view: View) -> int:
        now, current = view.observation.now, view.pool
        if current == 0:
            return self._least
        return self._settle(now, current, self._recommendation(view))

    def _recommendation(self, view: View) -> int:
        ready, starting = view.observation.workers or 0, view.observation.starting or 0
        current = view.pool
        if view.utilization is None or ready == 0:
            return current  # no metric, no change
        ratio = view.utilization / self._target
        counted = ready
        if starting and ratio > 1.0:
            counted = ready + starting
            ratio = ratio * ready / counted
            if ratio < 1.0:
                return current
        if self._within_tolerance(ratio):
            return current
        return math.ceil(ratio * counted - 1e-9)


class KedaList(_Hpa):
    """KEDA on the length of a Redis list, `listLength` jobs a pod.

    KEDA hands the length to an HPA as an external metric of type AverageValue: ceil(length / listLength), with the
    HPA's tolerance, limits and stabilization. KEDA itself only looks every 30 s (pollingInterval) whether to go from 0
    to 1 pod, and goes to minReplicaCount 0 (if the settings allow none) after 300 s (cooldownPeriod) without a job.

    Source: keda.sh/docs/latest/reference/scaledobject-spec and keda.sh/docs/latest/scalers/redis-lists.
    """

    name = "keda-list"
    POLLING_SECONDS = 30.0
    COOLDOWN_SECONDS = 300.0

    def __init__(self, settings: ScalingSettings, list_length: float = 5.0) -> None:
        super().__init__(settings)
        self._may_be_zero = settings.min_workers == 0
        self._list_length = list_length
        self._active_at = 0.0
        self._polled_at = -math.inf

    def workers(self, view: View) -> int:
        now, current, length = view.observation.now, view.pool, view.observation.ready or 0
        if now - self._polled_at >= self.POLLING_SECONDS:
            self._polled_at = now
            if length:
                self._active_at = now
                if current == 0:
                    return 1
            elif self._may_be_zero and now - self._active_at >= self.COOLDOWN_SECONDS:
                return 0
        if current == 0:
            return 0  # the HPA sleeps
        ratio = length / (self._list_length * current)
        wanted = current if self._within_tolerance(ratio) else math.ceil(length / self._list_length)
        return self._settle(now, current, wanted)


class AwsBacklog:
    """AWS target tracking on the backlog per instance, for a group of EC2 instances that work on an SQS queue.

    The metric, once a minute: visible messages / instances in service. Its target: acceptable latency / average time
    to process a message, here the SLA over the measured service time, times the threads of an instance. Target
    tracking sizes the group in proportion, ceil(instances × metric / target). It scales out when the metric is above
    the target for 3 minutes and scales in when it is more than 10 % below for 15 minutes, and not while instances warm
    up (here: start). At least one instance: none in service has no backlog per instance.

    Source: docs.aws.amazon.com/autoscaling/ec2/userguide/as-using-sqs-queue.html and as-scaling-target-tracking.html.
    The numbers of minutes are those of the alarms that target tracking creates (AlarmHigh 3 of 3, AlarmLow 15 of 15).
    """

    name = "aws-backlog"
    interval_seconds = 60.0
    OUT_MINUTES, IN_MINUTES = 3, 15
    IN_MARGIN = 0.9

    def __init__(self, settings: ScalingSettings) -> None:
        self._settings = settings
        self._least = max(1, settings.min_workers)
        self._metrics: deque[float] = deque(maxlen=self.IN_MINUTES)

    def workers(self, view: View) -> int:
        seen = view.observation
        in_service, current = seen.workers or 0, view.pool
        if not in_service:
            return max(self._least, current)
        self._metrics.append((seen.ready or 0) / in_service)
        target = self._target(view)
        if target is None:
            return current
        latest = list(self._metrics)
        wanted = max(self._least, math.ceil(in_service * latest[-1] / target))
        out = latest[-self.OUT_MINUTES :]
        if len(out) == self.OUT_MINUTES and min(out) > target:
            return max(current, wanted)
        if len(latest) == self.IN_MINUTES and max(latest) < self.IN_MARGIN * target and not seen.starting:
            return min(current, wanted)
        return current

    def _target(self, view: View) -> float | None:
        seen = view.observation
        if not seen.services or not seen.service_seconds:
            return None
        service_time = seen.service_seconds / seen.services
        return self._settings.sla_seconds * self._settings.threads_per_worker / service_time


class Horizon:
    """Laravel Horizon, `balance => auto` with the strategy `time`.

    Every 3 s (balanceCooldown) each queue gets the share of maxProcesses that its time to clear (jobs × run time) has
    in the sum over all queues, and its pool moves towards that by at most one process (balanceMaxShift). Adapted to one
    queue: its share is all or nothing, so the pool grows by one every 3 s while a job waits, and shrinks by one every
    3 s while none does. At least one process (minProcesses).

    Source: laravel.com/docs/12.x/horizon, "Balancing strategies".
    """

    name = "horizon"
    interval_seconds = 3.0
    MAX_SHIFT = 1

    def __init__(self, settings: ScalingSettings) -> None:
        self._least = max(1, settings.min_workers)
        self._most = settings.max_workers

    def workers(self, view: View) -> int:
        wanted = self._most if view.observation.ready else self._least
        shift = min(self.MAX_SHIFT, max(-self.MAX_SHIFT, wanted - view.pool))
        return view.pool + shift


class Static:
    """A pool of a fixed size: what one would buy who knows the busiest minute beforehand, by Erlang C.

    Args:
        size: workers.
    """

    name = "static"

    def __init__(self, settings: ScalingSettings, size: int) -> None:
        self.interval_seconds = settings.interval_seconds
        self.size = size

    def workers(self, view: View) -> int:
        return self.size
