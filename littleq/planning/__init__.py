"""What a promise takes, before anything runs: servers, limits, what each more buys, and what a burst does.

Pure maths on `littleq.law`. The steady state is M/M/c or its Allen-Cunneen correction (`demand`), the burst a fluid
(`burst`). A plan is arithmetic: the same demand gives the same plan.

    demand     what arrives, how long it takes, what is promised, and how a pool of c servers keeps it
    burst      a multiple of the arrival rate for a while: backlog, waits, misses, and what would help
    pool       the plan: limits, workers, quantiles, the cost curve, the burst
    plot       its picture
"""

from __future__ import annotations

from littleq.planning.burst import Burst, Ride, plan_burst
from littleq.planning.demand import Demand
from littleq.planning.pool import Plan, Point, plan

__all__ = ["Burst", "Demand", "Plan", "Point", "Ride", "plan", "plan_burst"]
