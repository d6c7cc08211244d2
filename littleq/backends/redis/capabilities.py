"""What our RedisBroker can be held to, and what Dramatiq's."""

from __future__ import annotations

from littleq.backends.capabilities import (
    ALL_WORKERS,
    NO_CANCEL,
    NO_DUE_TIMES,
    NO_FLEET_CONCURRENCY,
    NO_PAUSE,
    Capabilities,
    Fact,
)

_COUNTS = frozenset({"ready", "in_flight", "delayed", "dead", "orphaned"})
_EXACT = Fact("exact", "By the server, in the scripts that move jobs.")
_ONE_STEP = Fact("one step", "Each move is one script: whatever is killed when, the job is in one place.")
_KEPT = Fact(None, "Until they are purged, or as long as `dead_retention_seconds` says.")
_RESTART = Fact(True, "What its append-only file holds: `appendfsync` says how much a power cut may cost.")

OURS = Capabilities(
    broker="Redis and Valkey",
    bound=Fact("atomic", "Exact, in the step that enqueues, however many senders."),
    order=Fact("fifo", "As sent; what comes back from a dead worker goes first."),
    delay=Fact(0.001, "To the millisecond, of any length, held by the server."),
    move=_ONE_STEP,
    recovery=Fact(1.0, "Within a second of the death of a process, by its watcher."),
    machine_recovery=Fact(None, "After `heartbeat_timeout_seconds`."),
    restart=_RESTART,
    poison=Fact(
        "broker", "The server counts the deaths of a job; after `max_deliveries` it is a dead letter."
    ),
    dead_letters=_KEPT,
    pause=Fact(True, "At once, for all workers."),
    cancel=Fact(True, "By message id, its pending retry too."),
    due_times=Fact(True, "Exact."),
    fleet_concurrency=Fact(True, "`concurrency_global` is held in the step that fetches."),
    batch=Fact(True, "500 messages with each round trip."),
    accounts=_EXACT,
    useful_workers=ALL_WORKERS,
    truth=_COUNTS | {"next_due", "oldest_age"},
    truth_says="The age of the oldest job is exact up to 20 ready jobs; beyond, of the ten at each end.",
)

STOCK = Capabilities(
    broker="Redis, by Dramatiq's RedisBroker",
    bound=Fact(
        "sampled",
        "On a depth of at most `4 × sample_seconds`; senders overshoot by what they send meanwhile.",
    ),
    order=Fact("rough", "As sent, but what is given back, recovered or due goes to the tail."),
    delay=Fact(0.05, "Held in the memory of the workers, looked at at each poll."),
    move=_ONE_STEP,
    recovery=Fact(None, "After the broker's heartbeat timeout (60 s), at its next maintenance."),
    machine_recovery=Fact(None, "After the broker's heartbeat timeout (60 s), at its next maintenance."),
    restart=_RESTART,
    poison=Fact(
        "handed out",
        "A job handed out to five workers that died is a dead letter, whether it had begun or not.",
    ),
    dead_letters=_KEPT,
    pause=NO_PAUSE,
    cancel=NO_CANCEL,
    due_times=NO_DUE_TIMES,
    fleet_concurrency=NO_FLEET_CONCURRENCY,
    batch=Fact(False, "No: a round trip for each."),
    accounts=_EXACT,
    useful_workers=ALL_WORKERS,
    truth=_COUNTS | {"oldest_age"},
    truth_says="The age of the oldest job is exact up to 20 ready jobs; when the next is due is not known.",
)
