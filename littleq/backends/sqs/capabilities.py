"""What our SQSBroker can be held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from littleq.backends.capabilities import (
    ALL_WORKERS,
    LEDGER_ACCOUNTS,
    LEDGER_POISON,
    NO_CANCEL,
    NO_DUE_TIMES,
    NO_FLEET_CONCURRENCY,
    NO_PAUSE,
    Capabilities,
    Fact,
)
from littleq.backends.sqs.urls import LONGEST_RETENTION

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker


def capabilities_of(broker: SQSBroker) -> Capabilities:
    """Of this broker, with its own times in it."""
    seconds = float(broker.visibility)
    return Capabilities(
        broker="Amazon SQS",
        bound=Fact(
            "sampled",
            "On SQS's approximate depth, at most `4 × sample_seconds` old, and as far behind as SQS is; senders "
            "overshoot by what they send meanwhile.",
        ),
        order=Fact(
            "rough",
            "Roughly as sent; a FIFO queue (`NAME.fifo`) hands out each group in order, retries behind.",
        ),
        delay=Fact(
            1.0,
            "Held by SQS, in hops of 900 s that a worker has to pass on; the last second in a worker's memory. By the "
            "clocks of the hosts.",
        ),
        move=Fact("copy first", "The new message is confirmed, then the old one is deleted."),
        recovery=Fact(seconds, "When the visibility of its jobs ends: `heartbeat_timeout_seconds`."),
        machine_recovery=Fact(seconds, "When the visibility of its jobs ends: `heartbeat_timeout_seconds`."),
        restart=Fact(
            True, "SQS keeps a job for 14 days after it was sent, in several places; then it deletes it."
        ),
        poison=LEDGER_POISON,
        dead_letters=Fact(float(LONGEST_RETENTION), "14 days: SQS keeps no message for longer."),
        pause=NO_PAUSE,
        cancel=NO_CANCEL,
        due_times=NO_DUE_TIMES,
        fleet_concurrency=NO_FLEET_CONCURRENCY,
        batch=Fact(True, "10 messages and 1 MiB with each request."),
        accounts=LEDGER_ACCOUNTS,
        useful_workers=ALL_WORKERS,
        truth=frozenset(),
        truth_says="All counts are SQS's approximate ones, seconds behind, at most a minute; what a dead worker held "
        "counts as in flight until it is visible again. The age of the oldest job is not known.",
    )
