"""The closed sets of values that the labels of `littleq.metrics.names` take."""

from __future__ import annotations

from typing import Final, get_args

from littleq.config import Criticality
from littleq.ledger import fields

#: `status` of what a worker took up: attempts are done or failed, jobs are skipped.
STATUSES: Final = (fields.DONE, fields.FAILED, fields.SKIPPED)
#: `criticality` of a send.
CRITICALITIES: Final[tuple[str, ...]] = get_args(Criticality)
#: `outcome` of a first-time send; exactly one for each.
OUTCOMES: Final = fields.OUTCOMES
#: `reason` of a dead letter (`littleq.job.Death`).
DEATH_REASONS: Final = ("exhausted", "refused", "expired", "undeliverable", "unretryable", "poison")
#: `state` of a job in the truth table (`littleq.backends.base.TruthTable`).
STATES: Final = ("ready", "in_flight", "delayed", "dead", "orphaned")
#: `event` of a service level (`littleq.autoscale.events`).
EVENTS: Final = ("breach_predicted", "breached", "recovered")
#: `regime` of a decision (`littleq.policies.scaling`).
REGIMES: Final = ("cold", "steady", "draining", "lean", "idle", "holding", "blind")
#: `input` of a decision: those of `littleq.policies.scaling.INPUTS` that are one number each.
DECISION_INPUTS: Final = (
    "arrival_rate", "forecast_error", "backlog_rate", "headroom_rate", "margin", "misses_expected", "guard",
    "dispersion", "service_time", "service_scv", "oldest_age", "workers", "startup_seconds", "desired_before",
    "standing_workers", "idle_for",
)  # fmt: skip
#: `source` of what a scrape reads; `page` is the arithmetic in between.
SOURCES: Final = ("ledger", "broker", "page")
