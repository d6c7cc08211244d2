"""What a controller remembers from one decision to the next, in its own memory and in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from littleq.autoscale.events import EventState
from littleq.ledger.base import Record
from littleq.policies.scaling import ScalingState

logger = logging.getLogger(__name__)


class Remembered(NamedTuple):
    """Of one queue.

    Attributes:
        policy: the policy's state; None: nothing is known of the queue.
        events: what was told of it.
    """

    policy: ScalingState | None
    events: EventState

    def as_dict(self) -> dict[str, Any]:
        """As `Record.state`."""
        return {
            "policy": None if self.policy is None else self.policy.as_dict(),
            "events": self.events.as_dict(),
        }


NOTHING = Remembered(None, EventState())


@dataclass(slots=True)
class Memory:
    """The queues of one controller.

    Attributes:
        token: of the lease under which the last decision was published; None: what is in the ledger may be newer.
        queues: what is remembered, by queue.
    """

    token: int | None = None
    queues: dict[str, Remembered] = field(default_factory=dict)

    def of(self, queue: str) -> Remembered:
        return self.queues.get(queue, NOTHING)

    def recall(self, records: Mapping[str, Record]) -> None:
        """Go on where another controller has stopped. Queues that the ledger has lost keep what is known here."""
        for queue, record in records.items():
            self.queues[queue] = remembered(queue, record.state)

    def keep(self, token: int, queues: Mapping[str, Remembered]) -> None:
        """These have been published."""
        self.token = token
        self.queues.update(queues)

    def doubt(self) -> None:
        """Another controller may have decided since, or it is not known what was stored: ask the ledger first."""
        self.token = None

    def forget(self, queue: str) -> None:
        """Begin anew with this queue: what is remembered may be what makes its decisions fail."""
        self.queues[queue] = NOTHING


def remembered(queue: str, state: Mapping[str, Any] | None) -> Remembered:
    """What a record says; nothing for what it does not say, or says in the way of another release."""
    if state is None:
        return NOTHING
    policy, events = None, EventState()
    try:
        if state["policy"] is not None:
            policy = ScalingState.from_dict(state["policy"])
    except Exception as error:  # whatever is wrong with it
        logger.warning("The scaling state of queue %r cannot be read, it begins anew: %r", queue, error)
    try:
        events = EventState.from_dict(state["events"])
    except Exception as error:
        logger.warning("What was told of queue %r cannot be read, it begins anew: %r", queue, error)
    return Remembered(policy, events)
