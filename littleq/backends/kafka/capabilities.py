"""What our KafkaBroker can be held to."""

from __future__ import annotations

from littleq.backends.capabilities import (
    LEDGER_ACCOUNTS,
    LEDGER_POISON,
    NO_CANCEL,
    NO_DUE_TIMES,
    NO_FLEET_CONCURRENCY,
    NO_PAUSE,
    Capabilities,
    Fact,
)

CAPABILITIES = Capabilities(
    broker="Kafka",
    bound=Fact(
        "sampled",
        "On a depth of at most `4 × sample_seconds`; senders overshoot by what they send meanwhile.",
    ),
    order=Fact(
        "by key",
        "Jobs of one `partition_key` run one after the other, as sent; a retry comes after what was sent meanwhile.",
    ),
    delay=Fact(0.1, "Of any length, held by the server, moved by the workers of the queue."),
    move=Fact(
        "copy first",
        "The new place is confirmed, then the old one settled: a death in between leaves both.",
    ),
    recovery=Fact(None, "After `session.timeout.ms` (6 s, if the URL sets none) and a rebalance."),
    machine_recovery=Fact(None, "After `session.timeout.ms` (6 s, if the URL sets none) and a rebalance."),
    restart=Fact(
        True, "What the server replicates: `littleq.min_insync` says how many copies confirm a send."
    ),
    poison=LEDGER_POISON,
    dead_letters=Fact(None, "Until they are purged, or as long as `dead_retention_seconds` says."),
    pause=NO_PAUSE,
    cancel=NO_CANCEL,
    due_times=NO_DUE_TIMES,
    fleet_concurrency=NO_FLEET_CONCURRENCY,
    batch=Fact(True, "All messages on their way at once, one wait for all confirmations."),
    accounts=LEDGER_ACCOUNTS,
    useful_workers=Fact(False, "As many processes as the queue has partitions; more stand idle."),
    truth=frozenset(),
    truth_says="As of the last commits, a tenth of a second ago; `next_due` is not known, `orphaned` is 0: what a "
    "dead process held counts as in flight until another one has its partitions.",
)
