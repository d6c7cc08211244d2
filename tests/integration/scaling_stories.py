"""Queues that the policy has decided about, one for each regime."""

from __future__ import annotations

from typing import Any

from littleq.policies.scaling import Decision, Observation, ScalingSettings, decide

#: What the policy is given, and what it sees one interval after the other.
Story = tuple[ScalingSettings, list[Observation]]

INTERVAL, SERVICE_TIME = 5.0, 0.2
STEADY = ScalingSettings(sla_seconds=1.0, threads_per_worker=2, max_workers=100, startup_seconds=20.0)


def traffic(counts: list[int], *, served: list[int] | None = None, **seen: Any) -> list[Observation]:
    """A queue that is looked at each interval: jobs that came, and those that were served (all of them)."""
    offered = done = 0
    found = []
    for place, count in enumerate(counts):
        offered += count
        done += count if served is None else served[place]
        found.append(
            Observation(
                **{
                    "now": 1000.0 + INTERVAL * place,
                    "offered": float(offered),
                    "retried": 0.0,
                    "services": float(done),
                    "service_seconds": done * SERVICE_TIME,
                    "service_seconds_squared": done * SERVICE_TIME**2 * 1.5,
                    "ready": offered - done,
                    "in_flight": 0,
                    "delayed": 0,
                    "workers": 4,
                    **seen,
                }
            )
        )
    return found


def uneven(intervals: int) -> list[int]:
    """About 20 jobs/s, and now and then a third more."""
    return [100 + 7 * (place % 5) + (33 if place % 9 == 0 else 0) for place in range(intervals)]


def a_surge() -> Story:
    return STEADY, traffic(
        [*uneven(60), 300, 600], served=[*uneven(60), 200, 200], due=((5.0, 4), (20.0, 12)), delayed=12
    )


def stories() -> dict[str, Story]:
    """By the regime that the last decision of each must be of."""
    quiet = [*uneven(20), *[0] * 60]
    return {
        "cold": (
            ScalingSettings(sla_seconds=1.0, jobs_per_worker=3, max_step_up=2),
            traffic([10, 10], served=[0, 0], workers=1),
        ),
        "steady": (STEADY, traffic(uneven(200))),
        "draining": a_surge(),
        "lean": (ScalingSettings(sla_seconds=120.0, percentile=95.0), traffic(uneven(80))),
        "idle": (STEADY, traffic(quiet)),
        "holding": (STEADY, [*traffic(uneven(50))[:-1], traffic(uneven(50), paused=True)[-1]]),
        "blind": (STEADY, [*traffic(uneven(50))[:-1], traffic(uneven(50), ready=None)[-1]]),
    }


def told(story: Story) -> Decision:
    settings, observations = story
    state = None
    for observation in observations:
        decision, state = decide(settings, observation, state)
    return decision
