"""When the producer sends: what it shares with the simulator."""

from __future__ import annotations

from littleq.simulation.arrivals import Arrivals, Trace, bursts, generated, poisson, steady
from littleq.simulation.traces import TraceError, read_trace

__all__ = ["Arrivals", "Trace", "TraceError", "bursts", "generated", "poisson", "read_trace", "steady"]
