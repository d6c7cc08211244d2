"""A day in the cluster: the policy decides each 15 s, and the HPA's loop makes replicas of it."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import NamedTuple

import pytest

from littleq.config import Config, SLAQueueConfig
from littleq.manifests.fleet import Fleet
from littleq.manifests.scaledobjects import TRIGGERS, scaled_object
from littleq.manifests.settings import Settings
from littleq.metrics.steps import stepped
from littleq.policies.scaling import Observation, ScalingSettings, decide
from tests.hpa import KEDA, SYNC_SECONDS, at_once

DAY = 86_400.0
SERVICE_SECONDS, THREADS, MOST = 0.5, 2, 40
QUEUE = SLAQueueConfig("realtime", sla_seconds=5.0, max_workers=MOST, threads_per_worker=THREADS)
FLEET = Fleet(Config(queues={"realtime": QUEUE}, decide_seconds=SYNC_SECONDS), Settings(image="littleq:test"))
MANIFEST = scaled_object(FLEET, QUEUE, TRIGGERS["keda"])["spec"]


def offered(at: float) -> float:
    """Jobs/s: nothing at night, 70/s at noon, and a flash for ten minutes in the afternoon."""
    wave = 70.0 * max(0.0, math.sin(math.pi * (at / DAY * 1.5 - 0.25)))
    return wave + (90.0 if 54_000 <= at < 54_600 else 0.0)


class Turn(NamedTuple):
    """One turn of the loop."""

    desired: int
    replicas: int


def a_day(keda_spec: dict[str, object]) -> list[Turn]:
    """The decision of each turn and the replicas after it, of a fleet that serves with what it has."""
    rng = random.Random(5)  # any will do: what is asserted holds for every sequence of decisions
    settings = ScalingSettings(
        sla_seconds=5.0, threads_per_worker=THREADS, max_workers=MOST, interval_seconds=SYNC_SECONDS
    )
    state, desired, backlog, came, served = None, 0, 0.0, 0.0, 0.0
    keda = KEDA(keda_spec, lambda: float(desired))
    turns = []
    for turn in range(round(DAY / SYNC_SECONDS)):
        now = turn * SYNC_SECONDS
        expected = offered(now) * SYNC_SECONDS
        arrivals = max(0, round(rng.gauss(expected, math.sqrt(expected)))) if expected else 0
        came += arrivals
        done = min(backlog + arrivals, keda.replicas * THREADS / SERVICE_SECONDS * SYNC_SECONDS)
        served, backlog = served + done, backlog + arrivals - done
        seen = Observation(
            now=now,
            offered=came,
            retried=0.0,
            services=served,
            service_seconds=served * SERVICE_SECONDS,
            service_seconds_squared=served * SERVICE_SECONDS**2 * 1.5,
            ready=round(backlog),
            in_flight=0,
            delayed=0,
            workers=keda.replicas,
        )
        decision, state = decide(settings, seen, state)
        desired = decision.desired_workers
        for poll in range(3):
            keda.poll(now + 5.0 * poll)
        keda.sync(now)
        turns.append(Turn(desired, keda.replicas))
    return turns


@pytest.fixture(scope="module")
def day() -> list[Turn]:
    return a_day(MANIFEST)


def replayed(day: list[Turn], tolerance: float, *, gauge_is_stepped: bool) -> list[Turn]:
    """The same decisions, followed by a cluster with another tolerance or another gauge."""
    desired = 0
    behavior = at_once(tolerance, pods=MOST)
    spec = {**MANIFEST, "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}}}
    keda = KEDA(spec, lambda: float(stepped(desired) if gauge_is_stepped else desired))
    turns = []
    for turn, (wanted, _) in enumerate(day):
        desired = wanted
        for poll in range(3):
            keda.poll(turn * SYNC_SECONDS + 5.0 * poll)
        turns.append(Turn(wanted, keda.sync(turn * SYNC_SECONDS)))
    return turns


def test_the_day_has_nights_waves_and_a_flash(day: list[Turn]) -> None:
    wanted = [turn.desired for turn in day]
    assert (min(wanted), max(wanted)) == (0, MOST)
    assert len(set(wanted)) > 25
    assert sum(one != other for one, other in pairwise(wanted)) > 30


def test_what_we_render_follows_every_decision_exactly(day: list[Turn]) -> None:
    """With the behavior of our own ScaledObject; below 1 only KEDA goes, after its cooldown."""
    assert all(turn.replicas == turn.desired for turn in day if turn.desired > 0)
    assert {turn.replicas for turn in day if turn.desired == 0} == {0, 1}


def test_the_usual_tolerance_leaves_the_fleet_short(day: list[Turn]) -> None:
    """Why the stepped gauge is there."""
    turns = replayed(day, 0.1, gauge_is_stepped=False)
    assert any(turn.replicas < turn.desired for turn in turns)


def test_the_stepped_gauge_never_does_and_costs_little(day: list[Turn]) -> None:
    turns = [
        turn for turn in replayed(day, 0.1, gauge_is_stepped=True) if turn.desired > 0
    ]  # at 0 KEDA's cooldown counts
    assert all(turn.replicas >= turn.desired for turn in turns)
    # A ninth at most; from max_workers, which is on no rung, it goes down later: one more ninth.
    assert all(turn.replicas <= max(1, (1 + 2 / 9) * turn.desired) for turn in turns)
    total = sum(turn.replicas for turn in turns) / sum(turn.desired for turn in turns)
    assert total < 1 + 1 / 9
