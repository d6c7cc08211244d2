"""Dramatiq middlewares, one class a file: read options, ask a policy, act, report.

`littleq.install` puts them in this order; Dramatiq runs `before_*` hooks down the list and `after_*` hooks up it.

    … the app's own middlewares …
    ExponentialRetries   where Dramatiq's Retries stood
    DeadLetters          stamps why a job died, just before it is rejected
    Poison               stops a job that kills its workers, on brokers that do not count deaths themselves
    AdmissionControl     judges first sends (called by the gate around `broker.enqueue`)
    Concurrency          bounds what a process holds of a queue
    Draining             stops a worker without a job more, and loses none
    Presence             tells the ledger that this worker lives
    Pulse                tells `littleq health` that this worker lives
    SLATimer             last: its clock starts right before the actor and stops right after
"""

from littleq.middleware.admission import AdmissionControl
from littleq.middleware.concurrency import Concurrency
from littleq.middleware.dead_letters import DeadLetters
from littleq.middleware.draining import Draining
from littleq.middleware.overloaded import Overloaded
from littleq.middleware.poison import Poison
from littleq.middleware.presence import Presence
from littleq.middleware.pulse import Pulse
from littleq.middleware.retries import ExponentialRetries
from littleq.middleware.sla_timer import SLATimer

__all__ = [
    "AdmissionControl",
    "Concurrency",
    "DeadLetters",
    "Draining",
    "ExponentialRetries",
    "Overloaded",
    "Poison",
    "Presence",
    "Pulse",
    "SLATimer",
]
