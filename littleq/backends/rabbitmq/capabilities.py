"""What our RabbitmqBroker can be held to."""

from __future__ import annotations

from littleq.backends.capabilities import (
    ALL_WORKERS,
    LEDGER_ACCOUNTS,
    LEDGER_POISON,
    NO_CANCEL,
    NO_FLEET_CONCURRENCY,
    NO_PAUSE,
    Capabilities,
    Fact,
)

RABBITMQ = Capabilities(
    broker="RabbitMQ",
    bound=Fact(
        "own",
        "With a contract, exact for first sends that wait, however many senders (`x-max-length`, `reject-publish`); "
        "what workers hold is not counted. Lower shares, `capacity`, delayed sends: on a depth of at most 0.1 s.",
    ),
    order=Fact(
        "rough",
        "As sent, and what comes back goes first; with a contract, retries and due jobs have a queue beside.",
    ),
    delay=Fact(0.025, "Held by the server, of any length, in steps of 25 ms and some 10 ms a step."),
    move=Fact("copy first", "The copy is confirmed before the original is acked."),
    recovery=Fact(1.0, "At once: the server sees the connection end."),
    machine_recovery=Fact(None, "After two heartbeats (30 s by default)."),
    restart=Fact(True, "Each message is on the server's disk before its sender goes on."),
    poison=LEDGER_POISON,
    dead_letters=Fact(None, "Until they are purged."),
    pause=NO_PAUSE,
    cancel=NO_CANCEL,
    due_times=Fact(True, "To within a factor of two, by the rung on which a job waits."),
    fleet_concurrency=NO_FLEET_CONCURRENCY,
    batch=Fact(True, "500 messages with each round trip."),
    accounts=LEDGER_ACCOUNTS,
    useful_workers=ALL_WORKERS,
    truth=frozenset({"ready", "dead", "orphaned"}),
    truth_says="`delayed` misses a job for the milliseconds in which it moves from one rung to the next. `in_flight` "
    "comes from the management API, 5 s late; without it it is 0. The age of the oldest job is known of first sends "
    "with a contract, to the second. Nothing is said of the next due time.",
)
