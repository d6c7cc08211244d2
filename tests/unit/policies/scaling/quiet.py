"""`Decision.inputs` of a queue where nothing happens, to change one number at a time."""

from __future__ import annotations

from typing import Any

from littleq.policies.scaling import INPUTS


def quiet(**changes: Any) -> dict[str, Any]:
    """Seven workers, no job, a service time of 0.5 s, a start-up of 30 s."""
    inputs: dict[str, Any] = {
        "arrival_rate": 0.0,
        "forecast_error": 0.0,
        "backlog_rate": 0.0,
        "headroom_of": "mean of 60 s",
        "headroom_rate": 0.0,
        "margin": 1.0,
        "misses_expected": 0.0,
        "guard": 1.0,
        "dispersion": 1.0,
        "service_time": 0.5,
        "service_scv": 1.0,
        "backlog": [],
        "scheduled": [],
        "oldest_age": None,
        "workers": 7,
        "starting": [],
        "startup_seconds": 30.0,
        "desired_before": 7,
        "standing_workers": 7,
        "held": [],
        "lean": False,
        "young": False,
        "idle_for": None,
        "halted": None,
        "blind": None,
    }
    assert set(inputs) == set(INPUTS)
    assert set(changes) <= set(inputs)
    return inputs | changes
