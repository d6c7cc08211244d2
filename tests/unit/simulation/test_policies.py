"""Policies by their names, the pool that they begin with, and LittleQ's own through its real interface."""

from __future__ import annotations

import json
import math

import pytest

from littleq import law
from littleq.errors import ValidationError
from littleq.policies.scaling import ScalingSettings, ScalingState, decide
from littleq.simulation.engine import simulate
from littleq.simulation.policies import KNOWN, contestant
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.sizing import pool_for, warm_pool
from littleq.simulation.workload import Workload, from_shape
from tests.simulation.fixed_pool import Planned

SETTINGS = ScalingSettings(sla_seconds=1.0, max_workers=50)
BUSY = from_shape(parse_shape("step:10,30@5m", 600.0), parse_service("exp:0.5"), seconds=600.0, seed=1)


@pytest.mark.parametrize("name", KNOWN)
def test_every_policy_plays(name: str) -> None:
    player = contestant(name, BUSY, SETTINGS)
    run = simulate(BUSY, player.policy, SETTINGS, initial_workers=player.initial_workers)
    assert run.policy == name
    assert len(run.starts) == len(BUSY.arrivals)
    assert run.worker_seconds > BUSY.work


def test_littleq_is_driven_through_its_interface_and_its_state_goes_through_json() -> None:
    """The same observations, one by one, with the state carried as the controller carries it: the same decisions."""
    player = contestant("littleq", BUSY, SETTINGS)
    run = simulate(BUSY, player.policy, SETTINGS, initial_workers=player.initial_workers)
    witness = Planned([moment.desired for moment in run.moments], SETTINGS.interval_seconds)
    again = simulate(BUSY, witness, SETTINGS, initial_workers=player.initial_workers)
    assert again.starts == run.starts
    state: ScalingState | None = None
    decided = []
    for view in witness.views:
        decision, state = decide(SETTINGS, view.observation, state)
        state = ScalingState.from_dict(json.loads(json.dumps(state.as_dict())))
        decided.append(decision.desired_workers)
    assert decided == [moment.desired for moment in run.moments]


def test_the_first_pool_is_enough_for_the_first_minute() -> None:
    rate = BUSY.rate(0.0, 60.0)
    servers = law.servers_for_tail(rate, BUSY.service_time, 1.0, 99.0, service_scv=BUSY.service_scv)
    assert warm_pool(BUSY, SETTINGS) == servers
    assert contestant("hpa-cpu", BUSY, SETTINGS).initial_workers == servers
    assert contestant("hpa-cpu", BUSY, SETTINGS, initial_workers=3).initial_workers == 3


def test_static_has_what_the_busiest_minute_needs_all_the_time() -> None:
    player = contestant("static", BUSY, SETTINGS)
    assert player.initial_workers == pool_for(BUSY.peak_rate(), BUSY, SETTINGS) > warm_pool(BUSY, SETTINGS)
    assert contestant("static:7", BUSY, SETTINGS, initial_workers=3).initial_workers == 7


def test_a_pool_knows_threads_bounds_and_sojourns() -> None:
    one = pool_for(10.0, BUSY, SETTINGS)
    assert pool_for(10.0, BUSY, ScalingSettings(sla_seconds=1.0, threads_per_worker=4)) == math.ceil(one / 4)
    assert pool_for(10.0, BUSY, ScalingSettings(sla_seconds=1.0, max_workers=3)) == 3
    assert pool_for(0.0, BUSY, ScalingSettings(sla_seconds=1.0, min_workers=2)) == 2
    assert pool_for(10.0, BUSY, ScalingSettings(sla_seconds=1.0, sojourn=True)) > one
    assert (
        pool_for(10.0, BUSY, ScalingSettings(sla_seconds=0.1, sojourn=True)) > one
    )  # nobody could keep that one
    assert warm_pool(Workload([], [], 10.0), SETTINGS) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("magic", "'magic' is no policy: choose among littleq, hpa-cpu:70"),
        ("", "'' is no policy"),
        ("littleq:3", "takes no number"),
        ("horizon:3", "takes no number"),
        ("aws-backlog:3", "takes no number"),
        ("hpa-cpu:0", "in percent of CPU"),
        ("hpa-cpu:170", "in percent of CPU"),
        ("hpa-cpu:high", "'high' is not a number"),
        ("keda-list:0", "jobs per worker, above 0"),
        ("static:1.5", "whole number of workers from 0 to 50"),
        ("static:51", "whole number of workers from 0 to 50"),
    ],
)
def test_a_name_that_means_nothing_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        contestant(text, BUSY, SETTINGS)
    assert says in str(refusal.value)
    assert "--policy" in str(refusal.value)
