"""What LittleQ writes into a message, and how it is read back.

All of it stands under one key of `message.options`, as plain JSON values, so that any encoder carries it and a
process without LittleQ ignores it. Dramatiq copies options shallowly: a record is replaced, never changed.

    ready_at     s since the epoch: sent, or due if delayed, or due again if retried
    waiting_due  true while the message is on its way through a delay queue
    outcome      deferred or diverted; a job that simply came in carries none
    asked        the queue that was sent to, where it was diverted
    backoff      seconds waited before this attempt (decorrelated jitter needs the last one)
    dead         how it died: reason, exception, message, traceback, attempts, at
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

OPTION: Final = "littleq"


class Death(TypedDict, total=False):
    """Why a job was dead-lettered.

    `reason` is one of `exhausted` (no attempt left), `refused` (an exception that is routed to the dead letters,
    or in `throws`), `expired` (skipped and failed by a middleware, as `AgeLimit` does), `undeliverable` (unknown
    actor), `unretryable` (its retry could not be enqueued) and `poison` (it killed its workers).
    """

    reason: str
    exception: str
    message: str
    traceback: str
    attempts: int
    at: float


class Record(TypedDict, total=False):
    """LittleQ's part of a message's options."""

    ready_at: float
    waiting_due: bool
    outcome: str
    asked: str
    backoff: float
    dead: Death


def read(options: Mapping[str, Any]) -> Record:
    """The record of a message, empty where it never passed LittleQ."""
    record = options.get(OPTION)
    return record if isinstance(record, dict) else {}  # type: ignore[return-value]


def is_known(options: Mapping[str, Any]) -> bool:
    """Whether the message was enqueued through LittleQ, and is therefore in its accounts."""
    return "ready_at" in read(options)


def write(options: dict[str, Any], **changes: Any) -> None:
    """Replace the record by one with `changes`; a value of None takes the key away."""
    known = options.get(OPTION)
    merged = {**known, **changes} if isinstance(known, dict) else changes
    if None in merged.values():
        merged = {key: value for key, value in merged.items() if value is not None}
    options[OPTION] = merged


def note(message: MessageProxy, **facts: Any) -> None:
    """Remember something about a job while this worker holds it; it never leaves the process.

    Facts: `started` (monotonic s), `attempts`, `skipped`, `rescheduled`, `death` (a reason of `Death`), `judged`
    (the hooks after the attempt ran to their end), `redelivered` (True: its broker handed it out before; "perhaps":
    nobody can tell).
    """
    message.__dict__.setdefault("_littleq", {}).update(facts)


def noted(message: MessageProxy, fact: str) -> Any:
    """What `note` remembered, or None."""
    facts = message.__dict__.get("_littleq")
    return None if facts is None else facts.get(fact)
