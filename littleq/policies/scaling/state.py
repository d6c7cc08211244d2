"""What one decision hands to the next, and how it goes through JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from littleq.estimators.durations import Services, Starts
from littleq.estimators.traffic import Traffic
from littleq.policies.scaling.headroom import Shadows
from littleq.policies.scaling.types import Observation, ScalingSettings


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What one decision hands to the next; `as_dict` and `from_dict` carry it through JSON.

    Attributes:
        desired_workers: the last decision.
        last: the last observation that could be read.
        traffic, services, starts, shadows: see `littleq.estimators` and `littleq.policies.scaling.headroom`.
        guard: what headroom is multiplied by, since real misses differ from those of the shadows.
        held: (when, workers wanted) within the last start-up time.
        rhythm: time between the last two observations, in seconds.
        owed: arrivals that were seen as delayed before they were seen as offered.
        busy_at: when something last came, waited or ran.
        young_until: no worker is sent away before.
    """

    desired_workers: int = 0
    last: Observation | None = None
    traffic: Traffic | None = None
    services: Services = field(default_factory=Services)
    starts: Starts = field(default_factory=Starts)
    shadows: Shadows = field(default_factory=Shadows)
    guard: float = 1.0
    held: tuple[tuple[float, int], ...] = ()
    rhythm: float = 0.0
    owed: float = 0.0
    busy_at: float = 0.0
    young_until: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "desired_workers": self.desired_workers,
            "last": None if self.last is None else _plain(self.last),
            "traffic": None if self.traffic is None else self.traffic.as_dict(),
            "services": list(self.services),
            "starts": self.starts.as_list(),
            "shadows": self.shadows.as_dict(),
            "guard": round(self.guard, 4),
            "held": [list(each) for each in self.held],
            "rhythm": self.rhythm,
            "owed": self.owed,
            "busy_at": self.busy_at,
            "young_until": self.young_until,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ScalingState:
        """The state that `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: another release wrote it, or it is broken: begin with None.
        """
        last, traffic = record["last"], record["traffic"]
        if last is not None:
            last = Observation(**{**last, "due": tuple((within, jobs) for within, jobs in last["due"])})
        return cls(
            desired_workers=int(record["desired_workers"]),
            last=last,
            traffic=None if traffic is None else Traffic.from_dict(traffic),
            services=Services(*record["services"]),
            starts=Starts.from_list(record["starts"]),
            shadows=Shadows.from_dict(record["shadows"]),
            guard=float(record["guard"]),
            held=tuple((when, int(workers)) for when, workers in record["held"]),
            rhythm=float(record["rhythm"]),
            owed=float(record["owed"]),
            busy_at=float(record["busy_at"]),
            young_until=float(record["young_until"]),
        )


def _plain(seen: Observation) -> dict[str, Any]:
    """As `dataclasses.asdict`, which copies deep and takes ten times as long."""
    return {name: getattr(seen, name) for name in Observation.__slots__}


def startup_seconds(settings: ScalingSettings, starts: Starts) -> float:
    """A worker's start-up time, as learned or as hinted."""
    return settings.startup_seconds if starts.seconds is None else starts.seconds


def service_time(settings: ScalingSettings, state: ScalingState) -> float | None:
    """S in seconds, as measured or as hinted."""
    return state.services.mean() or settings.service_time


def promised_wait(settings: ScalingSettings, service: float | None) -> float:
    """What the SLA leaves for the wait, in seconds: all of it, or what the service does not take."""
    served = (service or 0.0) if settings.sojourn else 0.0
    return max(settings.sla_seconds - served, 0.05 * settings.sla_seconds)


def is_lean(settings: ScalingSettings, state: ScalingState) -> bool:
    """Whether a worker that is asked for after a surprise still comes in time."""
    patience = promised_wait(settings, service_time(settings, state)) * settings.scale_threshold
    return patience >= startup_seconds(settings, state.starts) + settings.interval_seconds


def starting_workers(seen: Observation, state: ScalingState) -> int:
    """Workers that were asked for and do not take jobs yet."""
    if seen.starting is not None:
        return seen.starting
    return max(0, state.desired_workers - (seen.workers or 0))
