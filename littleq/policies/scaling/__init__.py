"""How many workers a queue needs now, so that the promise holds at the least cost.

Pure: an observation and the state of the last decision in, a decision and the next state out. The same code runs
in the controller, in `littleq explain` and, in virtual time, in `littleq simulate`.

    settings = ScalingSettings(sla_seconds=1.0, max_workers=50)
    decision, state = decide(settings, observation, state)   # state: None at first
"""

from littleq.policies.scaling.deciding import decide, recompute
from littleq.policies.scaling.inputs import INPUTS
from littleq.policies.scaling.state import ScalingState
from littleq.policies.scaling.types import Decision, Observation, ScalingSettings

__all__ = ["INPUTS", "Decision", "Observation", "ScalingSettings", "ScalingState", "decide", "recompute"]
