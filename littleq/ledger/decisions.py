"""What was decided about each queue, as the ledger keeps it: written by the controller, read by everybody else.

    controller ── publish(lease, {queue: record}) ──> Ledger ── records() ──> pool, exporter, explain, KEDA

Any process that reads it sees the same, and sees how old it is. A decision that nobody has renewed for long is stale:
whoever decides may be gone, and nobody may send workers away because of what it said last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from littleq.ledger.base import Ledger, Record
from littleq.policies.scaling import Decision, ScalingSettings

#: A decision is stale after so many intervals without another one: two may be missed, a deploy of the controller say.
STALE_INTERVALS = 3.0
#: And after so many seconds at least: what takes over needs the lease first.
STALE_LEAST_SECONDS = 20.0

_DECISION = tuple(field.name for field in fields(Decision))
_SETTINGS = tuple(field.name for field in fields(ScalingSettings))


@dataclass(frozen=True, slots=True)
class Published:
    """One decision, as it was read.

    Attributes:
        queue: its name.
        decision: what was decided, with its reason, inputs and steps.
        settings: what the policy was given.
        decided_at: by the ledger's clock, s since the epoch.
        age_seconds: how old it was at reading.
        holder: who decided.
        events: counts of `breach_predicted`, `breached` and `recovered` since the queue is decided about.
    """

    queue: str
    decision: Decision
    settings: ScalingSettings
    decided_at: float
    age_seconds: float
    holder: str
    events: Mapping[str, int]

    @property
    def desired_workers(self) -> int:
        return self.decision.desired_workers

    @property
    def reason(self) -> str:
        return self.decision.reason

    @property
    def is_stale(self) -> bool:
        """Too old to act on."""
        return self.age_seconds > stale_after(self.settings.interval_seconds)


def stale_after(interval_seconds: float) -> float:
    """The age, in seconds, from which a decision is no longer to be acted on.

    >>> stale_after(5.0), stale_after(15.0)
    (20.0, 45.0)
    """
    return max(STALE_LEAST_SECONDS, STALE_INTERVALS * interval_seconds)


def document(decision: Decision, settings: ScalingSettings, events: Mapping[str, int]) -> dict[str, Any]:
    """A decision as it is stored: JSON, and all that `explain` needs."""
    # Not `asdict`, which copies every list in them: it took a fifth of the time of a tick.
    return {
        "decision": {name: getattr(decision, name) for name in _DECISION},
        "settings": {name: getattr(settings, name) for name in _SETTINGS},
        "events": dict(events),
    }


def read_decisions(ledger: Ledger, queues: Collection[str] | None = None) -> dict[str, Published]:
    """The decisions about the given queues, or about all, by queue. A queue nobody has decided about is left out.

    Raises:
        LedgerUnavailable: the ledger does not answer.
    """
    taken_at, records = ledger.records(queues)
    found: dict[str, Published] = {}
    for queue, record in records.items():
        published = _read(queue, record, taken_at)
        if published is not None:
            found[queue] = published
    return found


def _read(queue: str, record: Record, taken_at: float) -> Published | None:
    """None for a record that another release of LittleQ wrote in a way that this one does not know."""
    try:
        return Published(
            queue=queue,
            decision=Decision(**record.decision["decision"]),
            settings=ScalingSettings(**record.decision["settings"]),
            decided_at=record.decided_at,
            age_seconds=max(0.0, taken_at - record.decided_at),
            holder=record.holder,
            events=record.decision["events"],
        )
    except (KeyError, TypeError):
        return None
